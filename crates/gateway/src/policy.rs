use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};

/// A request that the rules for hosts, or for models, let pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The host, a name or an address.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path, as it would be sent.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// Whether it goes to the task's own model, by the ways that are known.
    pub of_model: bool,
}

/// What the task's policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyAnswer {
    /// It may leave.
    Allow,
    /// It may leave once a person has approved it.
    Ask(PolicyRule),
    /// It may not leave.
    Deny(PolicyRule),
}

/// A rule of the task's policy that applies to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Its name.
    pub rule: String,
    /// Why it is there, in a sentence.
    pub reason: String,
    /// What to do instead.
    pub instead: Option<String>,
}

impl PolicyAnswer {
    /// Nobody said what the policy says.
    pub fn none() -> Self {
        Self::Deny(PolicyRule {
            rule: "policy.error".to_owned(),
            reason: "the supervisor did not say what the policy says of it.".to_owned(),
            instead: None,
        })
    }
}

/// What a policy's methods give.
pub type Judged<'a> = Pin<Box<dyn Future<Output = PolicyAnswer> + Send + 'a>>;

/// Who knows the task's policy. Every request is judged by it before it leaves.
pub trait Policy: Send + Sync {
    /// What it says of a request.
    fn judge(&self, outgoing: Outgoing) -> Judged<'_>;
}
