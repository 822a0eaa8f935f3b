//! Saving a task's work: snapshots of its tree, and the agent's commits.

use std::{
    io::{BufRead, Read},
    os::fd::AsFd,
    path::Path,
    time::Duration,
};

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use stockade_sandbox::{Sandbox, SandboxSpec};
use stockade_types::wire::{Exec, ExecLimits, Request};
use stockade_workspace::{BundleLimits, SnapshotLimits, TaskSpace};

use crate::{error::SupervisorError, git, part, state::TaskDirectory, task::Plan};

pub(crate) fn space(task: &TaskDirectory) -> Result<TaskSpace, SupervisorError> {
    let state = task
        .path()
        .parent()
        .and_then(Path::parent)
        .unwrap_or(task.path());
    TaskSpace::open(state, task.id()).map_err(|error| SupervisorError::Refused(error.to_string()))
}

/// Saves the tree; returns the snapshot's number and what the record says.
pub(crate) fn snapshot(
    task: &TaskDirectory,
    plan: &Plan,
    label: &str,
) -> Result<(u64, Value), SupervisorError> {
    let git = git::git_at(&plan.git);
    let saved = space(task)?
        .snapshot(&git, label, &SnapshotLimits::default())
        .map_err(|error| SupervisorError::Refused(error.to_string()))?;
    let body = json!({
        "number": saved.number,
        "label": saved.label,
        "commit": saved.commit,
        "changed": saved.changed.len(),
        "ignored": saved.ignored.len(),
        "skipped": saved.skipped.len(),
    });
    Ok((saved.number.into(), body))
}

/// The longest that git may take inside to write out the agent's commits.
const LONGEST: Duration = Duration::from_mins(1);
/// The id of that exec; ids of others count up from 0.
const EXEC: u32 = u32::MAX;

/// Takes the agent's own commits into quarantine: git writes them out inside
/// the sandbox, where the agent's configuration can do no harm, and here only
/// the stream is read. What the record says of it is returned.
pub(crate) fn commits(task: &TaskDirectory, plan: &Plan, sandbox: &Sandbox) -> Value {
    match take_commits(task, plan, sandbox) {
        Ok(commits) => json!({ "commits": commits }),
        Err(error) => json!({ "commits": [], "reason": error.to_string() }),
    }
}

/// The same once a task was stopped, whose processes are gone at once: in a sandbox
/// of its own, in which nothing else runs and from which nothing is reached.
pub(crate) fn commits_of_stopped(task: &TaskDirectory, plan: &Plan) -> Value {
    let taken = space(task).and_then(|space| {
        if !may_hold_commits(&space.agent_git()) {
            forget(&space)?;
            return Ok(json!({ "commits": [] }));
        }
        let spec = SandboxSpec {
            watch_execs: false,
            clients: Vec::new(),
            ..plan.sandbox.clone()
        };
        let (sandbox, listeners) = Sandbox::start(&part::executable(), &spec)?;
        // Nobody accepts: every connection and question is refused at once.
        drop(listeners);
        Ok(commits(task, plan, &sandbox))
    });
    taken.unwrap_or_else(|error| json!({ "commits": [], "reason": error.to_string() }))
}

/// Whether the agent's repository has any object of its own, as far as its folders
/// tell. They are the agent's: nothing of them is read but the first names.
fn may_hold_commits(repository: &Path) -> bool {
    let objects = repository.join("objects");
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name())
    };
    let own = names(&objects).any(|name| name != "info" && name != "pack");
    own || names(&objects.join("pack")).next().is_some()
}

fn forget(space: &TaskSpace) -> Result<(), SupervisorError> {
    let forgotten = space.forget_commits();
    forgotten.map_err(|error| SupervisorError::Refused(error.to_string()))
}

fn take_commits(
    task: &TaskDirectory,
    plan: &Plan,
    sandbox: &Sandbox,
) -> Result<Vec<Value>, SupervisorError> {
    let space = space(task)?;
    let base = space.pool().base().agent_commit.to_string();
    let argv = [
        "git",
        "bundle",
        "create",
        "--quiet",
        "-",
        "HEAD",
        "--branches",
        &format!("^{base}"),
    ];
    let refused = |error: std::io::Error| SupervisorError::Control(error);
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| refused(error.into()));
    let ((stdin, _), (bundle, stdout), (_, stderr)) = (pipe()?, pipe()?, pipe()?);
    let exec = Exec {
        id: EXEC,
        terminal: false,
        tree: false,
        limits: ExecLimits::NONE,
        cwd: plan.main.cwd.clone().into_bytes(),
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: plan
            .main
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}").into_bytes())
            .collect(),
    };
    sandbox
        .init()
        .send(
            &Request::Exec(exec),
            &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        )
        .map_err(refused)?;
    drop((stdin, stdout, stderr));
    let init = sandbox.init().clone();
    std::thread::spawn(move || {
        std::thread::sleep(LONGEST);
        // Nothing happens if it ended long ago.
        let _ = init.send(
            &Request::Signal {
                id: EXEC,
                signal: KILL,
            },
            &[],
        );
    });
    let mut bundle = std::io::BufReader::new(std::fs::File::from(bundle));
    let head = bundle_head(&mut bundle).map_err(refused)?;
    if !head.names_commits {
        // Git refuses to write a bundle of nothing, some versions only after
        // its first lines: there is no commit of the agent's own.
        forget(&space)?;
        return Ok(Vec::new());
    }
    let bundle = head.bytes.as_slice().chain(bundle);
    let commits = space
        .import_bundle(&git::git_at(&plan.git), bundle, &BundleLimits::default())
        .map_err(|error| SupervisorError::Refused(error.to_string()))?;
    let shown = commits.iter().take(COMMITS_SHOWN);
    Ok(shown.map(|commit| json!({ "reference": commit.reference, "commit": commit.commit, "tree": commit.tree })).collect())
}

/// The lines before the pack of a bundle, as far as they were written.
#[derive(Default)]
struct BundleHead {
    bytes: Vec<u8>,
    /// Whether a line names a commit; others tell the format and what the
    /// reader must have (gitformat-bundle(5)).
    names_commits: bool,
}

fn bundle_head(bundle: &mut impl BufRead) -> std::io::Result<BundleHead> {
    let mut head = BundleHead::default();
    let mut bundle = bundle.take(HEAD_MAX);
    loop {
        let start = head.bytes.len();
        bundle.read_until(b'\n', &mut head.bytes)?;
        match head.bytes.get(start) {
            // The empty line that ends them, or the end of it all.
            Some(b'\n') | None => return Ok(head),
            Some(b'#' | b'-' | b'@') => {}
            Some(_) => head.names_commits = true,
        }
    }
}

/// How long those lines may be together, in bytes.
const HEAD_MAX: u64 = 1 << 20;
/// The signal that ends a process at once, as the kernel numbers it.
const KILL: i32 = 9;
/// How many of the agent's branches the record names.
const COMMITS_SHOWN: usize = 100;
