//! What must happen between fork and exec: a session with a controlling
//! terminal, and caps of the command's own.
//!
//! Running this executable once more in between keeps that free of unsafe
//! code; a command that needs neither is started without.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};
use stockade_types::wire::{Exec, ExecLimits};

/// The name under which the executable does this.
pub(crate) const NAME: &str = "stockade-prelude";
/// What a shell returns for a command that it cannot find.
const NOT_FOUND: u8 = 127;

/// Whether a command needs it.
pub(crate) fn is_needed(exec: &Exec) -> bool {
    exec.terminal || exec.limits != ExecLimits::NONE
}

/// The arguments that tell [`run`] what to do before the command's own words.
pub(crate) fn arguments(exec: &Exec) -> [String; 5] {
    let limits = &exec.limits;
    [
        u64::from(exec.terminal),
        limits.cpu_seconds,
        limits.address_bytes,
        limits.file_bytes,
        limits.open_files,
    ]
    .map(|number| number.to_string())
}

/// Becomes the command; returns only when that fails.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut number = || -> Option<u64> { words.next()?.to_str()?.parse().ok() };
    let numbers = [number(), number(), number(), number(), number()];
    let [
        Some(terminal),
        Some(cpu),
        Some(address),
        Some(file),
        Some(open),
    ] = numbers
    else {
        return ExitCode::from(NOT_FOUND);
    };
    let Some(program) = words.next() else {
        return ExitCode::from(NOT_FOUND);
    };
    let stdin = std::io::stdin();
    if terminal != 0 {
        let ready =
            rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(&stdin));
        if ready.is_err() {
            return ExitCode::from(NOT_FOUND);
        }
    }
    let caps = [
        // At the cap a signal tells that it is met, and a second later the
        // kernel ends whoever does not heed that.
        (Resource::Cpu, cpu, 1),
        (Resource::Fsize, file, 0),
        (Resource::Nofile, open, 0),
        // Last, since this process too may find no more room.
        (Resource::As, address, 0),
    ];
    if caps
        .into_iter()
        .any(|(what, most, more)| cap(what, most, more).is_err())
    {
        return ExitCode::from(NOT_FOUND);
    }
    let error = command(&program).args(words).exec();
    let _ = rustix::io::write(
        std::io::stderr(),
        format!("{}: {error}\r\n", program.to_string_lossy()).as_bytes(),
    );
    ExitCode::from(NOT_FOUND)
}

/// Lowers a cap, never raises it; `more` is how far the one that nobody passes
/// is above.
fn cap(what: Resource, most: u64, more: u64) -> Result<(), Errno> {
    if most == u64::MAX {
        return Ok(());
    }
    let now = rustix::process::getrlimit(what).maximum;
    let least = |wanted: u64| Some(now.map_or(wanted, |now| now.min(wanted)));
    let new = Rlimit {
        current: least(most),
        maximum: least(most.saturating_add(more)),
    };
    setrlimit(what, new)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program that the supervisor asked for"
)]
fn command(program: &OsStr) -> Command {
    Command::new(program)
}
