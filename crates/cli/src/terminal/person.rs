//! A person at a terminal that nobody else writes to.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{
        InputModes, LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr,
        tcgetpgrp, tcsetattr,
    },
};

/// How long nothing may be typed before a question is shown: whoever was typing
/// has seen that there is something else now.
const QUIET: Duration = Duration::from_millis(700);
/// How long that is waited for.
const RESTLESS: Duration = Duration::from_secs(30);
/// Longer lines are no answer.
const LINE_MAX: u64 = 1024;
/// Whatever was printed here before has left nothing that changes how text
/// looks: soft reset (DECSTR), usual letters, a clear screen.
const IN_ORDER: &str = "\u{1b}[!p\u{1b}[0m\u{1b}(B\u{f}\u{1b}[2J\u{1b}[H";

/// The caller's own terminal, with the caller in front of it.
#[derive(Debug)]
pub(crate) struct Person {
    terminal: File,
    before: Termios,
}

impl Person {
    /// The person at the controlling terminal, if there is one and this command
    /// is in its foreground.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let Ok(terminal) = super::hidden::open() else {
            return Ok(None);
        };
        if tcgetpgrp(&terminal)? != rustix::process::getpgrp() {
            return Ok(None);
        }
        let before = tcgetattr(&terminal)?;
        Ok(Some(Self { terminal, before }))
    }

    /// Shows `text` and `question` once nothing is being typed, and reads a line.
    /// What was typed before is no part of it.
    pub(crate) fn ask(&self, text: &str, question: &str) -> io::Result<String> {
        let mut terminal = &self.terminal;
        terminal.write_all(format!("{IN_ORDER}{text}\n").as_bytes())?;
        self.wait_for_quiet()?;
        let mut line = self.before.clone();
        line.local_modes |= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        line.input_modes |= InputModes::ICRNL;
        tcsetattr(&self.terminal, OptionalActions::Flush, &line)?;
        terminal.write_all(question.as_bytes())?;
        let mut typed = String::new();
        BufReader::new(terminal.take(LINE_MAX)).read_line(&mut typed)?;
        Ok(typed)
    }

    fn wait_for_quiet(&self) -> io::Result<()> {
        let mut keys = self.before.clone();
        // Each key is seen at once, and shown nowhere.
        keys.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        tcsetattr(&self.terminal, OptionalActions::Flush, &keys)?;
        let begin = Instant::now();
        let quiet = Timespec::try_from(QUIET).map_err(io::Error::other)?;
        while begin.elapsed() < RESTLESS {
            let mut polled = [PollFd::new(&self.terminal, PollFlags::IN)];
            if poll(&mut polled, Some(&quiet))? == 0 {
                return Ok(());
            }
            if polled[0].revents().contains(PollFlags::HUP) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            tcflush(&self.terminal, QueueSelector::IFlush)?;
        }
        Err(io::Error::other(
            "something types at this terminal without a pause",
        ))
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
