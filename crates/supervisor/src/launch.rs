//! Starts the supervisor process of a task.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::pipe::{PipeFlags, pipe_with};
use stockade_sandbox::Layer;
use zeroize::Zeroizing;

use crate::{
    error::SupervisorError,
    gateway::Keys,
    life::Started,
    part::{self, Part},
    prepare::{Host, Made, Prepared, overlay},
    state::TaskDirectory,
    task::{Main, PLAN, Plan, STATUS, Session, TaskState, TaskStatus},
};

/// Starts the supervisor of a prepared task and waits until its command runs.
/// The supervisor outlives the caller and its terminal.
pub fn start(task: &TaskDirectory, keys: &Keys) -> Result<(), SupervisorError> {
    let log = task.join("supervisor.log");
    let (stdin, mut sending) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (read, std::fs::File::from(write)))
        .map_err(|error| SupervisorError::Control(error.into()))?;
    let mut child = part::spawn(Part::Supervisor, task.path(), stdin, Stdio::piped(), &log)
        .map_err(SupervisorError::Control)?;
    let keys = serde_json::to_vec(keys).map_err(|error| SupervisorError::Control(error.into()))?;
    let keys = Zeroizing::new(keys);
    sending.write_all(&keys).map_err(SupervisorError::Control)?;
    drop(sending);
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(SupervisorError::Control)?;
    }
    match serde_json::from_str(&line) {
        Ok(Started::Running) => {
            // It is not ours to wait for; init adopts it when we end.
            std::thread::spawn(move || child.wait());
            Ok(())
        }
        Ok(Started::Failed(reason)) => {
            let _ = child.wait();
            Err(SupervisorError::Refused(reason))
        }
        Ok(Started::NoWall(missing)) => {
            let _ = child.wait();
            Err(SupervisorError::Sandbox(missing))
        }
        Err(_) => {
            let _ = child.wait();
            Err(SupervisorError::Vanished { log })
        }
    }
}

/// What was made for a task, and how long its start took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// What was made.
    pub made: Made,
    /// How long it took until its command ran.
    pub start: Duration,
}

/// Makes a prepared task and starts it. Of one that does not start nothing is
/// left.
pub fn begin(host: &Host, prepared: &Prepared, keys: &Keys) -> Result<Times, SupervisorError> {
    let clock = Instant::now();
    let made = prepared.create(host)?;
    let mut keys = keys.clone();
    keys.guard(prepared.hidden_values(host)?);
    match start(&prepared.task, &keys) {
        Ok(()) => Ok(Times {
            made,
            start: clock.elapsed(),
        }),
        Err(error) => {
            if is_workspace(&error) {
                overlay::forget(&host.state);
            }
            // Nothing ran, so nothing is lost with its folder.
            let folder = prepared.task.path();
            stockade_workspace::remove_folder(folder).map_err(SupervisorError::state(folder))?;
            Err(error)
        }
    }
}

/// Whether the tree could not be shown in the way that was agreed to.
fn is_workspace(error: &SupervisorError) -> bool {
    matches!(error, SupervisorError::Sandbox(missing) if missing.layer == Layer::Workspace)
}

/// Starts an ended task again on its workspace, as `plan` says now.
pub fn resume(task: &TaskDirectory, plan: &Plan, keys: &Keys) -> Result<(), SupervisorError> {
    if task.is_locked() {
        return Err(SupervisorError::Running);
    }
    task.write(PLAN, plan)?;
    let status: TaskStatus = task.read(STATUS)?;
    task.write(STATUS, &status.in_state(TaskState::Preparing))?;
    start(task, keys)
}

/// Runs another command on an ended task's workspace, in a sandbox like the
/// task's own but with no key and no way out. The task stands afterwards
/// where it stood before; what the command changed is saved. Of `keys` none is used;
/// they stay out of what is recorded and printed.
pub fn look_into(
    task: &TaskDirectory,
    argv: Vec<String>,
    cwd: Option<&str>,
    terminal: bool,
    keys: &Keys,
) -> Result<(), SupervisorError> {
    let mut plan: Plan = task.read(PLAN)?;
    let before = task.read::<TaskStatus>(STATUS)?.state;
    let mut main = plan.main.clone();
    main.env
        .retain(|(name, _)| plan.placeholder_variables().all(|own| own != name));
    if let Some(cwd) = cwd {
        main.cwd = Path::new(&main.cwd)
            .join(cwd)
            .to_string_lossy()
            .into_owned();
    }
    plan.session = Some(Session {
        main: Main {
            argv,
            terminal,
            ..main
        },
        before,
    });
    resume(task, &plan, keys)
}
