//! Starts the supervisor process of a task.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::{
    error::SupervisorError,
    gateway::Keys,
    life::Started,
    part::{self, Part},
    state::TaskDirectory,
    task::{PLAN, Plan, STATUS, TaskState, TaskStatus},
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
    let keys: BTreeMap<&String, &String> = keys
        .iter()
        .map(|(name, key)| (name, key.expose()))
        .collect();
    let keys = serde_json::to_vec(&keys).map_err(|error| SupervisorError::Control(error.into()))?;
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

/// Starts an ended task again on its workspace, with `main` changed by the
/// caller in the plan on disk.
pub fn resume(task: &TaskDirectory, plan: &Plan, keys: &Keys) -> Result<(), SupervisorError> {
    if task.is_locked() {
        return Err(SupervisorError::Running);
    }
    task.write(PLAN, plan)?;
    let status: TaskStatus = task.read(STATUS)?;
    task.write(STATUS, &status.in_state(TaskState::Preparing))?;
    start(task, keys)
}
