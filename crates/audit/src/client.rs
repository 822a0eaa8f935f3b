use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use stockade_types::Event;

use crate::{
    frame::{REPLY_BYTES, Refusal, Reply, decode_reply, encode_event},
    merkle::TreeHead,
    record::{Appended, MAX_EVENT_BYTES},
    redact::{self, Redact},
};

/// How long a recorder may take for one reply, disk included, before it
/// counts as lost.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);
/// How many events may be on their way to the disk with nobody waiting. Their replies
/// wait in the channel, which has room for about twice as many.
const POSTED_MAX: usize = 128;

/// Why an event is not known to be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The recorder said no; the event is not in the log.
    #[error("the event was not recorded")]
    Refused(#[from] Refusal),
    /// The event has no JSON form; nothing was sent.
    #[error("the event cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The recorder is gone or does not answer. Whether the event is in the
    /// log is not known; nothing can be recorded through this client again.
    #[error("the recorder is gone or does not answer; whether the event was recorded is unknown")]
    Lost(#[source] io::Error),
}

/// The supervisor's end of the channel to its recorder.
///
/// Clones share the channel, and events that several threads record at the
/// same time share one `fdatasync`. Calls block; from async code use a
/// blocking thread. No event leaves through it before its secrets were taken out.
#[derive(Clone, Debug)]
pub struct RecorderClient {
    shared: Arc<Shared>,
}

/// An event that was handed over. Its reply is kept until somebody has waited.
#[derive(Debug)]
#[must_use = "the reply is kept until somebody waits for it"]
pub struct Pending {
    client: RecorderClient,
    number: u64,
}

impl Pending {
    /// Waits until the event is on the disk.
    pub fn wait(self) -> Result<Appended, RecordError> {
        Ok(self.client.reply(self.number)??)
    }
}

#[derive(Debug)]
struct Shared {
    channel: UnixStream,
    /// The log as it was opened.
    opened: TreeHead,
    /// What must not stand in it.
    secrets: Box<dyn Redact>,
    /// The number of the next request; held while one is written.
    requests: Mutex<u64>,
    replies: Mutex<Replies>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Replies {
    /// The number of the next reply to be read.
    next: u64,
    /// Read by one thread for others that have not woken up yet.
    waiting: BTreeMap<u64, Reply>,
    /// Requests whose reply nobody waits for.
    posted: BTreeSet<u64>,
    /// Whether a thread is reading at the moment.
    reading: bool,
    /// Why no reply can arrive any more.
    lost: Option<io::ErrorKind>,
}

impl RecorderClient {
    /// Waits for the recorder at the other end of `channel` to open its log, from
    /// which `secrets` stay out.
    pub fn connect(
        channel: UnixStream,
        secrets: impl Redact + 'static,
    ) -> Result<Self, RecordError> {
        channel
            .set_read_timeout(Some(REPLY_TIMEOUT))
            .map_err(RecordError::Lost)?;
        channel
            .set_write_timeout(Some(REPLY_TIMEOUT))
            .map_err(RecordError::Lost)?;
        let greeting = read_reply(&channel).map_err(RecordError::Lost)??;
        Ok(Self {
            shared: Arc::new(Shared {
                channel,
                opened: TreeHead {
                    size: greeting.seq,
                    root: greeting.root,
                },
                secrets: Box::new(secrets),
                requests: Mutex::default(),
                replies: Mutex::default(),
                arrived: Condvar::new(),
            }),
        })
    }

    /// What the log held when the recorder opened it.
    pub fn opened(&self) -> TreeHead {
        self.shared.opened
    }

    /// What the secrets in `value` are: an event would hold it without them.
    pub fn secrets_in(&self, value: &impl Serialize) -> Result<Vec<String>, RecordError> {
        let value = serde_json::to_value(value).map_err(RecordError::Encode)?;
        Ok(redact::found_in(&value, &*self.shared.secrets))
    }

    /// Records one event; when this returns, it is on the disk.
    pub fn record(&self, event: &Event) -> Result<Appended, RecordError> {
        self.hand_over(event)?.wait()
    }

    /// Hands over one event, to be recorded after those before it, so that others
    /// can follow before somebody waits for it.
    pub fn hand_over(&self, event: &Event) -> Result<Pending, RecordError> {
        let frame = self.encode(event, true)?;
        let number = self.send(&frame)?;
        Ok(Pending {
            client: self.clone(),
            number,
        })
    }

    /// Hands over one event, to be recorded after those before it, and does
    /// not wait for the disk, which it reaches a moment later: after a crash of the
    /// machine the last of these may be missing. For what acts on nothing outside the
    /// sandbox, and for what became of an action whose intent was waited for.
    ///
    /// If one is refused, nothing can be recorded through this client again.
    pub fn post(&self, event: &Event) -> Result<(), RecordError> {
        let frame = self.encode(event, false)?;
        let number = self.send(&frame)?;
        let mut replies = lock(&self.shared.replies);
        if replies.posted.len() >= POSTED_MAX {
            drop(replies);
            self.reply(number)??;
            return Ok(());
        }
        if let Some(reply) = replies.waiting.remove(&number) {
            return Ok(reply.map(|_| ())?);
        }
        replies.posted.insert(number);
        Ok(())
    }

    /// An event as it is sent: the one way to the recorder.
    fn encode(&self, event: &Event, is_awaited: bool) -> Result<Vec<u8>, RecordError> {
        let event = redact::event(event, &*self.shared.secrets, MAX_EVENT_BYTES);
        let event = event.map_err(RecordError::Encode)?;
        let json = serde_json::to_vec(&*event).map_err(RecordError::Encode)?;
        Ok(encode_event(&json, is_awaited).ok_or(Refusal::TooLarge)?)
    }

    /// Writes one request; its number says which reply belongs to it.
    fn send(&self, frame: &[u8]) -> Result<u64, RecordError> {
        let mut next = lock(&self.shared.requests);
        if let Some(kind) = lock(&self.shared.replies).lost {
            return Err(RecordError::Lost(kind.into()));
        }
        if let Err(error) = (&self.shared.channel).write_all(frame) {
            // Half a frame may be out: what follows would be misread.
            self.fail(&mut lock(&self.shared.replies), error.kind());
            return Err(RecordError::Lost(error));
        }
        let number = *next;
        *next += 1;
        Ok(number)
    }

    /// Waits for one reply. Of the threads that wait, one reads for all.
    fn reply(&self, number: u64) -> Result<Reply, RecordError> {
        let mut replies = lock(&self.shared.replies);
        loop {
            if let Some(reply) = replies.waiting.remove(&number) {
                return Ok(reply);
            }
            if let Some(kind) = replies.lost {
                return Err(RecordError::Lost(kind.into()));
            }
            if replies.reading {
                replies = self
                    .shared
                    .arrived
                    .wait(replies)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            replies.reading = true;
            drop(replies);
            let read = read_reply(&self.shared.channel);
            replies = lock(&self.shared.replies);
            replies.reading = false;
            match read {
                Ok(reply) => {
                    let arrived = replies.next;
                    replies.next += 1;
                    if !replies.posted.remove(&arrived) {
                        replies.waiting.insert(arrived, reply);
                    } else if reply.is_err() {
                        self.fail(&mut replies, io::ErrorKind::Other);
                    }
                    self.shared.arrived.notify_all();
                }
                Err(error) => self.fail(&mut replies, error.kind()),
            }
        }
    }

    fn fail(&self, replies: &mut Replies, kind: io::ErrorKind) {
        replies.lost.get_or_insert(kind);
        self.shared.arrived.notify_all();
    }
}

/// A thread that panicked while it held one of these locks left whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_reply(mut channel: &UnixStream) -> io::Result<Reply> {
    let mut bytes = [0; REPLY_BYTES];
    channel.read_exact(&mut bytes)?;
    decode_reply(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
