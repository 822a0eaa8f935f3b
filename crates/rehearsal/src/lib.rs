//! Rehearsal: the whole of Stockade without a model, a key or a network.
//!
//! - [`server`] answers as the Anthropic, OpenAI and Gemini APIs do and plays
//!   a [`script`], so that a real agent does chosen things, the same each time.
//! - [`agent`] is a small agent of our own, for machines that have none.
//! - [`demo_repository`] makes a repository with a bug and planted decoys.
//! - [`scripts`] holds the two built-in plays: an honest fix, and a hostile
//!   run that tries everything that must not work; [`trap`] plants what the
//!   hostile run looks for, and tells afterwards what it reached.
//!
//! Nothing here judges an agent: it plays, and writes down what arrived.

pub mod agent;
pub mod demo_repository;
pub mod script;
pub mod scripts;
pub mod server;
pub mod transcript;
pub mod trap;

mod canary;
mod conversation;
mod player;
mod process;
mod tools;
mod wire;
