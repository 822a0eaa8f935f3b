//! One request, from its head to the end of its reply.

mod asking;
mod expansion;
mod gatekeeper;
mod git;
mod intake;
mod model;
mod outcome;
mod ruled;
mod substitution;
mod wire;

pub(crate) use self::gatekeeper::{Court, Gatekeeper, Head};
