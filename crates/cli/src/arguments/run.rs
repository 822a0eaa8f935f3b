//! The words of `run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use stockade_supervisor::Cache;

use super::{NetworkArguments, Quota, SecretArguments, SpendingArguments, values};

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent, then what it shall do
    #[arg(value_name = "AGENT [PROMPT]", num_args = 0..=2)]
    pub(crate) words: Vec<String>,
    /// Any other command
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Start from this commit, branch or tag
    #[arg(long, value_name = "REF", default_value = "HEAD")]
    pub(crate) base: String,
    /// Bring uncommitted changes and new files along
    #[arg(long)]
    pub(crate) with_dirty: bool,
    /// A folder of the repository
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Name the task
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The agent's model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Answer model requests from another endpoint (https, or http on this machine)
    #[arg(long, value_name = "URL")]
    pub(crate) model_url: Option<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
    #[command(flatten)]
    pub(crate) secrets: SecretArguments,
    #[command(flatten)]
    pub(crate) spending: SpendingArguments,
    /// Cap on time, such as 90s, 30m, 4h
    #[arg(long, value_name = "TIME", default_value = "4h", value_parser = values::seconds)]
    pub(crate) wall: u64,
    /// Show this file or folder of the host, read-only; remembered for the repository
    #[arg(long, value_name = "PATH")]
    pub(crate) ro: Vec<PathBuf>,
    /// Let this file or folder of the host be changed, without review; remembered
    #[arg(long, value_name = "PATH")]
    pub(crate) rw: Vec<PathBuf>,
    /// Hide the content of these files of the repository, such as '*.secret'; remembered
    #[arg(long, value_name = "PATTERN")]
    pub(crate) hide: Vec<String>,
    /// Let it use a copy of these package managers' caches, such as cargo,npm; remembered
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = values::cache())]
    pub(crate) cache: Vec<Cache>,
    /// Let go of the paths and caches that are remembered for the repository
    #[arg(long)]
    pub(crate) forget_paths: bool,
    /// Cap on the memory of everything inside, such as 512M, 4G [default: three quarters]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub(crate) memory: Option<u64>,
    /// Cap on the processor time of everything inside, such as 1.5 processors
    #[arg(long, value_name = "N", value_parser = values::hundredths)]
    pub(crate) cpus: Option<u32>,
    /// Cap on what the task's files fill of the disk: 2G is watched, hard:2G kept by the kernel
    #[arg(long, value_name = "SIZE", value_parser = values::quota)]
    pub(crate) quota: Option<Quota>,
    /// Refuse to start with less assurance than this
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) require: Option<Level>,
    /// Start with this assurance although the last contract had more; nothing else is agreed to
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) accept: Option<Level>,
    /// Let programs inside make sandboxes of their own, such as bubblewrap's; weaker
    #[arg(long)]
    pub(crate) nested: bool,
    /// Record what else happens inside; `exec`: each program that starts, as it is seen
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) record: Vec<Recorded>,
    /// Tell tool calls to the policy before they happen, for advice [default: on for an agent]
    #[arg(long, value_enum, value_name = "SWITCH")]
    pub(crate) hooks: Option<Switch>,

    /// An approved MCP server that the task may use; without it an agent may use all
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "no_mcp",
        help_heading = "MCP servers"
    )]
    pub(crate) mcp: Vec<String>,

    /// No MCP servers of the lock
    #[arg(long, help_heading = "MCP servers")]
    pub(crate) no_mcp: bool,
    /// How the workspace is made
    #[arg(long, value_enum, default_value_t = BackEndName::Auto)]
    pub(crate) backend: BackEndName,
    /// Return once the task runs
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Work with the agent at its own terminal interface
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Accept a contract that is wider than the last one
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// What the record can tell beyond the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recorded {
    /// Each program that starts
    Exec,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// It is; for a command, the program `/opt/stockade/hook AGENT` is there inside
    On,
    /// It is not
    Off,
}

/// How strong a sandbox must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Whatever can start
    Weak,
    /// Every wall stands
    Reduced,
    /// Every wall stands, and the kernel keeps every cap that was asked for
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackEndName {
    /// The fastest that works here
    Auto,
    /// Copy-on-write over an immutable base tree
    Overlay,
    /// A copy of the base tree
    Checkout,
    /// A btrfs snapshot of the base tree
    Btrfs,
}
