//! The MCP servers of a task.

use std::path::PathBuf;

use stockade_agents::McpServer;
use stockade_sandbox::{Grant, Isolation};
use stockade_types::{mcp::CLIENT, visible};
use stockade_workspace::Repository;

use super::{Host, Wish, workspace_target};
use crate::{
    error::SupervisorError,
    mcp::{BoxPlan, OfTask, PlannedServer, ServerWish, TOOLS, View},
    project::Project,
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
pub(super) fn for_agent(wish: &Wish, project: &Project) -> Vec<McpServer> {
    let server = |wanted: &WantedServer| McpServer {
        // Tools are named after it, in which a dot is no letter.
        name: wanted.name.replace('.', "_"),
        command: vec![CLIENT.to_owned(), wanted.name.clone()],
    };
    let tools = (!project.tools.is_empty()).then(|| McpServer {
        name: TOOLS.to_owned(),
        command: vec![CLIENT.to_owned(), TOOLS.to_owned()],
    });
    wish.mcp.iter().map(server).chain(tools).collect()
}

/// The packages of servers that run in further sandboxes of the task, which see what it
/// does.
pub(super) fn packages(planned: &[PlannedServer]) -> Vec<Grant> {
    let of_task = planned
        .iter()
        .filter(|server| matches!(server.start.view, View::OfTask(_)));
    let mut grants: Vec<Grant> = Vec::new();
    for grant in of_task.filter_map(|server| Some(server.start.package.as_ref()?.grant())) {
        if !grants.iter().any(|known| known.target == grant.target) {
            grants.push(grant);
        }
    }
    grants
}

/// What each is and sees, for the contract.
pub(super) fn in_words(planned: &[PlannedServer]) -> Vec<String> {
    planned.iter().map(line).collect()
}

fn line(server: &PlannedServer) -> String {
    let argv = match &server.start.package {
        None => server.start.argv.join(" "),
        Some(installed) => {
            let arguments = server.start.argv.iter().skip(1).map(String::as_str);
            let package = installed.package().to_string();
            let words: Vec<_> = std::iter::once(&*package).chain(arguments).collect();
            words.join(" ")
        }
    };
    let argv = visible::line(argv.as_bytes());
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
