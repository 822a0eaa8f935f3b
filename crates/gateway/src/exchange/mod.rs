//! One request, from its head to the end of its reply.

mod gatekeeper;
mod outcome;

pub(crate) use self::gatekeeper::Gatekeeper;
