//! Sandboxes for programs: JSON over HTTP on a unix socket that only its owner
//! can reach.
//!
//! Everything here is a thin translation. A request becomes the call that the
//! command line makes too (`calls`), its answer becomes JSON; what a command
//! prints is cleaned and cut by the task's supervisor. A request that waits for
//! a command holds the connection to that supervisor, so that a client that
//! vanishes takes its command along.
//!
//! `http` holds the one list of what can be asked: requests are matched
//! by it, and the OpenAPI description is made from it and from the types.

mod calls;
mod http;
mod listener;
mod server;

use std::fmt;

use stockade_supervisor::{Host, Plan, StateDirectory, gateway::Keys};
use stockade_types::Redacted;

pub use self::{
    http::description,
    listener::{ListenError, Listener},
    server::{ServeError, serve},
};

/// Finds a key by its name.
pub type FindKey = dyn Fn(&str) -> Option<Redacted<String>> + Send + Sync;

/// Gets the secrets of a plan from where they are.
pub type UnlockSecrets = dyn Fn(&Host, &Plan, &mut Keys) -> Result<(), String> + Send + Sync;

/// What the server is given by whoever starts it.
pub struct Settings {
    /// Where tasks are kept.
    pub state: StateDirectory,
    /// What new tasks are prepared from, found anew for each.
    pub host: Box<dyn Fn() -> Result<Host, String> + Send + Sync>,
    /// Keys that tasks may need, by name; no client sends one.
    pub key: Box<FindKey>,
    /// How secrets that are bound for tasks are had; no client sends one.
    pub unlock: Box<UnlockSecrets>,
    /// How many commands may run at once, for all clients together.
    pub commands: usize,
    /// Whether the policies of tasks do not count for commands of this server.
    pub no_policy: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("state", &self.state)
            .field("commands", &self.commands)
            .finish_non_exhaustive()
    }
}
