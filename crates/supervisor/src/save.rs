//! Saving a task's work: snapshots of its tree, and the agent's commits.

use serde_json::{Value, json};
use stockade_sandbox::Sandbox;
use stockade_workspace::{SnapshotLimits, TaskSpace};

use crate::{error::SupervisorError, exec::Execs, git, state::TaskDirectory, task::Plan};

fn space(task: &TaskDirectory) -> Result<TaskSpace, SupervisorError> {
    let state = task
        .path()
        .parent()
        .and_then(std::path::Path::parent)
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

/// Takes the agent's own commits, as far as they can be had.
pub(crate) fn commits(
    _task: &TaskDirectory,
    _plan: &Plan,
    _sandbox: &Sandbox,
    _execs: &mut Execs,
) -> Value {
    json!({ "imported": false })
}
