//! Stockade's own processes: this executable again, under a hidden argument,
//! with one channel as standard input and nothing else of the caller's.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The argument that makes the `stockade` executable this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A task's supervisor.
    Supervisor,
    /// The writer of its record.
    Recorder,
    /// Its way out.
    Gateway,
    /// What stands between an MCP server and its client.
    McpFirewall,
}

impl Part {
    /// The hidden argument.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Supervisor => "__supervisor",
            Self::Recorder => "__recorder",
            Self::Gateway => "__gateway",
            Self::McpFirewall => "__mcp-firewall",
        }
    }
}

/// Variables that name the certificates by which servers are believed.
const TRUST_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// This executable, even after it was replaced on disk.
pub(crate) fn executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Starts a part with `stdin` as its channel and `log` for what it says when
/// it fails.
#[expect(
    clippy::disallowed_methods,
    reason = "parts of Stockade are started here and nowhere else"
)]
pub(crate) fn spawn(
    part: Part,
    argument: &Path,
    stdin: OwnedFd,
    stdout: Stdio,
    log: &Path,
) -> io::Result<Child> {
    // Whom the user's own programs believe, where that is set.
    let trusted = TRUST_VARIABLES.map(|name| Some((name, std::env::var_os(name)?)));
    let log = File::options().create(true).append(true).open(log)?;
    Command::new(executable())
        .arg(part.argument())
        .arg(argument)
        .env_clear()
        .envs(trusted.into_iter().flatten())
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .stdout(stdout)
        .stderr(Stdio::from(log))
        .spawn()
}
