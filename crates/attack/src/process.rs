//! The one place where this crate starts programs.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
};

use crate::target::Ran;

/// The most of a program's output that is kept, in bytes.
const OUTPUT_MAX: usize = 16 << 20;
/// How often is looked whether a program has ended.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

/// A program to run, with this environment and no other.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) words: &'a [OsString],
    pub(crate) folder: &'a Path,
    pub(crate) environment: &'a BTreeMap<OsString, OsString>,
    pub(crate) stdin: Stdio,
}

/// A command with nothing of the caller's.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that starts programs"
)]
fn command(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}

impl Program<'_> {
    fn command(self) -> io::Result<Command> {
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut command = command(program);
        command
            .args(arguments)
            .current_dir(self.folder)
            .envs(self.environment)
            .stdin(self.stdin);
        Ok(command)
    }

    /// Starts it and lets it run; it prints nowhere.
    pub(crate) fn start(self) -> io::Result<Child> {
        self.command()?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    /// Runs it to its end, or ends it after `limit`. What it left behind may
    /// still hold its output; that is not waited for.
    pub(crate) fn run(self, limit: Duration) -> io::Result<Ran> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&read, OFlags::NONBLOCK)?;
        let mut command = self.command()?;
        let mut child = command.stdout(write.try_clone()?).stderr(write).spawn()?;
        // The command holds the other end of the pipe.
        drop(command);
        let mut source = std::fs::File::from(read);
        let mut output = Vec::new();
        let deadline = Instant::now() + limit;
        let status = loop {
            let ended = child.try_wait()?;
            let open = drain(&mut source, &mut output)?;
            if let Some(status) = ended {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                break None;
            }
            if open {
                let _ = poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&TICK));
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        Ok(Ran {
            output,
            ended: status.map_or_else(
                || format!("it was ended after {} seconds", limit.as_secs()),
                describe,
            ),
        })
    }
}

/// Takes what is there to read; whether more may come.
fn drain(source: &mut impl Read, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                let room = OUTPUT_MAX.saturating_sub(output.len());
                output.extend(buffer.iter().take(length.min(room)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}
