//! The record of a task: a transparency log, written by a process that does
//! nothing else.
//!
//! Records are the leaves of an RFC 6962 Merkle tree, kept in C2SP's
//! `tlog-tiles` layout. The recorder signs the tree's root now and then as a
//! C2SP checkpoint, and notes each checkpoint in the host log, which is such a
//! log too. What that proves, and what it does not:
//! - [`verify`] finds offline, from a copy, whatever was edited, removed,
//!   inserted, moved or cut off before the last checkpoint that is known, and
//!   names the first record concerned.
//! - Whoever has the key can sign another history. It fits neither the host log
//!   nor any [`TreeHead`] that was kept elsewhere.
//!
//! This room knows nothing of what events mean, and of secrets only by whom it
//! asks ([`Redact`]): nothing is sent to a recorder before that. What is recorded
//! is hashed, and cannot be unsaid.

mod chain;
mod client;
mod error;
mod evidence;
mod export;
mod files;
mod frame;
mod hash;
mod host;
mod layout;
mod log;
mod merkle;
mod note;
mod proof;
mod read;
mod record;
mod recorder;
mod redact;
mod search;
mod store;
mod tiles;
mod verify;

pub use self::{
    client::{Pending, RecordError, RecorderClient},
    error::LogError,
    evidence::{Evidence, key, verify_host},
    export::{Export, Exporter},
    frame::Refusal,
    hash::{Hash, HashError},
    host::{Binding, Fingerprints, Host, bindings, host_log},
    log::Log,
    merkle::TreeHead,
    note::{Checkpoint, NoteError, Signer, VerifierKey},
    proof::{ProofError, Proved, check_proof, prove},
    read::{ReadError, Records, read},
    record::{Appended, MAX_EVENT_BYTES, Record, RecordKind, Upkeep},
    recorder::{Place, RecorderError, run_recorder},
    redact::{Redact, Redaction},
    search::Search,
    verify::{Fault, Verified, VerifyError, checkpoint, verify},
};
