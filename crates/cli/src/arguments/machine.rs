//! The words of trying out this machine, and what it costs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OwnSandbox;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the throw-away repository and state for a look
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print an AppArmor profile for this executable, for Ubuntu 23.10 and later
    #[arg(long)]
    pub(crate) apparmor_profile: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Attack {
    /// Another wrapper: a command to which a program is added, or that ends in
    /// `-c` and takes it as one word; `{workspace}` in it is the workspace's path
    #[arg(long, value_name = "COMMAND")]
    pub(crate) target: Option<String>,
    /// Stockade's sandbox as `run --nested` makes it, which four probes pass by design
    #[arg(long, conflicts_with = "target")]
    pub(crate) nested: bool,
    #[command(flatten)]
    pub(crate) own: OwnSandbox,
    /// Only this class, a letter from A to T; may be repeated
    #[arg(long, value_name = "LETTER")]
    pub(crate) class: Vec<stockade_attack::Class>,
    /// Only this probe; may be repeated
    #[arg(long, value_name = "NUMBER")]
    pub(crate) probe: Vec<u16>,
    /// Write the report to this file too, in JUnit's form
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Only list the probes
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// A command inside, against a plain spawn, bubblewrap, nsjail and unshare
    #[command(after_help = "Examples:\n  \
        stockade bench exec\n  \
        stockade bench exec --runs 500 --seconds 5 --json\n  \
        stockade bench exec --runs 500 --seconds 1 --most 2 --most-fresh 2.5")]
    Exec(BenchExec),
}

#[derive(Debug, Args)]
pub(crate) struct BenchExec {
    /// How often each kind of command is run; slow ones an eighth of that
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(16..))]
    pub(crate) runs: u32,
    /// For how long many commands at once are counted
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Fail if a captured command takes more than so many spawns, by tenth percentiles
    #[arg(long, value_name = "SPAWNS")]
    pub(crate) most: Option<f64>,
    /// The same of a command in a sandbox of its own
    #[arg(long, value_name = "SPAWNS")]
    pub(crate) most_fresh: Option<f64>,
}
