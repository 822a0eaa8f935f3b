//! MCP servers, of tasks and outside of them: each in a sandbox of its own, and between
//! it and its client a firewall in a process that is sealed.
//!
//! ```text
//!  client ◄──► firewall (sealed: reads hostile bytes, opens nothing) ◄──► server (sandbox)
//!                 │ what happened, "start the server again"
//!             who called: holds the sandbox, reads nothing of what they say
//! ```

mod boxed;
mod network;
mod of_task;
mod packages;
mod process;
mod tools;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Stdio},
};

use serde::{Deserialize, Serialize};
use stockade_mcp::{Catalogue, Era, ItemDigest, ItemKind, Seen};
use stockade_sandbox::Channel;
use stockade_types::TaskId;

pub use self::{
    boxed::{BRIDGE_ARGUMENT, BoxPlan, Boxed, ServerWish},
    network::ServerNetwork,
    of_task::PlannedServer,
    packages::{Installed, Packages},
    process::run,
    tools::TOOLS,
};
pub(crate) use self::{
    boxed::{OfTask, View},
    of_task::{Servers, Support},
};
use crate::{
    error::SupervisorError,
    judge::Judge,
    part::{self, Part},
    policy::TaskPolicy,
    prepare::Host,
};

/// The longest of what the firewall's process tells, in bytes.
const TOLD_MAX: usize = 64 * 1024;
/// What the firewall's process is to do.
const SERVE: &[u8] = b"serve";
/// The same.
const LIST: &[u8] = b"list";

/// What a firewall goes by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirewallSettings {
    /// What was approved; without it the first that comes counts.
    pub approved: Option<Vec<(ItemKind, String, ItemDigest)>>,
    /// The server's era, if it is known.
    pub era: Option<Era>,
    /// Tools that the policy does not let be called, and why.
    #[serde(default)]
    pub forbidden: BTreeMap<String, String>,
}

impl FirewallSettings {
    /// The same, without the tools of the server `name` that the rules of the host's people
    /// forbid.
    pub fn judged(self, host: &Host, name: &str) -> Self {
        let policy = TaskPolicy::new(&host.rules, Vec::new());
        let nobody = TaskId::from_random(rand::random());
        Judge::new(policy, &nobody, String::new(), None).mcp_tools(self, name)
    }

    /// The tools that were approved.
    pub(crate) fn tools(&self) -> impl Iterator<Item = &str> {
        let items = self.approved.iter().flatten();
        let tools = items.filter(|(kind, _, _)| *kind == ItemKind::Tool);
        tools.map(|(_, name, _)| name.as_str())
    }
}

/// What a server offers, as its firewall's process read it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    /// What it speaks.
    pub era: Era,
    /// Everything.
    pub catalogue: Catalogue,
}

/// What a firewall's process tells.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// It is sealed and serves.
    Sealed,
    /// What happened since it told last, in order.
    Seen(Vec<Seen>),
    /// The server ended, and may speak another era.
    StartAgain,
    /// What the server offers is in the file.
    Listed,
}

/// The firewall's process.
#[derive(Debug)]
pub struct FirewallProcess {
    child: Child,
    channel: Channel,
}

/// The ends of a server's standard input and output that are held outside.
#[derive(Debug)]
pub struct ServerEnds {
    /// What is written here the server reads.
    pub input: OwnedFd,
    /// What the server writes is read here.
    pub output: OwnedFd,
}

fn failed(error: impl std::fmt::Display) -> SupervisorError {
    SupervisorError::McpFirewall(error.to_string())
}

impl FirewallProcess {
    /// Starts it between the client at `client`, what it writes and what it reads, and
    /// `server`; and waits until it is sealed.
    pub fn serve(
        settings: &FirewallSettings,
        client: (BorrowedFd<'_>, BorrowedFd<'_>),
        server: &ServerEnds,
    ) -> Result<Self, SupervisorError> {
        Self::start(SERVE, settings, client, server)
    }

    /// Has it ask the server in `boxed` for everything that it offers.
    pub fn list(boxed: &mut Boxed, errors: &OwnedFd) -> Result<Listed, SupervisorError> {
        let settings = FirewallSettings::default();
        let found = rustix::fs::memfd_create("mcp-list", rustix::fs::MemfdFlags::CLOEXEC);
        let found = found.map_err(failed)?;
        let ends = boxed.start(errors)?;
        let mut process = Self::start(LIST, &settings, (found.as_fd(), found.as_fd()), &ends)?;
        drop(ends);
        let mut said = String::new();
        loop {
            match process.hear()? {
                Some(Told::Listed) => {
                    let mut found = File::from(found);
                    found.rewind().map_err(failed)?;
                    return serde_json::from_reader(io::BufReader::new(found)).map_err(failed);
                }
                Some(Told::StartAgain) => process.start_again(&boxed.start(errors)?)?,
                Some(Told::Seen(all)) => {
                    let why = all.into_iter().rev().find_map(|seen| match seen {
                        Seen::Dropped { why, .. } => Some(why),
                        _ => None,
                    });
                    said = why.unwrap_or(said);
                }
                Some(Told::Sealed) => {}
                None => {
                    if let Some(error) = boxed.failure() {
                        said = format!("it cannot be started inside: {error}");
                    } else if said.is_empty() {
                        "it ended without a word".clone_into(&mut said);
                    }
                    return Err(SupervisorError::McpServer(said));
                }
            }
        }
    }

    fn start(
        task: &[u8],
        settings: &FirewallSettings,
        client: (BorrowedFd<'_>, BorrowedFd<'_>),
        server: &ServerEnds,
    ) -> Result<Self, SupervisorError> {
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let child = part::spawn(
            Part::McpFirewall,
            Path::new(""),
            theirs.into_descriptor(),
            Stdio::null(),
            Path::new("/dev/null"),
        );
        let mut process = Self {
            child: child.map_err(failed)?,
            channel,
        };
        let settings = in_memory(settings).map_err(failed)?;
        let (from_client, to_client) = client;
        let ends = [
            settings.as_fd(),
            from_client.as_fd(),
            to_client.as_fd(),
            server.input.as_fd(),
            server.output.as_fd(),
        ];
        process.channel.send(task, &ends).map_err(failed)?;
        match process.hear()? {
            Some(Told::Sealed) => Ok(process),
            _ => Err(failed("it did not start; see `stockade doctor`")),
        }
    }

    /// What it tells next; nothing once it has ended.
    pub fn hear(&mut self) -> Result<Option<Told>, SupervisorError> {
        let received = self.channel.receive(TOLD_MAX).map_err(failed)?;
        let told = received.map(|message| serde_json::from_slice(&message.bytes));
        told.transpose().map_err(failed)
    }

    /// Gives it another server, after [`Told::StartAgain`].
    pub fn start_again(&self, server: &ServerEnds) -> Result<(), SupervisorError> {
        let ends = [server.input.as_fd(), server.output.as_fd()];
        self.channel.send(b"again", &ends).map_err(failed)
    }
}

impl Drop for FirewallProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings in a file that exists in memory alone: they may be longer than a message.
fn in_memory(settings: &FirewallSettings) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("mcp-settings", rustix::fs::MemfdFlags::CLOEXEC)?;
    let text = serde_json::to_vec(settings)?;
    let mut file = File::from(file);
    io::Write::write_all(&mut file, &text)?;
    file.rewind()?;
    Ok(file.into())
}
