use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use stockade_types::Event;

use crate::{
    chain,
    error::LogError,
    files,
    hash::Hash,
    host::Host,
    layout::MAX_ENTRY_BYTES,
    merkle::TreeHead,
    read::ReadError,
    record::{Appended, MAX_EVENT_BYTES, Record, RecordKind, Upkeep},
    store::{self, Store},
};

/// How many records of the first form are taken over with one sync.
const MIGRATED_AT_ONCE: usize = 1024;
/// How long a log may still be held: a program that its last writer was starting has
/// a copy of the lock until it runs.
const PATIENCE: Duration = Duration::from_millis(100);

/// The record of a task, open for writing by this process alone.
#[derive(Debug)]
pub struct Log {
    store: Store,
    host: Host,
    /// How the host log calls it: the task's id.
    name: String,
    /// The leaves that the host log does not know yet.
    unbound: Vec<Hash>,
}

impl Log {
    /// Opens the log in the folder `path`, creating it if it is not there, and
    /// takes it for this process until it is dropped. Its checkpoints are signed
    /// with the host's key and noted in the host log under `name`.
    ///
    /// An unfinished last entry, which only a crash leaves, is cut off, and a
    /// record says so; also how many records no checkpoint covered. A record of
    /// the first form is taken over, and its file kept.
    pub fn open(path: &Path, name: &str, host: Host) -> Result<Self, LogError> {
        if !path.exists() && chain::beside(path).exists() {
            migrate(path, name, &host)?;
        }
        let origin = host.origin(name);
        let is_new = !path.exists();
        let (store, leftover) = Store::open(path, &origin, host.signer(), PATIENCE)?;
        let mut log = Self {
            store,
            host,
            name: name.to_owned(),
            unbound: leftover.unsigned,
        };
        if leftover.torn > 0 || !log.unbound.is_empty() {
            let body = json!({ "cut_bytes": leftover.torn, "unsigned": log.unbound.len() });
            log.upkeep(Upkeep::LogRepaired, body)?;
            log.bind()?;
        } else if is_new {
            // From now on the host log misses it if it goes away.
            log.bind()?;
        }
        Ok(log)
    }

    /// How many records there are, and the root over them.
    pub fn head(&self) -> TreeHead {
        self.store.head()
    }

    /// How many records the host log does not know yet.
    pub fn unbound(&self) -> usize {
        self.unbound.len()
    }

    /// Appends one event. When this returns, the record is on the disk
    /// (`fdatasync`); on an error the log holds what it held before.
    pub fn append(&mut self, event: &Event) -> Result<Appended, LogError> {
        let outcome = self.append_all(std::slice::from_ref(event))?.pop();
        outcome.unwrap_or_else(|| {
            Err(LogError::Poisoned {
                path: PathBuf::from(&self.name),
            })
        })
    }

    /// Appends events with one write and one `fdatasync` a bundle. An event that
    /// cannot be a record is left out and gets its own error; if writing fails,
    /// none counts as recorded.
    pub fn append_all(
        &mut self,
        events: &[Event],
    ) -> Result<Vec<Result<Appended, LogError>>, LogError> {
        self.write_all(events, Store::append)
    }

    /// The same without waiting for the disk, which [`sync`](Self::sync) does.
    pub fn add_all(
        &mut self,
        events: &[Event],
    ) -> Result<Vec<Result<Appended, LogError>>, LogError> {
        self.write_all(events, Store::add)
    }

    /// Waits until all that was added is on the disk. If that fails, nothing is
    /// signed or written any more.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.store.sync()
    }

    /// Whether all that was added is on the disk.
    pub fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    fn write_all(
        &mut self,
        events: &[Event],
        write: impl FnOnce(&mut Store, &[Vec<u8>], &mut Vec<TreeHead>) -> Result<(), LogError>,
    ) -> Result<Vec<Result<Appended, LogError>>, LogError> {
        let mut entries = Vec::with_capacity(events.len());
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            let seq = self.store.size() + entries.len() as u64;
            let refused = encode(event, seq).map(|entry| entries.push(entry)).err();
            outcomes.push(refused);
        }
        let mut heads = Vec::with_capacity(entries.len());
        let appended = write(&mut self.store, &entries, &mut heads);
        let written = entries.iter().take(heads.len());
        self.unbound
            .extend(written.map(|entry| Hash::of_leaf(entry)));
        appended?;
        let mut heads = heads.into_iter();
        let receipts = outcomes.into_iter().map_while(|refused| match refused {
            Some(error) => Some(Err(error)),
            None => heads.next().map(|head| {
                Ok(Appended {
                    seq: head.size - 1,
                    root: head.root,
                })
            }),
        });
        Ok(receipts.collect())
    }

    /// Signs a checkpoint over all records, and notes it in the host log.
    pub fn bind(&mut self) -> Result<TreeHead, LogError> {
        let checkpoint = self.store.sign(self.host.signer())?;
        self.host.bind(&self.name, &checkpoint, &self.unbound)?;
        self.unbound.clear();
        Ok(checkpoint.head)
    }

    fn upkeep(&mut self, upkeep: Upkeep, body: Value) -> Result<(), LogError> {
        let record = Record::now(self.store.size(), RecordKind::Upkeep(upkeep), body);
        let entry = record.encode().map_err(LogError::Encode)?;
        self.unbound.push(Hash::of_leaf(&entry));
        self.store.append(&[entry], &mut Vec::new())
    }
}

fn encode(event: &Event, seq: u64) -> Result<Vec<u8>, LogError> {
    let record = Record::now(seq, RecordKind::Event(event.kind), event.body.clone());
    let entry = record.encode().map_err(LogError::Encode)?;
    // The event is a part of its entry: only a long one needs a closer look.
    if entry.len() > MAX_EVENT_BYTES {
        let bytes = serde_json::to_vec(event).map_err(LogError::Encode)?.len();
        if bytes > MAX_EVENT_BYTES || entry.len() > MAX_ENTRY_BYTES {
            return Err(LogError::TooLarge { bytes });
        }
    }
    Ok(entry)
}

/// Takes a record of the first form over: each line becomes an entry, byte for
/// byte, so that numbers and chain stay what they were. The log appears under
/// its name only when it is whole.
fn migrate(path: &Path, name: &str, host: &Host) -> Result<(), LogError> {
    let old = chain::beside(path);
    let damaged = |_| LogError::damaged(&old, "its lines do not fit together");
    let failed = LogError::open(path);
    // A recorder of the first form holds the file itself.
    let _old_lock = File::open(&old)
        .map_err(&failed)
        .and_then(|file| store::take(file, &old, Duration::ZERO))?;
    let torn = match chain::verify(&old) {
        Ok(_) => false,
        Err(crate::VerifyError::Read(ReadError::Torn { .. })) => true,
        Err(error) => return Err(damaged(error)),
    };
    let beside = path.with_extension("new");
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let origin = host.origin(name);
    let (mut store, _) = Store::open(&beside, &origin, host.signer(), Duration::ZERO)?;
    let mut lines = chain::Lines::open(&old).map_err(|error| damaged(error.into()))?;
    let (mut last, mut batch) = (Hash::ZERO, Vec::new());
    // What is torn off was never acknowledged.
    while let Some(Ok(line)) = lines.next_line() {
        last = line.hash;
        batch.push(taken_over(line)?);
        if batch.len() == MIGRATED_AT_ONCE {
            store.append(&std::mem::take(&mut batch), &mut Vec::new())?;
        }
    }
    store.append(&batch, &mut Vec::new())?;
    let body = json!({ "records": store.size(), "last_hash": last, "torn": torn });
    let note = Record::now(store.size(), RecordKind::Upkeep(Upkeep::LogMigrated), body);
    let note = note.encode().map_err(LogError::Encode)?;
    store.append(&[note], &mut Vec::new())?;
    let checkpoint = store.sign(host.signer())?;
    fs::rename(&beside, path).map_err(&failed)?;
    files::sync_folder(path.parent().unwrap_or(path)).map_err(&failed)?;
    host.bind(name, &checkpoint, &[])
}

/// The line as an entry, or, if it is too long for one, its digest.
fn taken_over(line: chain::Line) -> Result<Vec<u8>, LogError> {
    if line.bytes.len() <= MAX_ENTRY_BYTES {
        return Ok(line.bytes);
    }
    let body = json!({ "sha256": line.hash, "bytes": line.bytes.len(), "kind": line.record.kind });
    let kind = RecordKind::Upkeep(Upkeep::LongRecord);
    let stub = Record::now(line.record.seq, kind, body);
    stub.encode().map_err(LogError::Encode)
}
