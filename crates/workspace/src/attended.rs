//! Waiting for a program of the user's that may ask a person at the terminal.

use std::{
    io,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Waits for `child`, which stays in the caller's process group: it may ask for
/// a passphrase. One that takes longer than `longest` is ended; that is `None`.
pub(crate) fn wait(mut child: Child, longest: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + longest;
    let in_time = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|ended| {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).ok();
                match poll(&mut [PollFd::new(&ended, PollFlags::IN)], left.as_ref()) {
                    Err(rustix::io::Errno::INTR) => {}
                    result => return Ok(result? > 0),
                }
            }
        });
    if !matches!(in_time, Ok(true)) {
        // It has ended already if this fails.
        let _ = child.kill();
    }
    let status = child.wait();
    if in_time? { status.map(Some) } else { Ok(None) }
}
