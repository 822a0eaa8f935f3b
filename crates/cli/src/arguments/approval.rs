//! The words about questions to a person.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::{bytes, seconds};

#[derive(Debug, Args)]
pub(crate) struct Inbox {
    /// Only of this task: id, slug, or the start of either [default: all]
    pub(crate) task: Option<String>,
    /// Only list what waits
    #[arg(long)]
    pub(crate) list: bool,
    /// Tell instead how much was asked, how it was answered, and which rules would have done
    #[arg(long, conflicts_with = "list")]
    pub(crate) stats: bool,
    /// Sign with the key of this approver
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Which question: its number, or the start of it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) scope: ScopeArguments,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Sign with the key of this approver
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
}

/// How much is approved.
#[derive(Debug, Default, Args)]
pub(crate) struct ScopeArguments {
    /// Approve so many uses [default: 1, or any number with --for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    /// Approve it for so long, such as 90s, 10m, 4h [default: 10m]
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub(crate) lasting: Option<u64>,
    /// Let so much out in all, such as 64K, 10M [default: 64K a use, or what waits]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) bytes: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// Which question: its number, or the start of it
    pub(crate) id: String,
    /// Why; the agent is told
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Sign with the key of this approver
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approver {
    /// Enrol a public key, such as one of `ssh-keygen -t ed25519-sk`
    #[command(after_help = "Examples:\n  stockade approver add ann ~/.ssh/id_ed25519_sk.pub")]
    Add {
        /// Whose it is; several keys of one name are one person's
        name: String,
        /// The `.pub` file; the private half is beside it or in ssh-agent
        file: PathBuf,
    },
    /// List who may approve, and how strong their keys are
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  stockade approver ls\n  stockade approver ls --json"
    )]
    Ls,
    /// Let no key of this name approve anything more
    #[command(after_help = "Examples:\n  stockade approver rm ann")]
    Rm {
        /// Whose
        name: String,
    },
}
