//! The behaviour of the crate, seen from outside, with every git installed.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]
#![expect(clippy::panic, reason = "an unexpected answer fails the test")]

mod base;
mod bombs;
mod hydrate;
mod import;
mod merge;
mod payloads;
mod review;
mod snapshots;
mod support;
mod trash;
