//! What logs promise, on real files, with real processes that die.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a step of a test that fails fails the test"
)]

mod fixture;
mod independent;
mod log;
mod recorder;
mod tampering;
