use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use stockade_types::Event;

use crate::{
    error::LogError,
    frame::{Front, LENGTH_BYTES, Refusal, Reply, encode_reply, front},
    host::Host,
    log::Log,
    record::{Appended, MAX_EVENT_BYTES},
};

/// How many waiting bytes are taken at once, and so how much one `fdatasync`
/// can cover.
const BUFFER_BYTES: usize = 4 * (MAX_EVENT_BYTES + LENGTH_BYTES);

/// How soon an event that nobody waits for is on the disk.
const SYNC_AFTER: Duration = Duration::from_millis(50);
/// How soon after a record a checkpoint covers it,
const BIND_AFTER: Duration = Duration::from_secs(1);
/// and after how many records at the latest.
const BIND_AT: usize = 1024;

/// Why the recorder ended before its supervisor did.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The log could not be opened, which the supervisor was told, or signed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The channel to the supervisor failed.
    #[error("the channel to the supervisor failed")]
    Channel(#[source] io::Error),
    /// The supervisor announced an event beyond the cap, after which the
    /// stream cannot be followed.
    #[error("the supervisor sent an event longer than {MAX_EVENT_BYTES} bytes")]
    Oversized,
}

/// What a recorder writes, and where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder of the log.
    pub log: PathBuf,
    /// Its name in the host log: the task's id.
    pub name: String,
    /// The host's folder, with the key and the host log.
    pub host: PathBuf,
}

/// The recorder's main: opens the log, then records every event that arrives on
/// `channel` until its other end is closed.
///
/// All events that wait when a write begins share one `fdatasync`; each is
/// acknowledged only after it, but for those that nobody waits for: their sync comes
/// with the next one's that somebody does, or soon. Soon after, and at the end, a
/// checkpoint is signed and noted in the host log.
pub fn run_recorder(mut channel: UnixStream, place: &Place) -> Result<(), RecorderError> {
    let opened = Host::open(&place.host).and_then(|host| Log::open(&place.log, &place.name, host));
    let mut log = match opened {
        Ok(log) => log,
        Err(error) => {
            // The supervisor may be gone already; the error is returned anyway.
            let _ = channel.write_all(&encode_reply(&Err(refusal(&error))));
            return Err(error.into());
        }
    };
    let head = log.head();
    let greeting = Appended {
        seq: head.size,
        root: head.root,
    };
    let greeted = channel.write_all(&encode_reply(&Ok(greeting)));
    let served = greeted
        .map_err(RecorderError::Channel)
        .and_then(|()| serve(&mut channel, &mut log));
    if log.unbound() > 0 {
        log.bind()?;
    }
    served
}

fn serve(channel: &mut UnixStream, log: &mut Log) -> Result<(), RecorderError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    let mut due = Due::default();
    loop {
        let patience = due.do_what_is_due(log)?;
        channel
            .set_read_timeout(patience)
            .map_err(RecorderError::Channel)?;
        let read = match channel.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(RecorderError::Channel(error)),
        };
        filled += read;
        let Batch {
            messages,
            is_awaited,
            taken,
            oversized,
        } = split(&buffer[..filled]);
        let mut replies = Vec::new();
        for reply in record(log, messages, is_awaited) {
            replies.extend_from_slice(&encode_reply(&reply));
        }
        if oversized {
            replies.extend_from_slice(&encode_reply(&Err(Refusal::TooLarge)));
        }
        channel
            .write_all(&replies)
            .map_err(RecorderError::Channel)?;
        if oversized {
            return Err(RecorderError::Oversized);
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

/// When what was recorded must be on the disk, and bound, at the latest.
#[derive(Default)]
struct Due {
    sync: Option<Instant>,
    bind: Option<Instant>,
}

impl Due {
    /// Syncs and binds what is due, and tells how long the rest has time.
    fn do_what_is_due(&mut self, log: &mut Log) -> Result<Option<Duration>, LogError> {
        let now = Instant::now();
        if log.unbound() == 0 {
            *self = Self::default();
            return Ok(None);
        }
        let bind = *self.bind.get_or_insert(now + BIND_AFTER);
        if log.unbound() >= BIND_AT || now >= bind {
            log.bind()?;
            *self = Self::default();
            return Ok(None);
        }
        if log.is_synced() {
            self.sync = None;
        } else if now >= *self.sync.get_or_insert(now + SYNC_AFTER) {
            log.sync()?;
            self.sync = None;
        }
        let next = self.sync.map_or(bind, |sync| sync.min(bind));
        let left = next.saturating_duration_since(Instant::now());
        Ok(Some(left.max(Duration::from_millis(1))))
    }
}

/// A read that a signal or the time ended.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The whole messages at the front of what has arrived.
struct Batch {
    messages: Vec<Option<Event>>,
    /// Whether somebody waits until one of them is on the disk.
    is_awaited: bool,
    taken: usize,
    oversized: bool,
}

fn split(received: &[u8]) -> Batch {
    let mut batch = Batch {
        messages: Vec::new(),
        is_awaited: false,
        taken: 0,
        oversized: false,
    };
    loop {
        match front(&received[batch.taken..]) {
            Front::Event {
                json,
                is_awaited,
                taken,
            } => {
                batch.messages.push(serde_json::from_slice(json).ok());
                batch.is_awaited |= is_awaited;
                batch.taken += taken;
            }
            Front::Incomplete => return batch,
            Front::TooLarge => {
                batch.oversized = true;
                return batch;
            }
        }
    }
}

/// Records the messages that are events; one reply each, in their order.
fn record(log: &mut Log, messages: Vec<Option<Event>>, is_awaited: bool) -> Vec<Reply> {
    let are_events: Vec<bool> = messages.iter().map(Option::is_some).collect();
    let events: Vec<Event> = messages.into_iter().flatten().collect();
    let recorded = if is_awaited {
        log.append_all(&events)
    } else {
        log.add_all(&events)
    };
    let mut outcomes = match recorded {
        Ok(outcomes) => outcomes
            .into_iter()
            .map(|outcome| outcome.map_err(|error| refusal(&error)))
            .collect::<Vec<Reply>>(),
        Err(error) => vec![Err(refusal(&error)); events.len()],
    }
    .into_iter();
    are_events
        .into_iter()
        .map(|is_event| {
            if is_event {
                outcomes.next().unwrap_or(Err(Refusal::Write))
            } else {
                Err(Refusal::Malformed)
            }
        })
        .collect()
}

fn refusal(error: &LogError) -> Refusal {
    match error {
        LogError::Open { .. } => Refusal::Open,
        LogError::Locked { .. } => Refusal::Locked,
        LogError::Damaged { .. } | LogError::Checkpoint { .. } => Refusal::Damaged,
        LogError::Key { .. } => Refusal::Key,
        LogError::TooLarge { .. } => Refusal::TooLarge,
        LogError::Encode(_) => Refusal::Malformed,
        LogError::Full { .. } => Refusal::Full,
        LogError::Write { .. } | LogError::Poisoned { .. } => Refusal::Write,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stockade_types::EventKind;

    use super::*;

    #[test]
    fn what_nobody_waits_for_is_synced_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("host");
        std::fs::create_dir(&host).unwrap();
        let host = Host::open(&host).unwrap();
        let mut log = Log::open(&folder.path().join("log"), "t-1", host).unwrap();
        let mut due = Due::default();
        assert_eq!(due.do_what_is_due(&mut log).unwrap(), None);

        let event = Event::new(EventKind::ExecStarted, json!({}));
        let begun = Instant::now();
        record(&mut log, vec![Some(event)], false);
        while !log.is_synced() {
            if let Some(left) = due.do_what_is_due(&mut log).unwrap() {
                assert!(left <= BIND_AFTER, "{left:?}");
                std::thread::sleep(left);
            }
        }
        assert!(begun.elapsed() >= SYNC_AFTER);
    }
}
