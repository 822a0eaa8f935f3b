use serde::{Deserialize, Serialize};

/// Something that happened in a task, as it enters the record.
///
/// The recorder adds sequence number, time and chain hash; nobody else may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What kind of thing happened.
    pub kind: EventKind,
    /// Its particulars; never a secret, never unbounded.
    pub body: serde_json::Value,
}

impl Event {
    /// An event of `kind` whose particulars are `body`.
    pub fn new(kind: EventKind, body: serde_json::Value) -> Self {
        Self { kind, body }
    }
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The task's contract, agent and base, before anything runs.
    TaskStarted,
    /// The sandbox passed its checks, seen from inside and from outside.
    SandboxVerified,
    /// A command is about to run inside.
    ExecStarted,
    /// A command inside ended.
    ExecEnded,
    /// A program started inside, as far as it was seen.
    ProgramSeen,
    /// A connection or a request was judged.
    NetworkRequest,
    /// A reply to an outward request arrived, or none did.
    NetworkOutcome,
    /// A port of the sandbox can be reached on this machine.
    Published,
    /// Somebody on this machine connected to such a port.
    InboundConnection,
    /// That connection ended.
    InboundOutcome,
    /// A placeholder was replaced by the secret of this name.
    SecretUsed,
    /// A person took a secret back while the task ran.
    SecretTakenBack,
    /// Something was refused.
    Denied,
    /// An agent's hook told of a tool call before it, and was answered. What it told
    /// is the agent's own word, and the answer advice: the walls go by neither.
    Advice,
    /// An MCP server of the task began or ended, was called, or said something that its
    /// firewall tells of.
    Mcp,
    /// The work was saved as a snapshot.
    Snapshot,
    /// Work was brought into the user's repository, under `refs/stockade/`.
    Imported,
    /// A person reviewed: accepted, rejected or commented.
    Reviewed,
    /// A required check ended.
    Checked,
    /// A person approved exactly this result.
    Approved,
    /// The approved result was merged.
    Merged,
    /// Approved work is about to leave for a remote.
    PushStarted,
    /// That push ended, and what the remote has now.
    PushEnded,
    /// A person set a rule aside, knowingly.
    Overridden,
    /// A person was asked whether an action may happen.
    Asked,
    /// An approver answered; the signature is in it.
    Answered,
    /// What was approved is about to happen, once.
    ApprovalUsed,
    /// A question was not answered in time, or an approval not used.
    AskExpired,
    /// A cap is used up to a good part, or a person raised it.
    Budget,
    /// Other rules judge the task's commands and requests from here on.
    PolicyChanged,
    /// The task was frozen or thawed.
    Paused,
    /// The task ended, and how.
    TaskEnded,
}
