//! Which hosts a task may reach, and how: rules that people write, the set of
//! them that is in force, and the judgement of one request.

mod host;
mod information;
mod live;
mod looks;
mod part;
mod path;
mod rule;
mod text;

pub use self::{
    host::HostPattern,
    live::{LiveRules, RulesFull},
    looks::Looks,
    part::RuleError,
    path::RulePath,
    rule::{Carries, Destination, HostRule},
};
pub(crate) use self::{
    information::bits,
    live::{Asked, Mismatch, RULES_MAX, Snapshot, Verdict},
};
