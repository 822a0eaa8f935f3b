//! The MCP servers of a task.

use std::path::PathBuf;

use stockade_agents::McpServer;
use stockade_sandbox::Isolation;
use stockade_types::{mcp::CLIENT, visible};
use stockade_workspace::Repository;

use super::{Host, Wish, workspace_target};
use crate::{
    error::SupervisorError,
    mcp::{BoxPlan, OfTask, PlannedServer, ServerWish, View},
};

/// A server that a person lets a task use.
#[derive(Clone, Debug)]
pub struct WantedServer {
    /// How it is called: letters, digits, `-` and `_`.
    pub name: String,
    /// How it is started, and what it is shown.
    pub start: ServerWish,
    /// What of it was approved, and what it speaks.
    pub approved: crate::mcp::FirewallSettings,
}

/// How each server that is wanted is started.
pub(super) fn planned(
    host: &Host,
    wish: &Wish,
    repository: &Repository,
) -> Result<Vec<PlannedServer>, SupervisorError> {
    let repository_at = repository.worktree();
    let workspace = workspace_target(repository);
    let task = OfTask {
        repository: &repository_at
            .canonicalize()
            .unwrap_or_else(|_| repository_at.to_owned()),
        workspace: &workspace,
    };
    let planned = wish.mcp.iter().map(|wanted| {
        Ok(PlannedServer {
            name: wanted.name.clone(),
            start: BoxPlan::in_task(host, &wanted.start, &task)?,
            approved: wanted.approved.clone(),
        })
    });
    planned.collect()
}

/// The servers as an agent starts them.
pub(super) fn for_agent(wish: &Wish) -> Vec<McpServer> {
    let server = |wanted: &WantedServer| McpServer {
        // Tools are named after it, in which a dot is no letter.
        name: wanted.name.replace('.', "_"),
        command: vec![CLIENT.to_owned(), wanted.name.clone()],
    };
    wish.mcp.iter().map(server).collect()
}

/// What each is and sees, for the contract.
pub(super) fn in_words(planned: &[PlannedServer]) -> Vec<String> {
    planned.iter().map(line).collect()
}

fn line(server: &PlannedServer) -> String {
    let argv = visible::line(server.start.argv.join(" ").as_bytes());
    let sees = match &server.start.view {
        View::OfTask(Isolation::Reading) => "reads the task's tree".to_owned(),
        View::OfTask(_) => "reads and changes the task's tree".to_owned(),
        View::Own(_) => {
            let line = |how: &str, path: &PathBuf| {
                let path = visible::line(path.as_os_str().as_encoded_bytes());
                format!("{how} {path}")
            };
            let read = server.start.read.iter().map(|path| line("reads", path));
            let write = server.start.write.iter().map(|path| line("changes", path));
            let shown: Vec<_> = read.chain(write).collect();
            if shown.is_empty() {
                "sees nothing of yours".to_owned()
            } else {
                shown.join(", ")
            }
        }
    };
    let given = match server.start.variables.as_slice() {
        [] => String::new(),
        variables => format!("; is given {}", variables.join(", ")),
    };
    let mut secrets = String::new();
    for secret in &server.start.secrets {
        secrets.push_str("; uses the secret ");
        secrets.push_str(secret.bound.name.as_str());
    }
    let reaches = match server.start.allow.as_slice() {
        [] => "no network".to_owned(),
        rules => {
            let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
            format!("reaches {}", rules.join(", "))
        }
    };
    format!(
        "{} (`{argv}`) {sees}{given}{secrets}; {reaches}",
        server.name
    )
}
