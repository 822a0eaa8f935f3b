use std::{io, path::PathBuf};

/// A task that could not be started, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A file or folder of the state directory.
    #[error("{}: {source}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file of the state directory that does not hold what it should.
    #[error("{}: {source}; it was written by another version or damaged", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The state directory is where locks and syncs cannot be relied on.
    #[error(
        "{} is on a network file system ({kind}), where the record could be lost; set \
         STOCKADE_STATE_DIR to a folder on a local disk",
        path.display()
    )]
    NetworkFileSystem {
        /// The state directory.
        path: PathBuf,
        /// Which file system.
        kind: &'static str,
    },
    /// No home and no state directory.
    #[error("there is no home directory; set STOCKADE_STATE_DIR to a folder of your own")]
    NoHome,
    /// A wall is missing.
    #[error(transparent)]
    Sandbox(#[from] stockade_sandbox::SandboxError),
    /// The disk of a task that has one of its own.
    #[error("the task's disk: {0}")]
    Disk(stockade_sandbox::disk::DiskError),
    /// The agent could not be found or configured.
    #[error(transparent)]
    Agent(#[from] stockade_agents::AgentError),
    /// The ledger of what tasks spend, or the price table.
    #[error(transparent)]
    Budget(#[from] stockade_budget::BudgetError),
    /// Approvers and their keys.
    #[error(transparent)]
    Approver(#[from] stockade_approval::ApproverError),
    /// An answer to a question that is not taken.
    #[error(transparent)]
    Answer(#[from] stockade_approval::AnswerError),
    /// Rules that cannot stand.
    #[error(transparent)]
    Policy(#[from] stockade_policy::PolicyError),
    /// A secret, or the catalogue of them.
    #[error(transparent)]
    Vault(#[from] stockade_vault::VaultError),
    /// The folder or the commit to work on.
    #[error(transparent)]
    Repository(#[from] stockade_workspace::RepositoryError),
    /// The tree of a task could not be made.
    #[error("{0}")]
    Workspace(String),
    /// The record cannot be written, so nothing may happen.
    #[error("the record: {0}")]
    Record(String),
    /// The gateway did not start.
    #[error("the gateway: {0}")]
    Gateway(String),
    /// The firewall of an MCP server did not start, or ended.
    #[error("the firewall of the MCP server: {0}")]
    McpFirewall(String),
    /// An MCP server does not do what one does.
    #[error("the MCP server: {0}")]
    McpServer(String),
    /// A package cannot be resolved or installed.
    #[error("{0}")]
    Package(String),
    /// The task runs already.
    #[error("the task runs already; `stockade attach` shows it")]
    Running,
    /// The task does not run.
    #[error("the task does not run; `stockade resume` starts it again")]
    NotRunning,
    /// The supervisor ended before it said whether the task started.
    #[error("the task's supervisor ended at once; see {}", log.display())]
    Vanished {
        /// Its log.
        log: PathBuf,
    },
    /// A port to publish cannot be listened at.
    #[error(
        "port {port} of 127.0.0.1 cannot be listened at: {source}; choose another as \
         `--publish OTHER:{inside}`, or any that is free as `--publish 0:{inside}`"
    )]
    Port {
        /// Which.
        port: u16,
        /// What it would have led to.
        inside: u16,
        /// The system's words.
        source: io::Error,
    },
    /// Another task got the user id between the two steps of this start.
    #[error("another task took the user id {0} meanwhile; start the task again")]
    IdentityTaken(u32),
    /// The supervisor said no.
    #[error("{0}")]
    Refused(String),
    /// The control socket.
    #[error("the task's control socket: {0}")]
    Control(#[source] io::Error),
}

impl SupervisorError {
    pub(crate) fn state(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::State { path, source }
    }
}
