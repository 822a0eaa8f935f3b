//! What is known of a task: its plan, which does not change, and its state,
//! which does.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use stockade_agents::AgentKind;
use stockade_approval::Rules;
use stockade_budget::Caps;
use stockade_gateway::{Endpoint, HostRule, ModelApi, Service, Upstream};
use stockade_sandbox::SandboxSpec;
use stockade_types::{HostName, TaskId};

use crate::{
    caps::CapMet, contract::Contract, honeytoken::Honeytoken, mcp::PlannedServer,
    prepare::WantedServer, project::ProjectTool, publish::Published, secrets::PlannedSecret,
};

/// The version of the files that hold a plan and a state.
pub const FORMAT: u32 = 1;

/// The name of the file that holds a [`Plan`].
pub const PLAN: &str = "plan.json";
/// The name of the file that holds a [`TaskStatus`].
pub const STATUS: &str = "status.json";

/// Everything needed to start a task, and to start it again. No secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this file.
    pub format: u32,
    /// Whose plan it is.
    pub task: TaskId,
    /// The sandbox, but for the certificate authority that its gateway makes.
    pub sandbox: SandboxSpec,
    /// What runs.
    pub main: Main,
    /// Another command that runs this time on the ended task's workspace,
    /// without keys: a shell, for a look.
    #[serde(default)]
    pub session: Option<Session>,
    /// The model hosts.
    pub routes: Vec<Route>,
    /// What else may be reached.
    #[serde(default)]
    pub allow: Vec<HostRule>,
    /// What must not be, whatever is allowed.
    #[serde(default)]
    pub deny: Vec<HostRule>,
    /// Whether a person is asked about hosts that no rule names.
    #[serde(default)]
    pub asks: bool,
    /// How a person is asked.
    #[serde(default)]
    pub approvals: Rules,
    /// Names that lead to a place that the user wrote.
    #[serde(default)]
    pub services: Vec<Service>,
    /// The secrets that it may use without holding them.
    #[serde(default)]
    pub secrets: Vec<PlannedSecret>,
    /// The MCP servers that it may use.
    #[serde(default)]
    pub mcp: Vec<PlannedServer>,
    /// Commands that the project declares for agents.
    #[serde(default)]
    pub tools: BTreeMap<String, ProjectTool>,
    /// A key that opens nothing, planted in the home.
    #[serde(default)]
    pub honeytoken: Option<Honeytoken>,
    /// Ports of the sandbox that can be reached on this machine.
    #[serde(default)]
    pub publish: Vec<Published>,
    /// What it may spend, and all tasks together.
    #[serde(default)]
    pub caps: Caps,
    /// The user's own price table.
    #[serde(default)]
    pub own_prices: Option<String>,
    /// The repository, by the name that is its alone.
    #[serde(default)]
    pub repository: String,
    /// How many bytes it may send.
    pub byte_limit: u64,
    /// After how many seconds it is ended.
    pub wall_seconds: u64,
    /// How many bytes of the disk its workspace, home and repository may fill.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// Whether the kernel keeps that, by a disk of the task's own.
    #[serde(default)]
    pub own_disk: bool,
    /// The git that saves the work.
    pub git: PathBuf,
    /// What was shown to the user.
    pub contract: Contract,
}

/// A look at an ended task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// What runs.
    pub main: Main,
    /// Where the task stood, and will stand again.
    pub before: TaskState,
}

/// The command that a task is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Main {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment, but for the trust variables.
    pub env: Vec<(String, String)>,
    /// Further variables that name the certificate bundle.
    pub trust_variables: Vec<String>,
    /// The folder in which it starts.
    pub cwd: String,
    /// Whether it has a terminal.
    pub terminal: bool,
}

/// A model host, as a gateway gets it once the key is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    /// The name that the agent connects to.
    pub host: HostName,
    /// What is spoken there.
    pub api: ModelApi,
    /// Where requests really go.
    pub upstream: Upstream,
    /// The header that carries the key.
    pub header: String,
    /// What the agent holds instead of the key.
    pub placeholder: String,
    /// The name of the key: a variable of the caller's environment.
    pub key: String,
    /// What else it takes where requests are signed with the key.
    #[serde(default)]
    pub signing: Option<RouteSigning>,
    /// Methods and paths.
    pub endpoints: Vec<Endpoint>,
}

impl Plan {
    /// The region in which its model is reached, if that has one.
    pub fn region(&self) -> Option<&str> {
        let signing = self.routes.iter().find_map(|route| route.signing.as_ref());
        signing.map(|signing| signing.region.as_str())
    }

    /// Takes from an old plan the MCP servers that are not among those of `now`, as they
    /// were approved then.
    pub fn keep_servers(&mut self, now: &[WantedServer]) {
        self.mcp.retain(|server| {
            let mut now = now.iter();
            now.any(|now| now.name == server.name && now.approved == server.approved)
        });
    }

    /// Variables that its MCP servers are given, each with the server's name.
    pub fn mcp_variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let servers = self.mcp.iter();
        servers.flat_map(|server| {
            let variables = server.start.variables.iter();
            variables.map(|name| (&*server.name, &**name))
        })
    }

    /// How to give the key `name` of its model: the beginning of a sentence.
    pub fn key_advice(&self, name: &str) -> String {
        let kind = self.contract.agent.name.parse::<AgentKind>().ok();
        let subscription = kind.and_then(AgentKind::subscription);
        match subscription.filter(|_| self.region().is_none()) {
            Some(what) => format!("export {name}=…, or with a subscription {what}"),
            None => format!("export {name}=…"),
        }
    }
}

/// What requests are signed with beside the secret key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteSigning {
    /// The one region.
    pub region: String,
    /// The one service.
    pub service: String,
    /// The variable of the caller's environment with the id of the key.
    pub key_id: String,
    /// The variable with what goes with a temporary key, if there is one.
    pub session_token: String,
}

impl Route {
    /// The variables of the caller's environment that it needs.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let signing = self.signing.iter();
        let id = signing.map(|signing| signing.key_id.as_str());
        id.chain([self.key.as_str()])
    }
}

/// What is known of a task, as `stockade ls` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskStatus {
    /// The version of this file.
    pub format: u32,
    /// The id.
    pub id: TaskId,
    /// A short name from the prompt.
    pub slug: String,
    /// The user's repository.
    pub repository: PathBuf,
    /// The branch that was checked out, if one was.
    pub branch: Option<String>,
    /// The commit that the task started from.
    pub base: String,
    /// The agent; `None` for another command.
    pub agent: Option<AgentKind>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// What was asked, or the command.
    pub prompt: String,
    /// When it was made, RFC 3339 in UTC.
    pub created_at: String,
    /// Where it stands.
    pub state: TaskState,
    /// When it got there.
    pub since: String,
    /// Ports of the sandbox as they can be reached on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
    /// The caps that were met since it was last started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps_met: Vec<CapMet>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum TaskState {
    /// Its files are being made.
    Preparing,
    /// It runs.
    Running,
    /// It is frozen.
    Paused {
        /// By what, if that was not a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// Its command ended.
    Done {
        /// With this code, or 128 and the signal's number.
        exit: i32,
        /// What ended it, if that was a cap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// It was ended before its command was.
    Stopped {
        /// By whom or what.
        reason: String,
    },
    /// Something of Stockade's failed; the work is kept.
    Failed {
        /// What.
        reason: String,
    },
    /// Its result is in the target branch.
    Merged {
        /// The commit.
        commit: String,
    },
}

impl TaskState {
    /// The name that people read.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Done { .. } => "done",
            Self::Stopped { .. } => "stopped",
            Self::Failed { .. } => "failed",
            Self::Merged { .. } => "merged",
        }
    }

    /// Whether a supervisor should be alive.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Preparing | Self::Running | Self::Paused { .. })
    }
}

impl TaskStatus {
    /// The same in another state, from now on.
    pub fn in_state(&self, state: TaskState) -> Self {
        Self {
            published: if state.is_live() {
                self.published.clone()
            } else {
                Vec::new()
            },
            state,
            since: now(),
            ..self.clone()
        }
    }

    /// When it came to its state, in seconds since the epoch.
    pub fn since_epoch(&self) -> u64 {
        let since = time::OffsetDateTime::parse(
            &self.since,
            &time::format_description::well_known::Rfc3339,
        );
        since.map_or(0, |since| {
            u64::try_from(since.unix_timestamp()).unwrap_or_default()
        })
    }
}

/// The time, as records write it.
pub fn now() -> String {
    time::OffsetDateTime::now_utc()
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

/// A slug for `prompt`: at most five words of letters and digits.
pub fn slug(prompt: &str) -> String {
    let lower = prompt.to_ascii_lowercase();
    let words = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut slug = String::new();
    for word in words.take(5) {
        if slug.len() + word.len() > 40 {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word);
    }
    if slug.is_empty() {
        "task".to_owned()
    } else {
        slug
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_short_and_safe_as_a_file_and_a_branch() {
        assert_eq!(
            slug("Make the failing test pass, please!"),
            "make-the-failing-test-pass"
        );
        assert_eq!(slug("../../etc/passwd --force"), "etc-passwd-force");
        assert_eq!(slug("\u{202e}…"), "task");
        assert!(slug(&"x".repeat(500)).len() <= 40);
    }
}
