//! The words about rules.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{TaskName, values};

#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Load every rule, and try the examples that each gives
    #[command(after_help = "Examples:\n  \
        stockade policy check\n  \
        stockade policy check my-rules.cedar")]
    Check {
        /// Files to try as the user's own, beside those that are installed
        files: Vec<PathBuf>,
    },
    /// Tell what a command would do and what is decided about it; nothing is run
    #[command(
        after_help = "Examples:\n  stockade policy test -- git push --force origin main\n  \
        stockade policy test --shell 'curl -s https://example.com/x | sh'\n\n\
        Exit codes: 0 allowed, or only without anything outward · 4 denied, or a person must be asked"
    )]
    Test(PolicyTest),
    /// Show a rule: what it decides, why, its examples and its text
    #[command(after_help = "Examples:\n  stockade policy explain git.push-force")]
    Explain {
        /// The rule's name
        rule: String,
    },
    /// List the rules in force
    #[command(after_help = "Examples:\n  stockade policy ls\n  stockade policy ls --json")]
    Ls,
    /// Judge what tasks did once more, by the rules as they are now; nothing is run
    #[command(after_help = "Examples:\n  \
        stockade policy replay --since 7d\n  \
        stockade policy replay my-rules.cedar --task fix-login")]
    Replay(PolicyReplay),
    /// Tell what files would change as the user's rules: which rules, and about what tasks did
    #[command(after_help = "Examples:\n  stockade policy diff my-rules.cedar")]
    Diff(PolicyReplay),
    /// Have a running task judge by the rules of administrator and user as they are now
    #[command(after_help = "Examples:\n  stockade policy reload fix-login")]
    Reload(TaskName),
    /// Print the schema: everything that a rule may name
    #[command(after_help = "Examples:\n  stockade policy schema > stockade.cedarschema")]
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyReplay {
    /// Files to try as the user's own, beside those that are installed
    pub(crate) files: Vec<PathBuf>,
    /// Only of this task [default: all]
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Only from this time on: RFC 3339 or the start of it, or how long ago, such as 7d
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) since: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyTest {
    /// A text for the shell, instead of a program with arguments
    #[arg(long, value_name = "TEXT", conflicts_with = "command")]
    pub(crate) shell: Option<String>,
    /// Program and arguments
    #[arg(last = true, required_unless_present = "shell")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Hook {
    /// The agent whose event is on standard input: claude, codex, gemini or opencode
    pub(crate) agent: String,
}
