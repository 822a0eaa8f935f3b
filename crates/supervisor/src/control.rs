//! The control socket of a task: JSON, one object a line, on a unix socket
//! that only its owner can reach and that no sandbox contains.

mod client;
mod lines;
mod server;

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
};

use serde::{Deserialize, Serialize};
use stockade_approval::{Signed, Waiting};
use stockade_budget::Unit;
use stockade_gateway::HostRule;
use stockade_policy::Source;
use stockade_types::Denial;
use stockade_vault::SecretName;

pub use self::client::Connection;
pub(crate) use self::{
    lines::{Lines, encode_line, write_line},
    server::{Asked, Reply, Watch, serve, wait_for_viewers},
};
use crate::{
    contract::PolicyLine,
    error::SupervisorError,
    exec::{ExecRequest, ExecResult, Fault, SessionRequest},
    state::TaskDirectory,
    task::TaskState,
};

/// The longest line that a client may send, in bytes.
const LINE_MAX: usize = 1 << 20;
/// The longest line that it gets.
const ANSWER_MAX: u64 = 16 << 20;

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// The state of the task.
    Status,
    /// To see the main command, and to type if nobody else does.
    Attach {
        /// Whether to type.
        write: bool,
        /// Whether to see it from its beginning, not only what came last.
        #[serde(default)]
        whole: bool,
    },
    /// To run another command inside, for this client.
    Exec(Box<ExecRequest>),
    /// To have a shell inside for as long as this connection lasts; each
    /// further line is a [`SessionText`](crate::SessionText).
    Session(Box<SessionRequest>),
    /// To run another command inside at a terminal.
    Shell {
        /// Program and arguments.
        argv: Vec<String>,
        /// The folder, absolute inside or relative to the workspace.
        cwd: Option<String>,
        /// Whether the task's policy does not count: a person types what runs.
        #[serde(default)]
        no_policy: bool,
    },
    /// Freeze everything inside.
    Pause,
    /// Let it go on.
    Resume,
    /// End everything inside.
    Stop,
    /// Save the work now.
    Snapshot,
    /// Allow a host from now on.
    Allow {
        /// What is allowed.
        rule: HostRule,
        /// For how long; until the task ends without it.
        seconds: Option<u64>,
    },
    /// Let a secret be used no more.
    TakeBack {
        /// Which.
        secret: SecretName,
    },
    /// Raise the task's cap on what it spends.
    Raise {
        /// Of what.
        unit: Unit,
        /// By how much.
        more: u64,
    },
    /// Let the agent go on that a breaker has stopped.
    Reset,
    /// The rules for hosts that are in force.
    Rules,
    /// What the task waits for a person to answer.
    Questions,
    /// An approver's answer to one of them.
    Answer(Box<Signed>),
    /// To judge by these rules of administrator and user from now on.
    Policy {
        /// All of them.
        rules: Vec<Source>,
    },
}

/// A rule that allows, as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownRule {
    /// The rule.
    pub rule: HostRule,
    /// Until when, RFC 3339 in UTC; as long as the task runs without it.
    pub until: Option<String>,
}

/// What a client sends while it watches a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "send", rename_all = "kebab-case")]
pub enum Typed {
    /// Bytes for the command's terminal or standard input.
    Input {
        /// In base64.
        bytes: String,
    },
    /// No more input.
    EndOfInput,
    /// The size of the client's terminal.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
}

/// What a task answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Done as asked.
    Done,
    /// Not done.
    Refused {
        /// Why.
        reason: String,
        /// Whose fault that is.
        #[serde(default)]
        fault: Fault,
        /// Which rule said so, if one of the policy did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        denial: Option<Box<Denial>>,
    },
    /// The state.
    State {
        /// Where the task stands.
        state: TaskState,
    },
    /// The client watches from now on.
    Watching {
        /// Whether it may type.
        write: bool,
        /// Whether the command has a terminal.
        terminal: bool,
    },
    /// The shell takes texts.
    Session {
        /// Its number among the task's commands.
        exec: u32,
    },
    /// Something was printed.
    Output {
        /// In base64.
        bytes: String,
        /// Whether to standard error, where that is told apart.
        #[serde(default)]
        error: bool,
    },
    /// The command ended.
    Ended {
        /// With this code, or 128 and the signal's number.
        exit: i32,
        /// What else is known of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Box<ExecResult>>,
    },
    /// The rules that are in force.
    Rules {
        /// What is allowed, beside the model.
        allow: Vec<ShownRule>,
        /// What is denied, whatever is allowed.
        deny: Vec<HostRule>,
    },
    /// What waits for an answer.
    Questions {
        /// Each question.
        waiting: Vec<Waiting>,
    },
    /// An answer was taken.
    Answered {
        /// How many people still have to approve.
        needs: u8,
    },
    /// Other rules of the policy judge from now on.
    Policy {
        /// What a contract says of them.
        policy: PolicyLine,
    },
    /// The cap was raised.
    Raised {
        /// To this much.
        cap: u64,
    },
    /// The work was saved.
    Saved {
        /// The snapshot's number.
        number: u64,
    },
}

/// The socket's path through a descriptor of its folder: names of sockets
/// have at most 107 bytes, state directories may have more.
fn socket_path(task: &TaskDirectory) -> io::Result<(std::fs::File, String)> {
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(task.join("control"))?;
    let path = format!("/proc/self/fd/{}/socket", folder.as_raw_fd());
    Ok((folder, path))
}

/// Opens the socket; a dead supervisor's is replaced. The caller holds the
/// task's lock.
pub(crate) fn listen(task: &TaskDirectory) -> Result<UnixListener, SupervisorError> {
    let (_folder, path) = socket_path(task).map_err(SupervisorError::Control)?;
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(&path).map_err(SupervisorError::Control)
}

/// Takes the socket away, before the task's lock is let go: who comes from then
/// on hears that nobody is there, however long last words take.
pub(crate) fn stop_listening(task: &TaskDirectory) {
    if let Ok((_folder, path)) = socket_path(task) {
        let _ = std::fs::remove_file(&path);
    }
}

/// A connection to a task's control socket, for a client with its own way to
/// wait; [`Connection`] is one that blocks.
pub fn connect(task: &TaskDirectory) -> Result<UnixStream, SupervisorError> {
    let (_folder, path) = socket_path(task).map_err(|_| SupervisorError::NotRunning)?;
    UnixStream::connect(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => SupervisorError::NotRunning,
        _ => SupervisorError::Control(error),
    })
}
