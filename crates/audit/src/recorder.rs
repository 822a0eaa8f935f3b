use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use stockade_types::Event;

use crate::{
    frame::{Front, LENGTH_BYTES, Refusal, Reply, encode_reply, front},
    log::{Log, LogError},
    record::{Appended, MAX_EVENT_BYTES},
};

/// How many waiting bytes are taken at once, and so how much one `fdatasync`
/// can cover.
const BUFFER_BYTES: usize = 4 * (MAX_EVENT_BYTES + LENGTH_BYTES);

/// Why the recorder ended before its supervisor did.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The log could not be opened; the supervisor was told.
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

/// The recorder's main: opens the log at `path`, then records every event
/// that arrives on `channel` until its other end is closed.
///
/// All events that wait when a write begins share one `fdatasync`; each is
/// acknowledged only after it.
pub fn run_recorder(mut channel: UnixStream, path: &Path) -> Result<(), RecorderError> {
    let mut log = match Log::open(path) {
        Ok(log) => log,
        Err(error) => {
            // The supervisor may be gone already; the error is returned anyway.
            let _ = channel.write_all(&encode_reply(&Err(refusal(&error))));
            return Err(error.into());
        }
    };
    let greeting = Appended {
        seq: log.records(),
        hash: log.last_hash(),
    };
    channel
        .write_all(&encode_reply(&Ok(greeting)))
        .map_err(RecorderError::Channel)?;

    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        let read = match channel.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(RecorderError::Channel(error)),
        };
        filled += read;
        let Batch {
            messages,
            taken,
            oversized,
        } = split(&buffer[..filled]);
        let mut replies = Vec::new();
        for reply in record(&mut log, &messages) {
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

/// The whole messages at the front of what has arrived.
struct Batch {
    messages: Vec<Option<Event>>,
    taken: usize,
    oversized: bool,
}

fn split(received: &[u8]) -> Batch {
    let mut batch = Batch {
        messages: Vec::new(),
        taken: 0,
        oversized: false,
    };
    loop {
        match front(&received[batch.taken..]) {
            Front::Event(json, length) => {
                batch.messages.push(serde_json::from_slice(json).ok());
                batch.taken += length;
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
fn record(log: &mut Log, messages: &[Option<Event>]) -> Vec<Reply> {
    let events: Vec<Event> = messages.iter().flatten().cloned().collect();
    let mut outcomes = match log.append_all(&events) {
        Ok(outcomes) => outcomes
            .into_iter()
            .map(|outcome| outcome.map_err(|error| refusal(&error)))
            .collect::<Vec<Reply>>(),
        Err(error) => vec![Err(refusal(&error)); events.len()],
    }
    .into_iter();
    messages
        .iter()
        .map(|message| match message {
            Some(_) => outcomes.next().unwrap_or(Err(Refusal::Write)),
            None => Err(Refusal::Malformed),
        })
        .collect()
}

fn refusal(error: &LogError) -> Refusal {
    match error {
        LogError::Open { .. } | LogError::Tail { .. } => Refusal::Open,
        LogError::Locked { .. } => Refusal::Locked,
        LogError::Damaged { .. } => Refusal::Damaged,
        LogError::TooLarge { .. } => Refusal::TooLarge,
        LogError::Encode(_) => Refusal::Malformed,
        LogError::Full { .. } => Refusal::Full,
        LogError::Write { .. } | LogError::Poisoned { .. } => Refusal::Write,
    }
}
