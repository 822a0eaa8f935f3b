//! Questions to a person: an action that policy neither allows nor denies is
//! asked about, and happens only after somebody who is not the agent approved
//! exactly it.
//!
//! - An [`Action`] has one [`ActionDigest`]; a [`Question`] is an action with
//!   what a person should see beside it.
//! - Who answers signs a [`Statement`]: which question, which action, which
//!   scope, until when, and the state of the record at that moment. Signatures
//!   have the form of `ssh-keygen -Y sign`, whoever makes them, so that anybody
//!   can check one without Stockade.
//! - A [`Queue`] holds the questions of one task. It decides, and knows neither
//!   clocks nor files: its owner, the task's supervisor, tells it the time and
//!   records what it did.
//!
//! Nothing here is reachable from inside a sandbox, and nothing prints.

mod action;
mod answer;
mod approvers;
mod ask;
mod deadline;
mod error;
mod local;
mod queue;
mod scope;
mod ssh;
mod statement;

pub use self::{
    action::{Action, ActionDigest, Departure, Input},
    answer::{Authority, Signed, Verified},
    approvers::{Approver, Approvers},
    ask::{Ask, AskId, AskIdError, Asked, Because, Outcome, Question},
    deadline::Moment,
    error::{AnswerError, ApproverError, SshError},
    local::LocalKey,
    queue::{Accepted, Expired, Looked, Queue, Rules, Waiting},
    scope::Scope,
    ssh::PublicKey,
    statement::{Decision, NAMESPACE, Statement},
};
