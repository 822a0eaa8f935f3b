//! Starts a command as the leader of a session with a controlling terminal.
//!
//! `setsid` and `TIOCSCTTY` must happen between fork and exec. Running this
//! executable once more in between keeps that free of unsafe code.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

/// The name under which the executable does this.
pub(crate) const NAME: &str = "stockade-session";
/// What a shell returns for a command that it cannot find.
const NOT_FOUND: u8 = 127;

/// Becomes the command in `words`; returns only when that fails.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = words.next() else {
        return ExitCode::from(NOT_FOUND);
    };
    let stdin = std::io::stdin();
    let ready = rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(&stdin));
    if ready.is_err() {
        return ExitCode::from(NOT_FOUND);
    }
    let error = command(&program).args(words).exec();
    let _ = rustix::io::write(
        std::io::stderr(),
        format!("{}: {error}\r\n", program.to_string_lossy()).as_bytes(),
    );
    ExitCode::from(NOT_FOUND)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program that the supervisor asked for"
)]
fn command(program: &OsStr) -> Command {
    Command::new(program)
}
