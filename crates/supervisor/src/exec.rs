//! Commands inside.
//!
//! The task's main command and those with a terminal are *kept*: they go on
//! without viewers, of which there may be several ([`kept`]). Every other
//! command belongs to the one client that asked for it ([`owned`]), and may have
//! a sandbox of its own ([`fresh`]).

mod clean;
mod ending;
mod fresh;
mod gate;
mod kept;
mod owned;
mod piece;
mod refusals;
mod request;
mod result;
mod summary;
mod text;

use std::time::Duration;

use stockade_types::wire::ExitStatus;

pub(crate) use self::{
    fresh::FreshPool,
    gate::Gate,
    kept::{Command, Execs},
    owned::{Context, Owned},
    refusals::Refusals,
};
pub use self::{
    piece::Piece,
    request::{
        ExecError, ExecLimits, ExecRequest, Fault, Report, SessionRequest, SessionText, Stdin,
    },
    result::{DenialSeen, ExecEnd, ExecResult, ExecText},
};

/// How long the output of a command that ended is still awaited: a process it
/// left behind may hold the other end for ever.
const GRACE: Duration = Duration::from_millis(200);

/// How much of it can be on its way when the command ends, in bytes: the
/// largest pipe. What comes after is from a process that it left behind.
const REST_MAX: u64 = 1 << 20;

/// An exit as shells count: the code, or 128 and the signal.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
    }
}
