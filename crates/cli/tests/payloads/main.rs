//! What an agent leaves for git, editors and shells on the host, and every verb
//! of Stockade run on it.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[path = "../host/mod.rs"]
mod host;

mod all;
mod table;
mod verbs;
