//! Commands that go on whoever watches: the main one, and those that a
//! person has at a terminal.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::pipe::{PipeFlags, pipe_with};
use stockade_sandbox::Sandbox;
use stockade_types::wire::{Exec, ExecLimits, Request};

use super::{GRACE, REST_MAX};
use crate::{caps::CapMet, control::Watch, output::Output};

/// How long the rest of what was printed may take, once nobody prints any more.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// What a command gets and where its output goes.
pub(crate) struct Command<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) env: &'a [(String, String)],
    pub(crate) cwd: &'a str,
    pub(crate) terminal: bool,
    /// Where its output is kept; not at all without one.
    pub(crate) log: Option<&'a Path>,
    /// Whether anyone will type; it reads the end of input at once otherwise.
    pub(crate) input: bool,
}

/// The commands that run, and those that ended and are still watched.
#[derive(Default)]
pub(crate) struct Execs {
    numbers: Arc<AtomicU32>,
    known: HashMap<u32, Running>,
}

struct Running {
    output: Output,
    input: Option<File>,
    turn: Weak<()>,
    terminal: bool,
    exit: Option<i32>,
    waiting: Vec<Sender<i32>>,
    pump: Option<JoinHandle<()>>,
}

impl Execs {
    /// None yet; others take numbers from the same count.
    pub(crate) fn new(numbers: Arc<AtomicU32>) -> Self {
        Self {
            numbers,
            known: HashMap::new(),
        }
    }

    /// Starts a command in `sandbox`; returns its id.
    pub(crate) fn start(&mut self, sandbox: &Sandbox, command: &Command<'_>) -> io::Result<u32> {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let output = match command.log {
            Some(log) => Output::logged(log)?,
            None => Output::shown(),
        };
        let (inside, input, source) = descriptors(sandbox, command)?;
        let exec = Exec {
            id,
            terminal: command.terminal,
            tree: false,
            limits: ExecLimits::NONE,
            cwd: command.cwd.as_bytes().to_vec(),
            argv: command
                .argv
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            env: command
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}").into_bytes())
                .collect(),
        };
        let [stdin, stdout, stderr] = &inside;
        sandbox.init().send(
            &Request::Exec(exec),
            &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        )?;
        drop(inside);
        let pump = {
            let output = output.clone();
            std::thread::spawn(move || output.pump(source))
        };
        let running = Running {
            output,
            input,
            turn: Weak::new(),
            terminal: command.terminal,
            exit: None,
            waiting: Vec::new(),
            pump: Some(pump),
        };
        self.known.insert(id, running);
        Ok(id)
    }

    /// When command `id` last printed something.
    pub(crate) fn last_printed(&self, id: u32) -> Option<Instant> {
        self.known.get(&id)?.output.last_printed()
    }

    /// Notes that a command ended. Its watchers hear of it once they have
    /// seen its output.
    pub(crate) fn ended(&mut self, id: u32, exit: i32) {
        let Some(running) = self.known.get_mut(&id) else {
            return;
        };
        running.exit = Some(exit);
        running.input = None;
        for waiting in running.waiting.drain(..) {
            let _ = waiting.send(exit);
        }
        let output = running.output.clone();
        let pump = running.pump.take();
        std::thread::spawn(move || {
            let mut deadline = Instant::now() + GRACE;
            let most = output.end() + REST_MAX;
            while pump.as_ref().is_some_and(|pump| !pump.is_finished()) && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(5));
                if output.waits() && output.end() < most {
                    deadline = Instant::now() + GRACE;
                }
            }
            output.finish();
        });
    }

    /// Waits until all output of an ended command is in its log.
    pub(crate) fn settle(&mut self, id: u32, exit: i32) {
        let pump = self
            .known
            .get_mut(&id)
            .and_then(|running| running.pump.take());
        if let Some(pump) = pump {
            let deadline = Instant::now() + GRACE;
            while !pump.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.ended(id, exit);
    }

    /// Waits until all that command `id` has printed is in its log; everything
    /// inside is gone, but on a busy machine whoever reads may be behind.
    pub(crate) fn drain(&self, id: u32) {
        if let Some(running) = self.known.get(&id) {
            running.output.drain(LONGEST_DRAIN);
        }
    }

    /// That command `id` printed more than is kept, if it did.
    pub(crate) fn cap_met(&self, id: u32) -> Option<CapMet> {
        self.known.get(&id)?.output.cap_met()
    }

    /// A way to watch command `id`, typing too if `write` and nobody does.
    pub(crate) fn watch(&mut self, id: u32, write: bool, whole: bool) -> Option<Watch> {
        let running = self.known.get_mut(&id)?;
        let (sender, exit) = channel();
        match running.exit {
            Some(exit) => {
                let _ = sender.send(exit);
            }
            None => running.waiting.push(sender),
        }
        let free = write && running.turn.strong_count() == 0;
        let turn = free.then(|| Arc::new(()));
        running.turn = turn
            .as_ref()
            .map_or_else(|| running.turn.clone(), Arc::downgrade);
        let input = if free {
            running
                .input
                .as_ref()
                .and_then(|input| input.try_clone().ok())
        } else {
            None
        };
        if !running.terminal && free {
            // Standard input has one owner; its end is the end of input.
            running.input = None;
        }
        Some(Watch {
            output: running.output.watch(whole),
            exit,
            input,
            turn,
            terminal: running.terminal,
        })
    }
}

type Descriptors = ([OwnedFd; 3], Option<File>, File);

/// The three descriptors for inside, the one to type on, the one to read.
fn descriptors(sandbox: &Sandbox, command: &Command<'_>) -> io::Result<Descriptors> {
    if command.terminal {
        let (outer, inner) = sandbox.open_terminal()?;
        let size = rustix::termios::Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&outer, size)?;
        let outer = File::from(outer);
        return Ok((
            [inner.try_clone()?, inner.try_clone()?, inner],
            Some(outer.try_clone()?),
            outer,
        ));
    }
    let (stdin, typed) = pipe_with(PipeFlags::CLOEXEC)?;
    let (read, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let input = command.input.then(|| File::from(typed));
    Ok((
        [stdin, stdout.try_clone()?, stdout],
        input,
        File::from(read),
    ))
}
