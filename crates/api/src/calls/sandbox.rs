//! Sandboxes that there are.

use schemars::JsonSchema;
use serde::Serialize;
use stockade_supervisor::{
    Connection, Request, StateDirectory, SupervisorError, TaskDirectory, TaskState, TaskStatus,
};

use super::{aside, no_sandbox};
use crate::http::Problem;

/// Sandboxes that run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sandboxes {
    /// The newest first.
    sandboxes: Vec<Sandbox>,
}

/// A sandbox, and the task that it is for.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sandbox {
    /// The id, as `stockade` takes it too.
    id: String,
    /// A short name.
    slug: String,
    /// Where it stands: `preparing`, `running`, `paused`, `done`, `stopped`,
    /// `failed` or `merged`.
    state: String,
    /// The code with which its main command ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The repository.
    repository: String,
    /// The commit that it started from.
    base: String,
    /// The agent, if one is the main command.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// What the agent was asked, or the main command.
    prompt: String,
    /// Ports inside that the host reaches now.
    published: Vec<Port>,
    /// When it was made, RFC 3339 in UTC.
    created_at: String,
    /// Since when it is in this state.
    since: String,
}

/// A port inside that the host reaches.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Port {
    /// The port at 127.0.0.1.
    port: u16,
    /// The port inside.
    inside: u16,
}

impl From<TaskStatus> for Sandbox {
    fn from(status: TaskStatus) -> Self {
        let state = status.state.name().to_owned();
        let (exit, reason) = match status.state {
            TaskState::Done { exit, cause } => (Some(exit), cause),
            TaskState::Paused { cause } => (None, cause),
            TaskState::Stopped { reason } | TaskState::Failed { reason } => (None, Some(reason)),
            TaskState::Preparing | TaskState::Running | TaskState::Merged { .. } => (None, None),
        };
        Self {
            id: status.id.to_string(),
            slug: status.slug,
            state,
            exit,
            reason,
            repository: status.repository.to_string_lossy().into_owned(),
            base: status.base,
            agent: status.agent.map(|agent| agent.to_string()),
            prompt: status.prompt,
            published: status
                .published
                .into_iter()
                .map(|port| Port {
                    port: port.port,
                    inside: port.inside,
                })
                .collect(),
            created_at: status.created_at,
            since: status.since,
        }
    }
}

pub(super) async fn list(state: StateDirectory) -> Result<Sandboxes, Problem> {
    aside(move || {
        let tasks = state.tasks_as_found()?.into_iter();
        let live = tasks.filter(|(_, status)| status.state.is_live());
        Ok(Sandboxes {
            sandboxes: live.map(|(_, status)| status.into()).collect(),
        })
    })
    .await
}

pub(super) async fn show(task: TaskDirectory) -> Result<Sandbox, Problem> {
    aside(move || found(&task).map(Sandbox::from)).await
}

/// Ends what runs; what has ended stays as it is.
pub(super) async fn stop(task: TaskDirectory) -> Result<Sandbox, Problem> {
    aside(move || {
        found(&task)?;
        match Connection::ask_once(&task, &Request::Stop) {
            Ok(_) | Err(SupervisorError::NotRunning) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(task.wait_until_settled()?.into())
    })
    .await
}

fn found(task: &TaskDirectory) -> Result<TaskStatus, Problem> {
    task.status().map_err(|_| no_sandbox(task.id().as_str()))
}
