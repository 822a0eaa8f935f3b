//! What MCP clients and servers may say to each other.
//!
//! - [`Firewall`] stands between one client and one server, in both eras of the
//!   protocol, and shows of the server what a person approved.
//! - [`Lock`] is the file that says what that is; [`drift`] tells what has changed since.
//! - [`scan`] finds what definitions and results should not say.
//!
//! Nothing here does I/O but for the lock's own files: bytes of messages go in, messages
//! come out. A rule that reads texts is a net; the wall is the sandbox of the server.

mod arguments;
mod catalogue;
mod drift;
mod firewall;
mod frame;
mod item;
mod json;
mod launch;
mod lock;
mod message;
mod package;
mod result;
pub mod scan;
mod version;

pub use self::{
    arguments::{ArgumentCheck, Refusal},
    catalogue::{Catalogue, ItemName, Offer, Pins, Reason, Tool, Withheld},
    drift::{Change, Drift, Grade, drift},
    firewall::{Firewall, Seen, Step},
    frame::{Lines, MESSAGE_MAX, TooLong},
    item::{Inexact, Item, ItemDigest, ItemKind, title},
    json::{JsonError, parse},
    launch::{Launch, remote},
    lock::{Entry, LOCK_FILE, Lock, LockError, PinnedItem, body, keep_resolution, resolution},
    message::{Id, Message, MessageError, Outcome, RpcError},
    package::{Asked, DOCUMENT_MAX, Package, PackageError, Registry, Resolution, ResolutionError},
    result::{ResultRules, TEXT_MAX, Treated},
    version::{Era, LEGACY, MODERN},
};
