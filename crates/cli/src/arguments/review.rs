//! The words of taking work over.

use std::path::PathBuf;

use clap::Args;

use super::TaskName;

#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Only files and counts
    #[arg(long)]
    pub(crate) stat: bool,
    /// Only files and why to look twice
    #[arg(long)]
    pub(crate) risk: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Review {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Accept a file, or hunks of it as PATH#ID,ID; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) accept: Vec<String>,
    /// Reject a file, or hunks of it as PATH#ID,ID; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) reject: Vec<String>,
    /// Accept every file that is not held back
    #[arg(long)]
    pub(crate) accept_all: bool,
    /// Send the agent a remark, as its next prompt; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Merge {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// The branch [default: the one that was checked out at the start]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) into: Option<String>,
    /// Do not ask when nothing is held back
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Merge although a required check fails; the reason is recorded
    #[arg(long, value_name = "REASON")]
    pub(crate) override_checks: Option<String>,
    /// Keep the agent's own commits instead of making one of all
    #[arg(long)]
    pub(crate) keep_commits: bool,
    /// Do not sign the commit, although your git settings ask for it; recorded
    #[arg(long)]
    pub(crate) no_sign: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// The remote of your repository [default: remote.pushDefault, or origin]
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) remote: Option<String>,
    /// The branch there [default: stockade/SLUG]
    #[arg(long, value_name = "BRANCH", allow_hyphen_values = true)]
    pub(crate) branch: Option<String>,
    /// Override the branch there, if it is at this commit
    #[arg(long, value_name = "OID")]
    pub(crate) force_with_lease: Option<String>,
    /// Do not ask when nothing is held back and no approver is needed
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Sign with the key of this approver, where one is needed
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// Do not sign the commit, although your git settings ask for it; recorded
    #[arg(long)]
    pub(crate) no_sign: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// Write the files to this new folder instead
    #[arg(long, value_name = "DIR")]
    pub(crate) on_host: Option<PathBuf>,
    /// The files may run by themselves when you open them; you know
    #[arg(long, requires = "on_host")]
    pub(crate) acknowledge_risks: bool,
}
