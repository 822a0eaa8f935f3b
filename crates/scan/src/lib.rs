//! Finds what must not leave a task, in bytes that nobody trusts.
//!
//! - [`KnownValues`]: values that are known, in every form in which somebody
//!   might write them; [`Redactor`] takes them out of a stream.
//! - [`Formats`]: keys that are known by how their issuers write them, also in
//!   base64 and hexadecimal; [`FormatStream`] looks for them in a stream.
//! - [`Scanner`]: both, line by line, for a text that somebody takes over.
//! - [`TextCleaner`]: both, taken out of a whole text that is kept.
//! - [`SourceIndex`]: pieces of a repository's own files, told by fingerprints.
//!
//! All of it is a net and not a wall: who encrypts first passes. Nothing here
//! does I/O, every stream holds a bounded part of what it was given, and where
//! a stream is cut never matters.

mod clean;
mod decode;
mod formats;
mod forms;
mod known;
mod redact;
mod scanner;
mod sources;

pub use aho_corasick::BuildError;

pub use self::{
    clean::{Cleaned, TextCleaner},
    formats::{FormatFinding, FormatStream, Formats},
    known::{KnownValues, is_distinctive},
    redact::{RedactedStream, Redactor},
    scanner::{Finding, Scanner},
    sources::{INDEX_BYTES_MAX, SourceIndex, SourceIndexBuilder, SourceStream},
};
