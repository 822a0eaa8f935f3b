//! What runs in the firewall's process: one loop that moves lines.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IoSlice, Read},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rand::Rng;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ReadWriteFlags, pwritev2},
};
use stockade_mcp::{Firewall, Lines, Pins, ResultRules, Seen, Step};
use stockade_sandbox::Channel;
use stockade_scan::{Formats, TextCleaner};

use super::{FirewallSettings, LIST, Listed, TOLD_MAX, Told};

/// How long a server may take to say what it is before it is asked otherwise too.
const OPENING: Duration = Duration::from_secs(5);
/// How long it may take at all: some fetch themselves first.
const OPENING_AT_ALL: Duration = Duration::from_mins(1);
/// How long a server may take to answer, and then to end, once its client says nothing
/// more.
const ENDING: Duration = Duration::from_secs(5);
/// How long a server may take to tell all it offers, where nothing else is asked.
const LISTING_AT_ALL: Duration = Duration::from_mins(2);
/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;
/// How much a pipe that can be written to surely takes (pipe(7), `PIPE_BUF`).
const ATOMIC: usize = 4096;
/// What pwritev2(2) takes where there are no places, as in pipes and sockets.
const NO_PLACE: u64 = u64::MAX;
/// How much that is gone may still be held.
const COMPACTED: usize = 1 << 20;
/// How much waits for one side before nothing more is read from the other.
const WAITING_MAX: usize = 8 << 20;
/// How much is told of one step.
const TOLD_OF_STEP: usize = 64;
/// How much is told in one message.
const TOLD_AT_ONCE: usize = 16;
/// How long what happened may wait to be told: nobody who calls a tool waits for it.
const TOLD_WITHIN: Duration = Duration::from_millis(20);
/// Of how much that a server does is told at all: who does more has been seen. What a
/// client asks for is always told.
const TOLD_AT_MOST: usize = 5000;

/// The `main` of the firewall's process; its channel is standard input. Returns when the
/// client or the server is gone.
pub fn run() -> io::Result<()> {
    let channel = Channel::from_descriptor(io::stdin().as_fd().try_clone_to_owned()?);
    let received = channel
        .receive(TOLD_MAX)?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let ends: [OwnedFd; 5] = received
        .descriptors
        .try_into()
        .map_err(|_| io::Error::other("descriptors are missing"))?;
    let [settings, from_client, to_client, input, output] = ends;
    let mut text = Vec::new();
    File::from(settings).read_to_end(&mut text)?;
    let firewall = firewall(serde_json::from_slice(&text)?)?;
    stockade_sandbox::seal(&[])?;
    tell(&channel, &Told::Sealed)?;
    let lists = received.bytes == LIST;
    let mut relay = Relay {
        firewall,
        channel,
        from_client: (!lists).then(|| Source::new(from_client)),
        to_client: Sink::new(to_client),
        from_server: Some(Source::new(output)),
        to_server: Some(Sink::new(input)),
        begun: None,
        client_gone: None,
        told: 0,
        untold: Vec::new(),
        untold_since: Instant::now(),
        lists,
        started: Instant::now(),
    };
    if lists { relay.list() } else { relay.run() }
}

fn firewall(settings: FirewallSettings) -> io::Result<Firewall> {
    let pins = match settings.approved {
        None => Pins::FirstUse(None),
        Some(items) => {
            let items = items
                .into_iter()
                .map(|(kind, name, digest)| ((kind, name), digest));
            Pins::Approved(items.collect::<BTreeMap<_, _>>())
        }
    };
    // Nobody who writes a text can know it.
    let mark = format!("{:016x}", rand::rng().random::<u64>());
    let keys = Formats::new().map_err(io::Error::other)?;
    let cleaner = TextCleaner::new([], []).map_err(io::Error::other)?;
    let results = ResultRules::new(cleaner);
    let firewall = Firewall::new(pins, settings.era, keys, results, mark);
    Ok(firewall.without(settings.forbidden))
}

fn tell(channel: &Channel, told: &Told) -> io::Result<()> {
    channel.send(&serde_json::to_vec(told)?, &[])
}

/// Where lines come from.
struct Source {
    end: OwnedFd,
    lines: Lines,
}

/// Where lines go.
struct Sink {
    end: OwnedFd,
    waiting: Vec<u8>,
    /// How much of that is gone.
    written: usize,
}

impl Source {
    fn new(end: OwnedFd) -> Self {
        Self {
            end,
            lines: Lines::default(),
        }
    }
}

impl Sink {
    fn new(end: OwnedFd) -> Self {
        Self {
            end,
            waiting: Vec::new(),
            written: 0,
        }
    }

    fn left(&self) -> usize {
        self.waiting.len() - self.written
    }

    /// Writes what `more` adds if that needs no waiting, and keeps the rest.
    fn send(&mut self, more: &[u8]) {
        self.waiting.extend(more);
        // Where that cannot be told, or somebody is gone, waiting shows it.
        while self.left() > 0
            && let Ok(written) = pwritev2(
                &self.end,
                &[IoSlice::new(&self.waiting[self.written..])],
                NO_PLACE,
                ReadWriteFlags::NOWAIT,
            )
        {
            self.written += written;
        }
        self.compact();
    }

    /// Writes what can be written without waiting; whether somebody still reads.
    fn write(&mut self) -> bool {
        let end = self.waiting.len().min(self.written + ATOMIC);
        match rustix::io::write(&self.end, &self.waiting[self.written..end]) {
            Ok(written) => self.written += written,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
        self.compact();
        true
    }

    fn compact(&mut self) {
        if self.left() == 0 || self.written > COMPACTED {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
    }
}

struct Relay {
    firewall: Firewall,
    channel: Channel,
    from_client: Option<Source>,
    to_client: Sink,
    from_server: Option<Source>,
    to_server: Option<Sink>,
    /// When the server was first asked something.
    begun: Option<Instant>,
    client_gone: Option<Instant>,
    /// Of how much was told.
    told: usize,
    /// What is to be told yet, and since when.
    untold: Vec<Seen>,
    untold_since: Instant,
    /// Whether it only lists.
    lists: bool,
    started: Instant,
}

/// What can be done without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Channel,
    ToClient,
    ToServer,
    FromClient,
    FromServer,
}

impl Relay {
    /// Asks the server for everything, and writes that where the client would read.
    fn list(&mut self) -> io::Result<()> {
        let mut step = Step::default();
        self.begun = Some(Instant::now());
        self.firewall.open(&mut step);
        self.take(step);
        self.run()?;
        if let (Some(era), Some(catalogue)) = (self.firewall.era(), self.firewall.catalogue()) {
            let listed = Listed {
                era,
                catalogue: catalogue.clone(),
            };
            let file = File::from(self.to_client.end.try_clone()?);
            serde_json::to_writer(io::BufWriter::new(file), &listed)?;
            tell(&self.channel, &Told::Listed)?;
        }
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        let ended = self.relay();
        self.tell_all()?;
        ended
    }

    fn relay(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        while !self.is_over() {
            for ready in self.wait()? {
                match ready {
                    // Who holds the sandbox says nothing unasked: it is gone.
                    Ready::Channel => return Ok(()),
                    Ready::ToClient if !self.to_client.write() => return Ok(()),
                    Ready::ToClient => {}
                    Ready::ToServer => {
                        if self.to_server.as_mut().is_some_and(|sink| !sink.write()) {
                            self.server_ended(false)?;
                        }
                    }
                    Ready::FromClient => self.read_client(&mut piece)?,
                    Ready::FromServer => self.read_server(&mut piece)?,
                }
            }
            self.look_at_the_clock();
            if self.untold_since.elapsed() > TOLD_WITHIN {
                self.tell_all()?;
            }
        }
        Ok(())
    }

    /// Whether nobody can say anything any more that somebody else waits for.
    fn is_over(&self) -> bool {
        let gone = self
            .client_gone
            .is_some_and(|since| since.elapsed() > 2 * ENDING);
        let listed =
            self.lists && (self.firewall.catalogue().is_some() || self.firewall.has_failed());
        let silent = self.lists && self.started.elapsed() > LISTING_AT_ALL;
        gone || listed || silent || self.from_server.is_none() && self.to_client.left() == 0
    }

    fn wait(&self) -> io::Result<Vec<Ready>> {
        let mut places = vec![Ready::Channel];
        let mut events = vec![PollFd::new(&self.channel, PollFlags::IN)];
        let mut watch = |place, event| {
            places.push(place);
            events.push(event);
        };
        if self.to_client.left() > 0 {
            watch(
                Ready::ToClient,
                PollFd::new(&self.to_client.end, PollFlags::OUT),
            );
        }
        let to_server = self.to_server.as_ref();
        if let Some(sink) = to_server.filter(|sink| sink.left() > 0) {
            watch(Ready::ToServer, PollFd::new(&sink.end, PollFlags::OUT));
        }
        // The client is not heard while somebody does not read what is said to it. The
        // server is: it may be writing, and read afterwards.
        let all_read = to_server.is_none_or(|sink| sink.left() < WAITING_MAX)
            && self.to_client.left() < WAITING_MAX;
        if let Some(source) = &self.from_client {
            // That it has gone is heard in any case.
            let flags = if all_read {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            watch(Ready::FromClient, PollFd::new(&source.end, flags));
        }
        let client_reads = self.to_client.left() < WAITING_MAX;
        if let Some(source) = self.from_server.as_ref().filter(|_| client_reads) {
            watch(Ready::FromServer, PollFd::new(&source.end, PollFlags::IN));
        }
        let looks = self.lists || self.begun.is_some() || self.client_gone.is_some();
        let patience = if self.untold.is_empty() {
            looks.then_some(Duration::from_secs(1))
        } else {
            Some(TOLD_WITHIN)
        };
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(&mut events, patience.as_ref()) {
            Err(Errno::INTR) => return Ok(Vec::new()),
            polled => polled?,
        };
        let ready = places.into_iter().zip(&events);
        let ready = ready.filter(|(_, event)| !event.revents().is_empty());
        Ok(ready.map(|(place, _)| place).collect())
    }

    fn read_client(&mut self, piece: &mut [u8]) -> io::Result<()> {
        let Some(source) = &mut self.from_client else {
            return Ok(());
        };
        let length = read(&source.end, piece)?;
        let mut step = Step::default();
        let firewall = &mut self.firewall;
        let taken = source
            .lines
            .push(&piece[..length.unwrap_or_default()], |line| {
                firewall.from_client(line, &mut step);
            });
        if self.begun.is_none() && self.firewall.era().is_none() {
            self.begun = Some(Instant::now());
        }
        if length == Some(0) || taken.is_err() {
            self.from_client = None;
            self.client_gone = Some(Instant::now());
        }
        self.take(step);
        Ok(())
    }

    fn read_server(&mut self, piece: &mut [u8]) -> io::Result<()> {
        let Some(source) = &mut self.from_server else {
            return Ok(());
        };
        let length = read(&source.end, piece)?;
        let mut step = Step::default();
        let firewall = &mut self.firewall;
        let taken = source
            .lines
            .push(&piece[..length.unwrap_or_default()], |line| {
                firewall.from_server(line, &mut step);
            });
        if let Err(too_long) = taken {
            let why = format!("{too_long}; the server is not heard any more");
            step.seen.push(Seen::Dropped {
                from_server: true,
                why,
            });
        }
        self.take(step);
        if length == Some(0) || taken.is_err() {
            return self.server_ended(taken.is_ok());
        }
        Ok(())
    }

    fn server_ended(&mut self, by_itself: bool) -> io::Result<()> {
        self.from_server = None;
        self.to_server = None;
        let mut step = Step::default();
        let again = self.firewall.server_ended(&mut step);
        if again && by_itself && self.client_gone.is_none() {
            self.tell_all()?;
            tell(&self.channel, &Told::StartAgain)?;
            let received = self.channel.receive(TOLD_MAX)?;
            let received = received.ok_or(io::ErrorKind::UnexpectedEof)?;
            let ends: [OwnedFd; 2] = received
                .descriptors
                .try_into()
                .map_err(|_| io::Error::other("descriptors are missing"))?;
            let [input, output] = ends;
            self.from_server = Some(Source::new(output));
            self.to_server = Some(Sink::new(input));
        }
        self.take(step);
        Ok(())
    }

    fn look_at_the_clock(&mut self) {
        let late = self
            .client_gone
            .is_some_and(|since| since.elapsed() > ENDING);
        let sent = self.to_server.as_ref().is_some_and(|sink| sink.left() == 0);
        if self.client_gone.is_some() && sent && (late || self.firewall.is_idle()) {
            // The server ends when it hears that nobody asks any more.
            self.to_server = None;
        }
        if self.firewall.era().is_some() {
            self.begun = None;
        }
        let Some(waited) = self.begun.map(|since| since.elapsed()) else {
            return;
        };
        let mut step = Step::default();
        if waited > OPENING_AT_ALL {
            self.begun = None;
            self.firewall.opening_is_over(&mut step);
        } else if waited > OPENING {
            self.firewall.opening_takes_long(&mut step);
        }
        self.take(step);
    }

    /// Does what a step comes to.
    fn take(&mut self, step: Step) {
        self.to_client.send(&step.to_client);
        if let Some(sink) = &mut self.to_server {
            sink.send(&step.to_server);
        }
        let flooded = self.to_server.as_ref();
        if flooded.is_some_and(|sink| sink.left() > 4 * WAITING_MAX) {
            // It asks and asks, and reads no answer.
            self.from_server = None;
            self.to_server = None;
        }
        if self.untold.is_empty() {
            self.untold_since = Instant::now();
        }
        for seen in step.seen.into_iter().take(TOLD_OF_STEP) {
            let is_asked = matches!(seen, Seen::Called { .. } | Seen::Refused { .. });
            self.told += usize::from(!is_asked);
            if is_asked || self.told <= TOLD_AT_MOST {
                self.untold.push(seen);
            }
        }
    }

    /// Tells what happened since it did so last.
    fn tell_all(&mut self) -> io::Result<()> {
        while !self.untold.is_empty() {
            let most = self.untold.len().min(TOLD_AT_ONCE);
            let some = self.untold.drain(..most).collect();
            tell(&self.channel, &Told::Seen(some))?;
        }
        Ok(())
    }
}

/// Reads what is there; nothing if that was a false alarm.
fn read(end: &OwnedFd, piece: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::read(end, piece) {
        Ok(length) => Ok(Some(length)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
