//! The model server as clients see it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that fails fails its test"
)]

mod http_answers;
mod http_client;
mod wire_formats;
