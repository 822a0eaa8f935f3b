//! What moves while a command runs.

mod pipes;
mod sink;

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

pub(super) use self::{
    pipes::{Input, Marker, Next, Told},
    sink::Sink,
};
use super::super::{GRACE, REST_MAX, ending::Ending};
use crate::{
    caps::EVERY,
    control::{Lines, Typed},
};

/// The most that is read at once.
const CHUNK: usize = 32 * 1024;
/// How much waits for a client before the command waits too.
const SENDING_MAX: usize = 256 * 1024;
/// How long a command that was ended may take to be gone. A process that
/// waits for a device cannot be ended before the device answers.
pub(super) const LONGEST_END: Duration = Duration::from_secs(10);

/// Why Stockade ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Timeout,
    ClientGone,
    /// Something wrote where only a session's shell does.
    Tampered,
}

/// What else is done while a command runs.
pub(super) struct Hands<'a> {
    /// Ends it, with everything that it started.
    pub(super) kill: &'a dyn Fn(),
    /// Sees what runs inside; asked for now and then.
    pub(super) look: &'a dyn Fn(),
}

/// All of it.
pub(super) struct Flow {
    input: Option<Input>,
    sources: Vec<Option<OwnedFd>>,
    /// Of a session's shell.
    marker: Option<Marker>,
    sink: Sink,
    leashed: bool,
    sending: Vec<u8>,
    gone: bool,
    /// Whether all that counts as printed was read.
    through: bool,
    buffer: Vec<u8>,
}

/// What `poll` said, in the terms of a [`Flow`].
#[derive(Default)]
struct Ready {
    sources: [bool; 2],
    marked: bool,
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
            marker: None,
            sink,
            leashed,
            sending: Vec::new(),
            gone: false,
            through: false,
        }
    }

    /// Of a shell to which texts are given one after another, by [`Self::give`].
    /// Its `sources` do not block.
    pub(super) fn session(input: Input, sources: Vec<OwnedFd>, marker: Marker) -> Self {
        Self {
            marker: Some(marker),
            ..Self::new(Some(input), sources, Sink::Discarded, true)
        }
    }

    /// Gives the shell a text, whose end it tells with `word`.
    pub(super) fn give(&mut self, text: &str, word: &str, sink: Sink) {
        self.sink = sink;
        self.through = false;
        if let Some(input) = &mut self.input {
            input.give(&[word.as_bytes(), b"\0", text.as_bytes(), b"\0"].concat());
        }
        if let Some(marker) = &mut self.marker {
            marker.wait_for(word);
        }
    }

    /// What the shell told of the text it was given last.
    pub(super) fn told(&self) -> Option<Told> {
        self.marker.as_ref()?.told()
    }

    pub(super) fn client_is_gone(&self) -> bool {
        self.gone
    }

    /// What was printed, for the result.
    pub(super) fn take_sink(&mut self) -> Sink {
        std::mem::replace(&mut self.sink, Sink::Discarded)
    }

    /// Moves everything until the command has ended and its output is
    /// through. Says why it was ended, if it was.
    pub(super) fn run(
        &mut self,
        client: &mut Lines,
        ending: &Ending<'_>,
        deadline: Option<Instant>,
        hands: &Hands<'_>,
    ) -> Option<Cut> {
        let mut cut: Option<(Cut, Instant)> = None;
        let mut look = Instant::now() + EVERY;
        let mut grace: Option<Instant> = None;
        let mut rest = 0;
        // What came together with the request wakes nobody.
        self.take_typed(client);
        loop {
            let now = Instant::now();
            if grace.is_none() && ending.end().is_some() {
                if ending.ends_all() {
                    (hands.kill)();
                }
                self.input = None;
                grace = Some(now + GRACE);
            }
            let told = self.told();
            if cut.is_none()
                && let Some(why) = self.cut_now(told, grace.is_some(), deadline, now)
            {
                (hands.kill)();
                cut = Some((why, now));
            }
            if grace.is_some_and(|grace| now >= grace) || rest > REST_MAX {
                self.sources.clear();
            }
            let open = self.sources.iter().any(Option::is_some);
            if !self.through && (grace.is_some() && !open || matches!(told, Some(Told::Code(_)))) {
                self.read_rest();
            }
            if self.through && (self.sending.is_empty() || self.gone) {
                break;
            }
            if cut.is_some_and(|(_, since)| now >= since + LONGEST_END) {
                break;
            }
            // A command that has ended is past its deadline for good.
            let until = match (grace.filter(|_| open), cut) {
                (Some(grace), _) => Some(grace),
                (None, Some((_, since))) => Some(since + LONGEST_END),
                (None, None) => deadline.filter(|_| grace.is_none() && !self.through),
            };
            let until = if grace.is_none() && !self.through {
                if now >= look {
                    (hands.look)();
                    look = Instant::now() + EVERY;
                }
                Some(until.map_or(look, |until| until.min(look)))
            } else {
                until
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
        cut.map(|(cut, _)| cut)
    }

    /// Whether, and why, the command must end now.
    fn cut_now(
        &self,
        told: Option<Told>,
        ended: bool,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Option<Cut> {
        if told == Some(Told::Nonsense) {
            return Some(Cut::Tampered);
        }
        if self.gone && self.leashed {
            return Some(Cut::ClientGone);
        }
        let late = !ended && !self.through && deadline.is_some_and(|deadline| now >= deadline);
        late.then_some(Cut::Timeout)
    }

    /// Reads what is still in the pipes; what comes later is not the
    /// command's, or the next one's.
    fn read_rest(&mut self) {
        for index in 0..self.sources.len() {
            let mut rest = 0;
            while rest <= REST_MAX {
                match self.read(index) {
                    0 => break,
                    length => rest += length,
                }
            }
        }
        self.sink.finish(&mut self.sending);
        self.through = true;
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
        let reads = !self.is_full() && !self.through;
        let sources = self.sources.iter().flatten().filter(|_| reads);
        for source in sources {
            events.push(PollFd::new(source, PollFlags::IN));
        }
        let marker = self.marker.as_ref().and_then(Marker::pipe);
        let marker = marker.filter(|_| !self.through);
        events.extend(marker.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        if let Some(input) = &self.input {
            let wanted = if input.is_idle() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            events.push(PollFd::new(input.pipe(), wanted));
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
            *flag = source.is_some() && reads && !next().is_empty();
        }
        ready.marked = marker.is_some() && !next().is_empty();
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
        if ready.marked
            && let Some(marker) = &mut self.marker
        {
            marker.read();
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
        if self.gone && !self.sink.is_collected() {
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
        self.sink.push(index, bytes, &mut self.sending);
        u64::try_from(length).unwrap_or(u64::MAX)
    }

    /// Whether the client's next words are waited for.
    fn wants_typing(&self) -> bool {
        self.input.as_ref().is_some_and(Input::wants_typing)
    }

    /// Takes the lines that the client has sent, as far as there is room.
    fn take_typed(&mut self, client: &mut Lines) {
        while self.wants_typing() {
            let Some(input) = &mut self.input else { return };
            let Some(line) = client.received() else {
                return;
            };
            let typed = match serde_json::from_slice(&line) {
                Ok(Typed::Input { bytes }) => STANDARD.decode(bytes).ok(),
                Ok(Typed::Resize { .. }) => continue,
                Ok(Typed::EndOfInput) | Err(_) => None,
            };
            match typed {
                Some(bytes) => input.give(&bytes),
                None => input.end(),
            }
            if !input.write() {
                self.input = None;
            }
        }
    }
}
