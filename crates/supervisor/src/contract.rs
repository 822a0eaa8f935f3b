//! The contract: what a task may read, write, reach and spend, shown before
//! it starts and kept with the record.

mod widening;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a task may do, how hard each bound is, and what is weaker than usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// How strong the walls are as a whole.
    pub assurance: Assurance,
    /// Who runs: name, version and digest of the agent, or the command.
    pub agent: AgentLine,
    /// The commit it starts from.
    pub base: String,
    /// How the workspace is made.
    pub workspace: String,
    /// Host paths that it may read, with their places inside.
    pub reads: Vec<String>,
    /// Host paths that it may change, with their places inside.
    pub writes: Vec<String>,
    /// Files of the repository whose contents it does not see.
    pub masked: Vec<String>,
    /// What it may reach.
    pub reaches: Vec<String>,
    /// What of that the repository asks for.
    #[serde(default)]
    pub asks: Vec<String>,
    /// What a person is asked about while it runs. A contract that was agreed to
    /// before there was such a thing keeps its digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
    /// What it must not reach, whatever is allowed.
    #[serde(default)]
    pub denies: Vec<String>,
    /// Ports of the sandbox that can be reached on this machine.
    #[serde(default)]
    pub publishes: Vec<String>,
    /// The names of keys that are used for it, outside.
    pub keys: Vec<String>,
    /// Each secret that it may use without holding it, and where.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Each MCP server that it may use, and what that sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp: Vec<String>,
    /// Each tool that the project declares for agents, and what it may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// What is planted to catch whoever searches for keys.
    #[serde(default)]
    pub honeytoken: Option<String>,
    /// Bindings of secrets that the repository asks for and does not get.
    #[serde(default)]
    pub asked_secrets: Vec<String>,
    /// Commands of the base commit that run inside before the agent.
    #[serde(default)]
    pub setup: Vec<String>,
    /// The rules by which commands and requests are judged.
    #[serde(default, skip_serializing_if = "PolicyLine::is_unknown")]
    pub policy: PolicyLine,
    /// Caps and how hard they are.
    pub caps: Vec<Cap>,
    /// Whether the record tells of each program that starts inside.
    #[serde(default)]
    pub records_programs: bool,
    /// Whether tool calls are told to the policy before they happen, for advice.
    #[serde(default)]
    pub hooks: bool,
    /// Guards of the agent's own that are off because the sandbox is on.
    pub switched_off: Vec<String>,
    /// What is weaker than it could be, and why.
    pub weaker: Vec<String>,
    /// The level below which it was not to start, if that was said.
    #[serde(default)]
    pub required: Option<Assurance>,
    /// The level down to which it was to start although the last contract had
    /// a higher one, if that was said.
    #[serde(default)]
    pub accepted: Option<Assurance>,
}

/// Who runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLine {
    /// Its name, or the command.
    pub name: String,
    /// Its version, where the installation tells.
    pub version: Option<String>,
    /// SHA-256 of what runs.
    pub digest: Option<String>,
}

/// By which rules commands and requests are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLine {
    /// SHA-256 of all of them, Stockade's own among them.
    pub digest: String,
    /// Files of the administrator and the user.
    pub people: Vec<String>,
    /// Files of the repository, at the base commit.
    pub repository: Vec<String>,
}

impl PolicyLine {
    /// Whether it is from before tasks had rules.
    pub(crate) fn is_unknown(&self) -> bool {
        self.digest.is_empty()
    }

    fn in_words(&self) -> String {
        let mut files = vec!["Stockade's own".to_owned()];
        files.extend(self.people.iter().cloned());
        let of_repository = self.repository.iter();
        files.extend(of_repository.map(|file| format!("{file} of the repository")));
        let digest = self.digest.trim_start_matches("sha256:");
        format!(
            "{} (sha256:{}), on requests and on what `exec` and programs run; the main command is \
             not judged by its text",
            files.join(", "),
            short(digest)
        )
    }
}

/// How strong the walls are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// A wall is missing.
    Weak,
    /// Every wall stands; a cap that was asked for is only watched.
    #[default]
    Reduced,
    /// Every wall stands and the kernel keeps every cap.
    Full,
}

/// A bound on what a task may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Of what.
    pub of: String,
    /// How much.
    pub limit: String,
    /// Who keeps it.
    pub strength: Strength,
}

/// Who keeps a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// The kernel: it cannot be passed.
    Kernel,
    /// The gateway: no request passes it.
    Gateway,
    /// The supervisor, through which all of it goes: it cannot be passed.
    Supervisor,
    /// A process that looks and then ends the task.
    Watched,
    /// Nobody.
    None,
}

impl Contract {
    /// By what a contract is named that somebody agrees to without seeing it
    /// again: SHA-256 of its JSON.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("sha256:{}", hex::encode(Sha256::digest(text)))
    }

    /// The contract as people read it.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<11} {value}");
        };
        let version = self
            .agent
            .version
            .as_deref()
            .map(|version| format!(" {version}"));
        let digest = self
            .agent
            .digest
            .as_deref()
            .map(|digest| format!(" sha256:{}", short(digest)));
        line(
            "agent",
            &format!(
                "{}{}{}",
                self.agent.name,
                version.unwrap_or_default(),
                digest.unwrap_or_default()
            ),
        );
        line(
            "base",
            &format!("{} · {}", short(&self.base), self.workspace),
        );
        let (system, own): (Vec<_>, Vec<_>) = self.reads.iter().partition(|path| {
            path.starts_with("/etc") || path.starts_with("/usr") || path.starts_with("/lib")
        });
        if !system.is_empty() {
            line(
                "reads",
                &format!(
                    "system programs and settings ({} paths, read-only)",
                    system.len()
                ),
            );
        }
        for path in own {
            line("reads", path);
        }
        for path in &self.writes {
            line("writes", path);
        }
        if !self.masked.is_empty() {
            line("hidden", &self.masked.join(", "));
        }
        if self.reaches.is_empty() && self.asks.is_empty() {
            line("reaches", "nothing");
        }
        for host in &self.reaches {
            line("reaches", host);
        }
        for host in &self.asks {
            line("reaches", &format!("{host}, which the repository asks for"));
        }
        for what in &self.approvals {
            line("asks you", what);
        }
        for rule in &self.denies {
            line("denies", rule);
        }
        for port in &self.publishes {
            line("publishes", port);
        }
        if !self.keys.is_empty() {
            line(
                "keys",
                &format!("{} (outside; a placeholder inside)", self.keys.join(", ")),
            );
        }
        for secret in &self.secrets {
            line("secret", secret);
        }
        for server in &self.mcp {
            line("MCP server", server);
        }
        for tool in &self.tools {
            line("tool", tool);
        }
        if let Some(planted) = &self.honeytoken {
            line("honeytoken", planted);
        }
        for asked in &self.asked_secrets {
            line(
                "not given",
                &format!("{asked}, which the repository asks for; `stockade secret bind` gives it"),
            );
        }
        for command in &self.setup {
            line("setup", command);
        }
        if !self.policy.is_unknown() {
            line("policy", &self.policy.in_words());
        }
        for cap in &self.caps {
            line(
                "cap",
                &format!("{} {} ({})", cap.of, cap.limit, cap.strength.name()),
            );
        }
        if self.records_programs {
            line("records", "each program that starts, as it is seen");
        }
        if self.hooks {
            line(
                "advice",
                "each tool call is told to the policy before it happens, as far as the agent \
                 tells; the walls hold without",
            );
        }
        for switch in &self.switched_off {
            line("agent's own", switch);
        }
        for weaker in &self.weaker {
            line("weaker", weaker);
        }
        let said = [("required", self.required), ("accepted", self.accepted)];
        let said: Vec<String> = said
            .iter()
            .filter_map(|(what, level)| Some(format!("{} {what}", (*level)?.name())))
            .collect();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(" ({})", said.join(", "))
        };
        line("assurance", &format!("{}{said}", self.assurance.name()));
        text
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

impl Assurance {
    /// The name that people read and give.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Reduced => "reduced",
            Self::Full => "full",
        }
    }
}

impl Strength {
    /// The name that people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Gateway => "gateway",
            Self::Supervisor => "supervisor",
            Self::Watched => "watched",
            Self::None => "none",
        }
    }
}
