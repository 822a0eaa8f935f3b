//! What the gateway knows of each model API: where usage stands in replies,
//! and which parts of a request make the provider reach the network.

mod call;
mod inspect;
mod strict_json;
mod usage;

pub(crate) use self::{call::read, inspect::inspect, strict_json::StrictJson, usage::UsageMeter};
