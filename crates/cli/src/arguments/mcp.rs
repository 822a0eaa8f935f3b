//! The words about MCP servers.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use stockade_gateway::HostRule;
use stockade_vault::SecretName;

use super::TaskName;

#[derive(Debug, Args)]
pub(crate) struct Mcp {
    /// The folder of `stockade-mcp.lock` [default: here, or above where there is one]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) lock: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: McpVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpVerb {
    /// Run a server in a sandbox of its own, behind a firewall that shows what was
    /// approved; set it as the server's command in an MCP client
    #[command(after_help = "Examples:\n  \
        stockade mcp wrap notes\n  \
        stockade mcp wrap --first-use --ro . -- python3 server.py\n\n\
        It ends when the client or the server does; what it refused is on standard error.")]
    Wrap(Wrap),
    /// Look at what a server offers, and approve it under a name
    #[command(after_help = "Examples:\n  \
        stockade mcp add notes --rw ./notes -- python3 notes_server.py\n  \
        stockade mcp add files --yes --ro . -- npx -y @modelcontextprotocol/server-filesystem@2026.7.10 .\n  \
        stockade mcp add github --secret github -- https://api.githubcopilot.com/mcp/ \
        'Authorization: Bearer ${GITHUB_TOKEN}'\n\n\
        Exit codes: 0 approved · 4 a rule blocks it, or nobody said yes")]
    Add(Add),
    /// List the servers that are approved
    #[command(after_help = "Examples:\n  stockade mcp ls\n  stockade mcp ls --json")]
    Ls,
    /// Tell what a server offers otherwise than was approved
    #[command(after_help = "Examples:\n  stockade mcp diff notes\n\n\
        Exit codes: 0 as approved · 8 otherwise")]
    Diff {
        /// The server
        name: String,
    },
    /// Approve what a server offers now
    #[command(after_help = "Examples:\n  \
        stockade mcp approve notes\n  \
        stockade mcp approve notes --despite P01")]
    Approve {
        /// The server
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Check servers against the lock: what they run and what they offer
    #[command(after_help = "Examples:\n  \
        stockade mcp verify\n  \
        stockade mcp verify --offline\n\n\
        Exit codes: 0 as approved · 1 could not be checked · 8 otherwise than approved")]
    Verify {
        /// The servers [default: all]
        names: Vec<String>,
        /// Check the lock and what servers run, and start none
        #[arg(long)]
        offline: bool,
    },
    /// Find the servers that clients on this machine start: Claude Code, Codex, Gemini CLI,
    /// opencode, Cursor, VS Code; nothing is started or changed
    #[command(after_help = "Examples:\n  stockade mcp find\n  stockade mcp find --json")]
    Find,
    /// Find what definitions should not say
    #[command(after_help = "Examples:\n  \
        stockade mcp scan\n  \
        stockade mcp scan --sarif mcp.sarif --fail-on block\n  \
        stockade mcp scan --ro . -- python3 server.py\n\n\
        Exit codes: 0 nothing as heavy as --fail-on · 1 could not be scanned · 4 something is")]
    Scan(Scan),
    /// Agree to what the lock of a repository says of a server; nothing of it is started
    #[command(
        after_help = "Examples:\n  stockade mcp trust notes\n  stockade mcp trust notes --yes"
    )]
    Trust {
        /// The server
        name: String,
        /// Agree without a question
        #[arg(long)]
        yes: bool,
    },
    /// List the tools that the project declares in stockade.toml, or propose some
    #[command(
        after_help = "Examples:\n  stockade mcp tools\n  stockade mcp tools --json\n\n\
        Agents in tasks have them as the MCP server `stockade`; one runs by\n\
        stockade exec --tool run_tests -- only=parser"
    )]
    Tools,
    /// Serve the tools of a task that runs to an MCP client outside; set it as the server's
    /// command there
    #[command(after_help = "Examples:\n  stockade mcp serve\n  stockade mcp serve fix-parser")]
    Serve(TaskName),
    /// Approve a server no more
    #[command(after_help = "Examples:\n  stockade mcp rm notes")]
    Rm {
        /// The server
        name: String,
    },
}

/// What a server may have of the host.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Shown {
    /// Let the server read a file or folder
    #[arg(long = "ro", value_name = "PATH")]
    pub(crate) read: Vec<PathBuf>,
    /// Let the server change a file or folder
    #[arg(long = "rw", value_name = "PATH")]
    pub(crate) write: Vec<PathBuf>,
    /// Give the server a variable as it is here
    #[arg(long = "env", value_name = "NAME")]
    pub(crate) env: Vec<String>,
    /// Let the server use a secret of yours without holding it, where that is bound (see
    /// `secret`); its variable has a placeholder
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Vec<SecretName>,
    /// Let the server reach a host, as in `GET api.example.com/v1/**`; with
    /// `carries=keys` it may send a key there. Without this it reaches nothing
    #[arg(long, value_name = "RULE")]
    pub(crate) allow: Vec<HostRule>,
    /// Let a name lead the server to a place, such as a server on this machine; a rule
    /// must still allow it
    #[arg(long, value_name = "NAME=URL")]
    pub(crate) service: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Wrap {
    /// The server's name in the lock
    #[arg(conflicts_with = "first_use")]
    pub(crate) name: Option<String>,
    /// Without a lock: what the server offers first counts, but for what a rule blocks
    #[arg(long, requires = "command")]
    pub(crate) first_use: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// Program and arguments of the server, with --first-use
    #[arg(last = true, requires = "first_use")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What the server is called from now on
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) shown: Shown,
    #[command(flatten)]
    pub(crate) consent: Consent,
    /// Program and arguments of the server; or the URL of one over HTTP, and headers, in
    /// which `${NAME}` is the value of a variable
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Consent {
    /// Approve despite what this rule blocks
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) despite: Vec<String>,
    /// Approve without a question
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// Servers of the lock, as they were approved [default: all]
    #[arg(conflicts_with = "command")]
    pub(crate) names: Vec<String>,
    /// Write what is found as SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    pub(crate) sarif: Option<PathBuf>,
    /// Fail on findings as heavy as this
    #[arg(long, value_name = "WEIGHT", default_value = "ask")]
    pub(crate) fail_on: FailOn,
    #[command(flatten)]
    pub(crate) shown: Shown,
    /// Program and arguments of a server, which is started in a sandbox
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// How heavy a finding is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FailOn {
    /// What is worth knowing
    Note,
    /// What a person should look at
    Ask,
    /// What is not shown on first use
    Block,
}
