//! The words about tasks that are there: watching, running more inside, ending, keeping.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use stockade_sandbox::Isolation;

use super::{TaskName, values};

#[derive(Debug, Args)]
pub(crate) struct Attach {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Only watch
    #[arg(long)]
    pub(crate) view: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// The folder, relative to the workspace
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// A further variable, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) env: Vec<(String, String)>,
    /// End it, and everything it started, after this time, such as 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = values::milliseconds)]
    pub(crate) timeout: Option<u64>,
    /// Cap on the processor time of each of its processes, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) cpu: Option<u64>,
    /// Cap on the address space of each of its processes, such as 512M, 2G
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) address_space: Option<u64>,
    /// Cap on each file that it writes, such as 10M
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) file_size: Option<u64>,
    #[command(flatten)]
    pub(crate) own: OwnSandbox,
    /// Tell which files changed
    #[arg(long)]
    pub(crate) files: bool,
    /// Run it whatever the task's policy says of it; the record says so
    #[arg(long)]
    pub(crate) no_policy: bool,
    /// A text for the shell, instead of a program with arguments
    #[arg(long, value_name = "TEXT", conflicts_with = "command")]
    pub(crate) shell: Option<String>,
    /// A tool that the project declares (see `mcp tools`), with what follows `--` as its
    /// arguments: NAME=TEXT, or NAME:=VALUE for numbers, true and false
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["shell", "cwd", "env", "timeout", "cpu", "address_space", "file_size", "fresh", "tightened"]
    )]
    pub(crate) tool: Option<String>,
    /// Program and arguments
    #[arg(last = true, required_unless_present_any = ["shell", "tool"])]
    pub(crate) command: Vec<String>,
}

/// Whether a command has a sandbox of its own beside the task's.
#[derive(Debug, Args)]
pub(crate) struct OwnSandbox {
    /// In a sandbox of its own: it shares the workspace, the home and the rules
    /// for hosts, and sees no process of the task; all it started ends with it
    #[arg(long)]
    fresh: bool,
    /// The same with an empty home and no network: it shares the workspace alone
    #[arg(long, conflicts_with = "fresh")]
    tightened: bool,
}

impl OwnSandbox {
    pub(crate) fn isolation(&self) -> Option<Isolation> {
        match (self.fresh, self.tightened) {
            (_, true) => Some(Isolation::Tightened),
            (true, false) => Some(Isolation::Fresh),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Of this command: the number that `exec --json` told
    #[arg(long, value_name = "N")]
    pub(crate) exec: Option<u32>,
    /// Show every connection instead, out and in, allowed and refused
    #[arg(long, conflicts_with = "exec")]
    pub(crate) network: bool,
    /// Show every program that started instead; of a task run with `--record exec`
    #[arg(long, conflicts_with_all = ["exec", "network"])]
    pub(crate) programs: bool,
    /// Show every tool call instead that agents told before it, and how it was judged
    #[arg(long, conflicts_with_all = ["exec", "network", "programs"])]
    pub(crate) hooks: bool,
    /// Show instead what its MCP servers were asked for, and what they were refused
    #[arg(long, conflicts_with_all = ["exec", "network", "programs", "hooks"])]
    pub(crate) mcp: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// What an ended agent shall do next
    #[arg(long)]
    pub(crate) prompt: Option<String>,
    /// Return once the task runs
    #[arg(long, short)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Every task that runs
    #[arg(long, conflicts_with = "task")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Which task: id, slug, or the start of either [default: the only one]
    pub(crate) task: Option<String>,
    /// The snapshot's number; 0 is the base [default: list them]
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) task: TaskName,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Which task: id, slug, or the start of either [default: list the trash]
    pub(crate) task: Option<String>,
}

/// What is to be explained.
#[derive(Clone, Debug)]
pub(crate) enum About {
    /// An event of the record.
    Event(u64),
    /// What a task sees there.
    Path(PathBuf),
}

impl From<OsString> for About {
    fn from(words: OsString) -> Self {
        match words.to_str().and_then(|text| text.parse().ok()) {
            Some(number) => Self::Event(number),
            None => Self::Path(words.into()),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The number of the event, or a path of this machine or inside [default: the last
    /// refusal]
    #[arg(value_name = "EVENT|PATH")]
    pub(crate) about: Option<About>,
    /// Which task [default: the only one]
    #[arg(long)]
    pub(crate) task: Option<String>,
}
