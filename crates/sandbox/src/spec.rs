//! What a sandbox is to be: plain data, decided outside, built by the anchor.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stockade_types::TaskId;

/// Everything the anchor needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Whose sandbox it is.
    pub task: TaskId,
    /// The kernel ids of the agent; `None` keeps the caller's, who is then an
    /// ordinary user.
    pub identity: Option<Identity>,
    /// Host files and folders that appear inside.
    pub grants: Vec<Grant>,
    /// Files that exist only inside, read-only.
    pub files: Vec<InsideFile>,
    /// Symbolic links that exist only inside.
    pub links: Vec<InsideLink>,
    /// Inside files laid over others, once everything else stands.
    pub covers: Vec<Cover>,
    /// Java's trust stores, over which the certificates of the bundle are laid.
    #[serde(default)]
    pub trust_stores: Vec<PathBuf>,
    /// The agent's tree.
    pub workspace: WorkspaceMount,
    /// Caps for every process inside.
    pub limits: Limits,
    /// Whether programs inside may make namespaces and mounts, for sandboxes
    /// of their own. There is no Landlock then: the kernel lets nobody mount
    /// whose files it restricts.
    #[serde(default)]
    pub nested: bool,
    /// Whether every program that starts is seen, at a cost for each: see
    /// [`ExecWatch`](crate::ExecWatch).
    #[serde(default)]
    pub watch_execs: bool,
    /// Where the program stands that speaks to the gateway for others: for agents' hooks
    /// at [`hook::CLIENT`](stockade_types::hook::CLIENT), for clients of MCP at
    /// [`mcp::CLIENT`](stockade_types::mcp::CLIENT). What it does it tells by its name.
    #[serde(default)]
    pub clients: Vec<PathBuf>,
}

/// Kernel ids that belong to one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id, as the host sees it; never 0.
    pub uid: u32,
    /// Group id, as the host sees it; never 0.
    pub gid: u32,
}

/// A host path that appears inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// On the host.
    pub source: PathBuf,
    /// Inside; absolute.
    pub target: PathBuf,
    /// What may be done with it.
    pub access: Access,
    /// Paths below it, relative, that appear empty: secrets.
    pub hidden: Vec<PathBuf>,
    /// A folder of the host that it begins with and that stays as it is; for a
    /// folder of the task's own, where one can be laid over another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<PathBuf>,
}

/// What may be done with a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Read, execute and change.
    ReadWrite,
}

/// A file that exists only inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InsideFile {
    /// Absolute path inside.
    pub path: PathBuf,
    /// The whole content.
    pub content: String,
}

/// A symbolic link that exists only inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideLink {
    /// Absolute path inside.
    pub path: PathBuf,
    /// What it says.
    pub to: PathBuf,
}

/// An inside file laid over another path, which must exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// The file that is shown, absolute.
    pub file: PathBuf,
    /// Where, absolute.
    pub over: PathBuf,
}

/// The agent's tree and where it appears.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkspaceMount {
    /// Inside, absolute; its parent is what Landlock knows.
    pub target: PathBuf,
    /// What it is made of.
    pub tree: Tree,
}

/// What a workspace is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tree {
    /// Copy-on-write over an immutable tree.
    Overlay {
        /// The immutable tree.
        lower: PathBuf,
        /// A folder that holds `upper` and `work`, on one file system.
        layers: PathBuf,
    },
    /// A folder that holds the whole tree, `ws`, and an empty one, `work`, both
    /// in one subvolume.
    Subvolume {
        /// That folder, directly in `layers`.
        name: String,
        /// The task's own folder.
        layers: PathBuf,
    },
    /// A folder of the task's own, shown as it is.
    Directory(PathBuf),
}

/// Caps on every process inside, or on all of them together. The kernel keeps
/// them, but for memory where it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads in the sandbox.
    pub processes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of each of `/tmp`, `/var/tmp` and `/dev/shm`.
    pub scratch_bytes: u64,
    /// Memory of everything inside together.
    #[serde(default)]
    pub memory: Option<MemoryCap>,
    /// Processor time of everything inside together, in hundredths of one
    /// processor.
    #[serde(default)]
    pub processor_hundredths: Option<u32>,
    /// Seconds after which everything inside is ended, whatever becomes of
    /// whoever started it.
    #[serde(default)]
    pub seconds: Option<u32>,
}

/// A cap on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCap {
    /// How much.
    pub bytes: u64,
    /// Who keeps it.
    pub keeper: Keeper,
}

/// Who keeps a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// The kernel: it cannot be passed.
    Kernel,
    /// The supervisor, which looks and then ends the task.
    Watched,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: 4096,
            open_files: 65_536,
            file_bytes: 16 << 30,
            scratch_bytes: 2 << 30,
            memory: None,
            processor_hundredths: None,
            seconds: None,
        }
    }
}

/// What a further sandbox of a running task has for itself. All have a root,
/// scratch folders, processes, terminals, shared memory and a network of their
/// own, and the task's workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// That much: it has the agent's home too, and reaches what the task may.
    #[default]
    Fresh,
    /// It has the agent's home too, and its network is its own `lo` alone.
    Contained,
    /// Its home is empty, and its network is its own `lo` alone.
    Tightened,
    /// The same, and the workspace cannot be changed.
    Reading,
    /// It has the agent's home too, and reaches what the task may; the workspace cannot be
    /// changed.
    Fetching,
}

impl Isolation {
    /// Whether it reaches what the task may.
    pub fn has_network(self) -> bool {
        matches!(self, Self::Fresh | Self::Fetching)
    }

    /// Whether it has the agent's home.
    pub fn has_home(self) -> bool {
        !matches!(self, Self::Tightened | Self::Reading)
    }

    /// Whether it can change the workspace.
    pub fn changes_workspace(self) -> bool {
        !matches!(self, Self::Reading | Self::Fetching)
    }

    /// The same, or less, without a network.
    #[must_use]
    pub fn contained(self) -> Self {
        match self {
            Self::Fresh => Self::Contained,
            Self::Fetching => Self::Reading,
            closed => closed,
        }
    }
}

/// The user id and group id that the agent sees as its own.
pub const INSIDE_ID: u32 = 1000;
/// The agent's home inside.
pub const INSIDE_HOME: &str = "/home/agent";
/// Where workspaces appear; Landlock's rule is on this folder.
pub const WORKSPACES: &str = "/workspace";

/// What was built, as found by looking, not as asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildReport {
    /// The process id of process 1, as the host counts.
    pub init: i32,
    /// How connections are captured.
    pub capture: crate::network::Capture,
    /// The Landlock ABI whose rules hold; none where sandboxes are nested.
    pub landlock_abi: Option<u32>,
    /// The checks that were made from inside, before anything ran.
    pub checked_inside: Vec<String>,
    /// Process 1's `/proc` entries, as seen from outside.
    pub seen_outside: Vec<String>,
    /// Microseconds from the spec to process 1.
    pub micros: u64,
}
