//! The caller's terminal: raw while a command inside has it, restored after.

mod filter;
mod hidden;
mod person;

use std::os::fd::BorrowedFd;

use rustix::termios::{OptionalActions, Termios, Winsize};

pub(crate) use self::{
    filter::Filter,
    hidden::{ask_hidden, is_there},
    person::Person,
};

/// Raw mode, until dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes standard input raw, if it is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ =
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the caller's terminal: rows, columns.
pub(crate) fn size() -> Option<(u16, u16)> {
    let Winsize { ws_row, ws_col, .. } =
        rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (ws_row > 0 && ws_col > 0).then_some((ws_row, ws_col))
}

/// Whether a person sits at both ends.
pub(crate) fn is_interactive() -> bool {
    let terminal = |descriptor: BorrowedFd<'_>| rustix::termios::isatty(descriptor);
    terminal(rustix::stdio::stdin()) && terminal(rustix::stdio::stdout())
}
