//! What moves while a command runs.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    io::Errno,
};
use stockade_gateway::Redactor;

use super::super::{
    GRACE, REST_MAX,
    clean::Cleaner,
    ending::Ending,
    result::ExecResult,
    text::{Log, Text},
};
use crate::control::{Answer, Lines, Typed, encode_line};

/// The most that is read at once.
const CHUNK: usize = 32 * 1024;
/// How much waits for a client before the command waits too.
const SENDING_MAX: usize = 256 * 1024;
/// How long a command that was ended may take to be gone. A process that
/// waits for a device cannot be ended before the device answers.
const LONGEST_END: Duration = Duration::from_secs(10);

/// Why Stockade ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Timeout,
    ClientGone,
}

/// What becomes of what is printed.
pub(super) enum Sink {
    Streamed,
    Discarded,
    Collected(Box<Collected>),
}

pub(super) struct Collected {
    texts: Vec<(Cleaner, Text)>,
    log: Log,
}

impl Sink {
    /// One text for each source.
    pub(super) fn collected(log: Log, keys: &Arc<Vec<Redactor>>, merged: bool) -> Self {
        let text = |_| (Cleaner::new(Arc::clone(keys)), Text::default());
        let texts = (0..if merged { 1 } else { 2 }).map(text).collect();
        Self::Collected(Box::new(Collected { texts, log }))
    }
}

impl Collected {
    fn push(&mut self, source: usize, bytes: &[u8]) {
        if let Some((cleaner, text)) = self.texts.get_mut(source) {
            let cleaned = cleaner.push(bytes);
            text.push(&cleaned);
            self.log.push(&cleaned, text.is_cut());
        }
    }

    fn finish(&mut self) {
        for (cleaner, text) in &mut self.texts {
            let rest = cleaner.finish();
            text.push(&rest);
            self.log.push(&rest, text.is_cut());
        }
    }
}

/// A command's standard input.
pub(super) struct Input {
    pipe: OwnedFd,
    waiting: Vec<u8>,
    /// Whether more may be typed.
    more: bool,
}

impl Input {
    pub(super) fn new(pipe: OwnedFd, waiting: Vec<u8>, more: bool) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self {
            pipe,
            waiting,
            more,
        })
    }

    /// Writes what fits; false once nothing more can or will come.
    fn write(&mut self) -> bool {
        match rustix::io::write(&self.pipe, &self.waiting) {
            Ok(length) => {
                self.waiting.drain(..length);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        self.more || !self.waiting.is_empty()
    }
}

/// All of it.
pub(super) struct Flow {
    input: Option<Input>,
    sources: Vec<Option<OwnedFd>>,
    sink: Sink,
    leashed: bool,
    sending: Vec<u8>,
    gone: bool,
    buffer: Vec<u8>,
}

/// What `poll` said, in the terms of a [`Flow`].
#[derive(Default)]
struct Ready {
    sources: [bool; 2],
    input: bool,
    unread: bool,
    told: bool,
    typed: bool,
    gone: bool,
    sends: bool,
}

impl Flow {
    pub(super) fn new(
        input: Option<Input>,
        sources: Vec<OwnedFd>,
        sink: Sink,
        leashed: bool,
    ) -> Self {
        Self {
            input,
            buffer: vec![0; if sources.is_empty() { 0 } else { CHUNK }],
            sources: sources.into_iter().map(Some).collect(),
            sink,
            leashed,
            sending: Vec::new(),
            gone: false,
        }
    }

    pub(super) fn client_is_gone(&self) -> bool {
        self.gone
    }

    /// Moves everything until the command has ended and its output is
    /// through. Says why it was ended, if it was.
    pub(super) fn run(
        &mut self,
        client: &mut Lines,
        ending: &Ending<'_>,
        deadline: Option<Instant>,
        kill: impl Fn(),
    ) -> Option<Cut> {
        let mut cut: Option<(Cut, Instant)> = None;
        let mut grace: Option<Instant> = None;
        let mut rest = 0;
        loop {
            let now = Instant::now();
            if cut.is_none() && deadline.is_some_and(|deadline| now >= deadline) {
                kill();
                cut = Some((Cut::Timeout, now));
            }
            if cut.is_none() && self.gone && self.leashed {
                kill();
                cut = Some((Cut::ClientGone, now));
            }
            if grace.is_none() && ending.end().is_some() {
                if ending.ends_all() {
                    kill();
                }
                self.input = None;
                grace = Some(now + GRACE);
            }
            let over = grace.is_some_and(|grace| now >= grace) || rest > REST_MAX;
            if over {
                self.sources.clear();
            }
            let open = self.sources.iter().any(Option::is_some);
            if grace.is_some() && !open && (self.sending.is_empty() || self.gone) {
                break;
            }
            if cut.is_some_and(|(_, since)| now >= since + LONGEST_END) {
                break;
            }
            // A command that has ended is past its deadline for good.
            let until = match (grace.filter(|_| open), cut) {
                (Some(grace), _) => Some(grace),
                (None, Some((_, since))) => Some(since + LONGEST_END),
                (None, None) => deadline.filter(|_| grace.is_none()),
            };
            let ready = self.wait(client, ending, until.map(|until| until - now.min(until)));
            let moved = self.act(client, ending, &ready);
            if grace.is_some() {
                rest += moved;
                if self.is_full() {
                    // A slow reader still gets what was printed.
                    grace = Some(Instant::now() + GRACE);
                }
            }
        }
        if let Sink::Collected(collected) = &mut self.sink {
            collected.finish();
        }
        cut.map(|(cut, _)| cut)
    }

    fn is_full(&self) -> bool {
        self.sending.len() >= SENDING_MAX
    }

    fn wait(&self, client: &Lines, ending: &Ending<'_>, time: Option<Duration>) -> Ready {
        let mut ready = Ready::default();
        let mut events = Vec::with_capacity(5);
        let ended = ending.descriptor();
        events.push(PollFd::new(&ended, PollFlags::IN));
        let mut wanted = PollFlags::RDHUP;
        if self.wants_typing() {
            wanted |= PollFlags::IN;
        }
        if !self.sending.is_empty() {
            wanted |= PollFlags::OUT;
        }
        if !self.gone {
            events.push(PollFd::new(client.stream(), wanted));
        }
        let full = self.is_full();
        let sources = self.sources.iter().flatten().filter(|_| !full);
        for source in sources {
            events.push(PollFd::new(source, PollFlags::IN));
        }
        if let Some(input) = &self.input {
            let wanted = if input.waiting.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            events.push(PollFd::new(&input.pipe, wanted));
        }
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        if poll(&mut events, time.as_ref()).is_err() {
            return ready;
        }
        let mut seen = events.iter().map(PollFd::revents);
        let mut next = || seen.next().unwrap_or(PollFlags::empty());
        ready.told = !next().is_empty();
        if !self.gone {
            let client = next();
            ready.typed = self.wants_typing() && client.contains(PollFlags::IN);
            ready.sends = client.contains(PollFlags::OUT);
            let hung = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
            ready.gone = client.intersects(hung) && !ready.typed;
        }
        for (flag, source) in ready.sources.iter_mut().zip(&self.sources) {
            *flag = source.is_some() && !full && !next().is_empty();
        }
        if self.input.is_some() {
            let input = next();
            ready.unread = input.contains(PollFlags::ERR);
            ready.input = !input.is_empty();
        }
        ready
    }

    /// Acts on what is ready; returns how much was printed.
    fn act(&mut self, client: &mut Lines, ending: &Ending<'_>, ready: &Ready) -> u64 {
        let mut printed = 0;
        for index in 0..self.sources.len() {
            if ready.sources.get(index) == Some(&true) {
                printed += self.read(index);
            }
        }
        if ready.told {
            ending.hear();
        }
        if ready.typed {
            self.gone |= client.receive().is_err();
        }
        if ready.gone {
            self.gone = true;
        }
        if ready.unread {
            self.input = None;
        }
        if ready.input && self.input.as_mut().is_some_and(|input| !input.write()) {
            self.input = None;
        }
        // After the writing: what has arrived already wakes nobody again.
        self.take_typed(client);
        if !self.sending.is_empty() && !self.gone {
            match client.send_some(&self.sending) {
                Ok(length) => {
                    self.sending.drain(..length);
                }
                Err(_) => self.gone = true,
            }
        }
        if self.gone && !matches!(self.sink, Sink::Collected(_)) {
            self.input = None;
            self.sending.clear();
            self.sink = Sink::Discarded;
        }
        printed
    }

    /// Reads once from a source; returns how much it was.
    fn read(&mut self, index: usize) -> u64 {
        let Some(Some(source)) = self.sources.get(index) else {
            return 0;
        };
        let length = match rustix::io::read(source.as_fd(), &mut self.buffer) {
            Err(Errno::INTR | Errno::AGAIN) => return 0,
            Ok(0) | Err(_) => {
                self.sources[index] = None;
                return 0;
            }
            Ok(length) => length,
        };
        let bytes = self.buffer.get(..length).unwrap_or_default();
        match &mut self.sink {
            Sink::Discarded => {}
            Sink::Collected(collected) => collected.push(index, bytes),
            Sink::Streamed => {
                let answer = Answer::Output {
                    bytes: STANDARD.encode(bytes),
                    error: index == 1,
                };
                self.sending
                    .extend(encode_line(&answer).unwrap_or_default());
            }
        }
        u64::try_from(length).unwrap_or(u64::MAX)
    }

    /// Whether the client's next words are waited for.
    fn wants_typing(&self) -> bool {
        let input = self.input.as_ref();
        input.is_some_and(|input| input.more && input.waiting.is_empty())
    }

    /// Takes the lines that the client has sent, as far as there is room.
    fn take_typed(&mut self, client: &mut Lines) {
        while self.wants_typing() {
            let Some(input) = &mut self.input else { return };
            let Some(line) = client.received() else {
                return;
            };
            match serde_json::from_slice(&line) {
                Ok(Typed::Input { bytes }) => match STANDARD.decode(bytes) {
                    Ok(bytes) => input.waiting = bytes,
                    Err(_) => input.more = false,
                },
                Ok(Typed::Resize { .. }) => {}
                Ok(Typed::EndOfInput) | Err(_) => input.more = false,
            }
            if !input.write() {
                self.input = None;
            }
        }
    }

    /// Puts what was collected into the result.
    pub(super) fn report(&mut self, id: u32, result: &mut ExecResult) {
        let Sink::Collected(collected) = std::mem::replace(&mut self.sink, Sink::Discarded) else {
            return;
        };
        result.log = collected.log.is_kept();
        let whole = if result.log {
            format!("all of it: stockade logs --exec {id}")
        } else {
            "they could not be kept".to_owned()
        };
        let mut texts = collected
            .texts
            .into_iter()
            .map(|(_, text)| text.finish(&whole));
        match (texts.next(), texts.next()) {
            (Some(stdout), Some(stderr)) => {
                (result.stdout, result.stderr) = (Some(stdout), Some(stderr));
            }
            (output, _) => result.output = output,
        }
    }
}
