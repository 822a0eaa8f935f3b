//! What a client is told to do, and what it tells afterwards.
//!
//! The same program does it inside a task, under the name of an agent, and on the
//! host, through a peer or straight to the origin.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The name under which a task has the client.
pub(crate) const AGENT: &str = "claude";
/// What the origin answers at: the moment is noted.
pub(crate) const MARK: &str = "/mark";
/// Where the origin has a large file.
pub(crate) const LARGE: &str = "/large";
/// How large it is.
pub(crate) const LARGE_BYTES: u64 = 100_000_000;
/// Where the origin answers as a model does.
pub(crate) const MODEL: &str = "/v1/messages";
/// The name by which an origin's own clients know it.
pub(crate) const ORIGIN: &str = "localhost";

/// What a client is told, as JSON in its first argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The host that is asked.
    pub(crate) host: String,
    /// How it is reached.
    pub(crate) way: Way,
    /// Whose certificates are believed; by its environment without it.
    pub(crate) trust: Option<PathBuf>,
    /// What is done.
    pub(crate) work: Work,
}

/// How a client reaches a host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Way {
    /// By its name, as programs do.
    Named,
    /// Here, whatever the name says.
    At(SocketAddr),
    /// Through a proxy that is told name and port.
    Proxy(SocketAddr, u16),
}

/// What a client does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Asks over kept connections, with a mark before and after each batch.
    KeptAlive {
        connections: u32,
        batches: u32,
        requests: u32,
    },
    /// Asks each of these hosts once, over a connection of its own, with a mark
    /// before and after each batch.
    NewHosts { hosts: Vec<String>, batch: u32 },
    /// Fetches the large file, between two marks.
    Download,
    /// Has a model stream so many events.
    Events { count: u32 },
    /// Asks a model from so many connections at once.
    Spend { requests: u32 },
}

/// What a client tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// How long each event was under way, in microseconds.
    pub(crate) delays: Vec<u32>,
    /// Requests that were answered with success,
    pub(crate) passed: u32,
    /// and with anything else.
    pub(crate) refused: u32,
    /// How long all of it took, in microseconds.
    pub(crate) micros: u64,
}
