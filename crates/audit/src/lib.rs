//! The record of a task: one JSON object a line, each carrying the SHA-256 of
//! the line before it, written by a process that does nothing else.
//!
//! What the chain proves, and what it does not:
//! - [`verify`] finds any record that was edited, removed, inserted or moved
//!   *before* the last one, offline and from a copy.
//! - The last record, and a cut at a record's end, can only be judged by
//!   somebody who kept a [`Appended`] receipt from elsewhere; give it to
//!   [`verify_against`].
//!
//! This room knows nothing of what events mean. Secrets must be gone before
//! an event arrives here: what is recorded is hashed, and cannot be unsaid.

mod client;
mod frame;
mod log;
mod record;
mod recorder;
mod verify;

pub use self::{
    client::{RecordError, RecorderClient},
    frame::Refusal,
    log::{Log, LogError},
    record::{Appended, Hash, HashError, MAX_EVENT_BYTES, Record, RecordKind, Upkeep},
    recorder::{RecorderError, run_recorder},
    verify::{Fault, ReadError, Records, Verified, VerifyError, read, verify, verify_against},
};
