//! What the gateway knows of each model API: where usage stands in replies,
//! and which parts of a request make the provider reach the network.

mod asked;
mod call;
mod inspect;
mod usage;

use serde_json::Value;

pub(crate) use self::{call::read, inspect::inspect, usage::UsageMeter};

/// The items of the list `key` of `value`; none if it is no list.
fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
