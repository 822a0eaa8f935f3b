//! Where the owner of a command hears of its end.

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use stockade_sandbox::FreshSandbox;

use super::gate::{End, Slot, awake};

/// See the module's documentation.
pub(super) enum Ending<'a> {
    /// The supervisor's loop, which hears process 1 of the task's sandbox.
    Told { slot: Arc<Slot>, wake: &'a OwnedFd },
    /// Process 1 of the sandbox that is the command's own.
    Own {
        sandbox: &'a FreshSandbox,
        end: Cell<Option<End>>,
    },
}

impl<'a> Ending<'a> {
    pub(super) fn own(sandbox: &'a FreshSandbox) -> Self {
        let end = Cell::default();
        Self::Own { sandbox, end }
    }

    /// Readable when there is something to [`hear`](Self::hear).
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Told { wake, .. } => wake.as_fd(),
            Self::Own { sandbox, .. } => sandbox.init().as_fd(),
        }
    }

    /// Takes what made the descriptor readable.
    pub(super) fn hear(&self) {
        match self {
            Self::Told { wake, .. } => awake(wake),
            Self::Own { sandbox, end } => {
                let reply = sandbox.init().receive().ok().flatten();
                let heard = match reply {
                    Some(reply) => End::told(&reply).map(|(_, end)| end),
                    None => Some(End::SandboxGone),
                };
                end.set(end.take().or(heard));
            }
        }
    }

    /// How the command ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        match self {
            Self::Told { slot, .. } => slot.end(),
            Self::Own { end, .. } => end.get(),
        }
    }

    /// Whether what the command left behind ends with it.
    pub(super) fn ends_all(&self) -> bool {
        matches!(self, Self::Own { .. })
    }
}
