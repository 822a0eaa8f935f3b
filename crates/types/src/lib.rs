//! The shared vocabulary of Stockade: identifiers, events, denials, the
//! environment variables it reads or sets, and the messages that cross the
//! sandbox boundary. Nothing here performs I/O.

pub mod hook;
pub mod mcp;
pub mod wire;

#[cfg(feature = "std-vocabulary")]
mod canonical_json;
#[cfg(feature = "std-vocabulary")]
mod denial;
#[cfg(feature = "std-vocabulary")]
mod effect;
#[cfg(feature = "std-vocabulary")]
pub mod env;
#[cfg(feature = "std-vocabulary")]
mod event;
#[cfg(feature = "std-vocabulary")]
mod host;
#[cfg(feature = "std-vocabulary")]
mod money;
#[cfg(feature = "std-vocabulary")]
mod redacted;
#[cfg(feature = "std-vocabulary")]
mod strict_json;
#[cfg(feature = "std-vocabulary")]
mod task;
#[cfg(feature = "std-vocabulary")]
mod usage;
#[cfg(feature = "std-vocabulary")]
pub mod visible;
#[cfg(feature = "std-vocabulary")]
mod word;

#[cfg(feature = "std-vocabulary")]
pub use self::{
    canonical_json::{canonical_json, write_canonical_json},
    denial::Denial,
    effect::{Confidence, Effect, EffectKind, FileClass, Mark, Reversible, Scope, Verdict},
    event::{Event, EventKind},
    host::{HostName, HostNameError},
    money::{Money, MoneyError},
    redacted::Redacted,
    strict_json::StrictJson,
    task::{TaskId, TaskIdError},
    usage::Usage,
    word::UnknownWord,
};
