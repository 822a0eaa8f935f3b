use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, OFlags};
use stockade_types::Event;
use time::OffsetDateTime;

use crate::record::{Appended, Hash, MAX_EVENT_BYTES, MAX_LINE_BYTES, Record, RecordKind, Upkeep};

/// How much of a file's end is looked at when it is opened: room for the two
/// last whole lines and an unfinished one.
const TAIL_BYTES: u64 = 3 * (MAX_LINE_BYTES as u64 + 1);

/// Why a log could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file could not be opened or created.
    #[error("cannot open the log {path}")]
    Open {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has the log open for writing.
    #[error("another recorder holds the log {path}; a log has one writer")]
    Locked {
        /// The log.
        path: PathBuf,
    },
    /// The end of the file could not be read or repaired.
    #[error("cannot read the end of the log {path}")]
    Tail {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The last records do not fit together, so nothing is added to them.
    #[error(
        "the last records of {path} do not fit together ({reason}); see `stockade audit verify`"
    )]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// The event is longer than [`MAX_EVENT_BYTES`] as JSON.
    #[error("an event of {bytes} bytes is too long to record; the limit is {MAX_EVENT_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The event has no JSON form.
    #[error("the event cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// There is no room; the log is as it was before.
    #[error("no room to write the log {path}; the records before are intact")]
    Full {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed. If the log could not be brought back to its last good
    /// state, every later append is refused as well.
    #[error("cannot write the log {path}")]
    Write {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure left it unknown what is on the disk.
    #[error("the log {path} is not written any more after an earlier failure; open it again")]
    Poisoned {
        /// The log.
        path: PathBuf,
    },
}

/// A log open for writing, by this process alone.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    /// The file's length up to the last whole line.
    length: u64,
    next: u64,
    last: Hash,
    poisoned: bool,
}

impl Log {
    /// Opens the log at `path`, creating it (mode 0600) if it is not there,
    /// and takes it for this process until it is dropped.
    ///
    /// An unfinished last line, which only a crash leaves, is cut off, and a
    /// record says so. If the two last whole records do not fit together the
    /// log is refused; only [`verify`](crate::verify) looks at all of it.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let opened = |source| LogError::Open {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(opened)?;
        if !file.metadata().map_err(opened)?.is_file() {
            return Err(opened(io::ErrorKind::InvalidInput.into()));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LogError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(opened(error.into())),
        }
        sync_parent(path).map_err(opened)?;
        let (log, torn) = Self::from_tail(file, path)?;
        log.repaired(torn)
    }

    /// Reads the end of `file`: the log at its last whole line, and how many
    /// bytes of an unfinished one follow.
    fn from_tail(file: File, path: &Path) -> Result<(Self, u64), LogError> {
        let tail_error = |source| LogError::Tail {
            path: path.to_owned(),
            source,
        };
        let damaged = |reason| LogError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let size = file.metadata().map_err(tail_error)?.len();
        let start = size.saturating_sub(TAIL_BYTES);
        let mut tail = vec![0; usize::try_from(size - start).unwrap_or_default()];
        file.read_exact_at(&mut tail, start).map_err(tail_error)?;

        let whole = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole == 0 && start > 0 {
            return Err(damaged("its last line is longer than any record"));
        }
        let torn = u64::try_from(tail.len() - whole).unwrap_or(u64::MAX);
        let mut lines = tail[..whole].rsplit(|byte| *byte == b'\n').skip(1);
        let mut log = Self {
            file,
            path: path.to_owned(),
            length: size - torn,
            next: 0,
            last: Hash::ZERO,
            poisoned: false,
        };
        let Some(last_line) = lines.next() else {
            return Ok((log, torn));
        };
        let last: Record =
            serde_json::from_slice(last_line).map_err(|_| damaged("the last is not a record"))?;
        // The line before it is there whole: the tail has room for both.
        let (before, before_hash) = match lines.next() {
            Some(line) => {
                let record: Record = serde_json::from_slice(line)
                    .map_err(|_| damaged("the last but one is not a record"))?;
                (Some(record.seq), Hash::of(line))
            }
            None => (None, Hash::ZERO),
        };
        if before.map_or(Some(0), |seq| seq.checked_add(1)) != Some(last.seq) {
            return Err(damaged("the last two are not numbered one after the other"));
        }
        if last.prev != before_hash {
            return Err(damaged("the last does not name the one before"));
        }
        log.next = last.seq + 1;
        log.last = Hash::of(last_line);
        Ok((log, torn))
    }

    /// Cuts off an unfinished line and records that it was there.
    fn repaired(mut self, torn: u64) -> Result<Self, LogError> {
        if torn == 0 {
            return Ok(self);
        }
        self.file
            .set_len(self.length)
            .map_err(|source| LogError::Tail {
                path: self.path.clone(),
                source,
            })?;
        let body = serde_json::json!({ "cut_bytes": torn });
        let mut bytes = Vec::new();
        let next = self.next;
        let appended = encode(
            RecordKind::Upkeep(Upkeep::LogRepaired),
            &body,
            next,
            self.last,
            &mut bytes,
        )?;
        self.commit(&bytes, appended)?;
        Ok(self)
    }

    /// The receipt of the last record; `None` while there is none.
    pub fn last(&self) -> Option<Appended> {
        self.next.checked_sub(1).map(|seq| Appended {
            seq,
            hash: self.last,
        })
    }

    /// How many records there are.
    pub(crate) fn records(&self) -> u64 {
        self.next
    }

    /// The hash that the next record will name.
    pub(crate) fn last_hash(&self) -> Hash {
        self.last
    }

    /// Appends one event. When this returns, the record is on the disk
    /// (`fdatasync`); on an error the log holds what it held before.
    pub fn append(&mut self, event: &Event) -> Result<Appended, LogError> {
        let mut bytes = Vec::new();
        let appended = encode_event(event, self.next, self.last, &mut bytes)?;
        self.commit(&bytes, appended)?;
        Ok(appended)
    }

    /// Appends events with one write and one `fdatasync`. An event that cannot
    /// be a record is left out and gets its own error; if the write fails none
    /// is recorded.
    pub(crate) fn append_all(
        &mut self,
        events: &[Event],
    ) -> Result<Vec<Result<Appended, LogError>>, LogError> {
        let mut bytes = Vec::new();
        let (mut next, mut last) = (self.next, self.last);
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            let outcome = encode_event(event, next, last, &mut bytes);
            if let Ok(appended) = &outcome {
                (next, last) = (appended.seq + 1, appended.hash);
            }
            outcomes.push(outcome);
        }
        if let Some(newest) = outcomes
            .iter()
            .rev()
            .find_map(|outcome| outcome.as_ref().ok())
        {
            self.commit(&bytes, *newest)?;
        }
        Ok(outcomes)
    }

    /// Writes whole lines at the end and waits until they are on the disk.
    fn commit(&mut self, bytes: &[u8], newest: Appended) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned {
                path: self.path.clone(),
            });
        }
        let written = self.file.write_all_at(bytes, self.length);
        if let Err(source) = written {
            // A part may have been written; without it the file is valid again.
            self.poisoned = self.file.set_len(self.length).is_err();
            return Err(self.write_error(source));
        }
        if let Err(source) = self.file.sync_data() {
            // The kernel reports a lost page once and then forgets it, so a
            // second sync would prove nothing.
            self.poisoned = true;
            // The reopened file decides what is there; this only tidies up.
            let _ = self.file.set_len(self.length);
            return Err(self.write_error(source));
        }
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.next = newest.seq + 1;
        self.last = newest.hash;
        Ok(())
    }

    fn write_error(&self, source: io::Error) -> LogError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::QuotaExceeded => LogError::Full { path, source },
            _ => LogError::Write { path, source },
        }
    }
}

/// Makes the directory entry of a new log as durable as its records.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

fn encode_event(
    event: &Event,
    seq: u64,
    prev: Hash,
    bytes: &mut Vec<u8>,
) -> Result<Appended, LogError> {
    let start = bytes.len();
    let appended = encode(RecordKind::Event(event.kind), &event.body, seq, prev, bytes)?;
    // The event is a part of its line: only a long line needs a closer look.
    if bytes.len() - start > MAX_EVENT_BYTES {
        let length = serde_json::to_vec(event).map_err(LogError::Encode)?.len();
        if length > MAX_EVENT_BYTES {
            bytes.truncate(start);
            return Err(LogError::TooLarge { bytes: length });
        }
    }
    Ok(appended)
}

/// Appends the line of a record to `bytes`, which stays as it was on an error.
fn encode(
    kind: RecordKind,
    body: &serde_json::Value,
    seq: u64,
    prev: Hash,
    bytes: &mut Vec<u8>,
) -> Result<Appended, LogError> {
    let record = Record {
        seq,
        at: OffsetDateTime::now_utc(),
        prev,
        kind,
        body: body.clone(),
    };
    let line = serde_json::to_vec(&record).map_err(LogError::Encode)?;
    let appended = Appended {
        seq,
        hash: Hash::of(&line),
    };
    bytes.extend_from_slice(&line);
    bytes.push(b'\n');
    Ok(appended)
}
