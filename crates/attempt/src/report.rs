//! Tells how each step ended, at once: an attempt may not live to the next.

use std::io::{self, Write};

use rustix::io::Errno;
use stockade_attempt::{End, Line};

use crate::raw::Ended;

/// Prints lines with one marker.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    marker: String,
}

impl Report {
    pub(crate) fn new(marker: String) -> Self {
        Self { marker }
    }

    /// Tells how a step ended.
    pub(crate) fn tell(&self, step: impl Into<String>, end: End) {
        let line = Line {
            marker: self.marker.clone(),
            step: step.into(),
            end,
        };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        let mut stdout = io::stdout().lock();
        // Whoever closed it wants to hear no more.
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
    }

    /// Tells of something that either works or is refused.
    pub(crate) fn tried<T>(&self, step: impl Into<String>, result: io::Result<T>) {
        self.tell(step, end(result.map(|_| End::Worked)));
    }

    /// Tells of something that shows a text or is refused.
    pub(crate) fn seen(&self, step: impl Into<String>, result: io::Result<String>) {
        self.tell(step, end(result.map(End::Saw)));
    }

    /// Tells how a process that tried something ended.
    pub(crate) fn ended(&self, step: impl Into<String>, ended: io::Result<Ended>) {
        let end = match ended {
            Ok(Ended::Code(0)) => End::Worked,
            Ok(Ended::Code(number)) => End::Refused(i32::from(number)),
            Ok(Ended::Signal(signal)) => End::Killed(signal),
            Err(error) => End::Unable(format!("no process could be made: {error}")),
        };
        self.tell(step, end);
    }
}

/// A result as the end of a step.
pub(crate) fn end(result: io::Result<End>) -> End {
    match result {
        Ok(end) => end,
        Err(error) => match error.raw_os_error() {
            Some(number) => End::Refused(number),
            // Timers of the standard library have no number.
            None if error.kind() == io::ErrorKind::TimedOut => {
                End::Refused(Errno::TIMEDOUT.raw_os_error())
            }
            None => End::Unable(error.to_string()),
        },
    }
}
