//! The output of a command: to a file, bounded, and to whoever watches.
//!
//! A viewer reads at its own pace. What is kept in a log it reads from there,
//! so that a slow one misses nothing and holds nobody up. A command without a
//! log waits for its viewer instead, as it would for the next in a pipeline.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    caps::{CapMet, Capped, Known},
    contract::Strength,
};

/// The most that a log file takes, in bytes. What comes after is shown to
/// those who keep up and counted, but not kept.
pub(crate) const LOG_MAX: u64 = 64 << 20;
/// How much of it has its room on the disk before anything is printed, in bytes.
const RESERVED: u64 = 64 * 1024;
/// How much is held in memory, in bytes; what a new viewer sees of what came
/// before.
const RECENT_MAX: usize = 64 * 1024;
/// The most that a viewer gets at once, in bytes.
const CHUNK_MAX: usize = 16 * 1024;

/// Where one command's output goes.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Something was printed or read, or a viewer came or went.
    changed: Condvar,
    log: Option<PathBuf>,
}

/// Places in the output are counted as in the log file, which may have begun
/// in an earlier run.
#[derive(Debug, Default)]
struct Inner {
    log: Option<File>,
    /// Where this run's output begins.
    start: u64,
    /// Up to where the log file has it.
    kept: u64,
    /// Where it ends so far.
    end: u64,
    /// The last bytes before `end`.
    recent: Vec<u8>,
    /// How far each viewer is.
    viewers: HashMap<u64, u64>,
    next_viewer: u64,
    /// Whether the pump waits for a viewer.
    waiting: bool,
    /// Whether a viewer is still to come, before which nothing may be lost.
    awaited: bool,
    /// When something was last printed.
    last: Option<Instant>,
    /// Whether all that was printed has been taken.
    drained: bool,
    ended: bool,
}

impl Output {
    /// Output that is kept in `log`, appended to what is there. Its beginning has room
    /// on the disk from now on, so that whoever prints may fill the rest.
    pub(crate) fn logged(log: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let start = file.metadata()?.len();
        // Some file systems promise no room.
        let _ = fallocate(&file, FallocateFlags::KEEP_SIZE, start, RESERVED);
        let inner = Inner {
            log: Some(file),
            start,
            kept: start,
            end: start,
            ..Inner::default()
        };
        Ok(Self::new(inner, Some(log.to_owned())))
    }

    /// Output that only viewers see. One is on its way.
    pub(crate) fn shown() -> Self {
        let inner = Inner {
            awaited: true,
            ..Inner::default()
        };
        Self::new(inner, None)
    }

    fn new(inner: Inner, log: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            log,
        }))
    }

    /// Copies everything from `source` until its end.
    pub(crate) fn pump(&self, mut source: impl Read) {
        let mut buffer = vec![0; CHUNK_MAX];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal without a process at its other end: EIO.
                Err(_) => break,
            }
        }
        let mut inner = self.lock();
        inner.drained = true;
        if let Some(log) = &inner.log {
            // Room that is left over is given back, which changes nothing else.
            let _ = log.metadata().and_then(|found| log.set_len(found.len()));
        }
        drop(inner);
        self.finish();
    }

    /// Waits until all that was printed has been taken, for `most` at most;
    /// whoever printed is gone.
    pub(crate) fn drain(&self, most: Duration) {
        let inner = self.lock();
        let waits = |inner: &mut Inner| !inner.drained;
        let _ = self.0.changed.wait_timeout_while(inner, most, waits);
    }

    /// Nothing more will be printed; viewers see the rest and then the end.
    pub(crate) fn finish(&self) {
        self.lock().ended = true;
        self.0.changed.notify_all();
    }

    fn push(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        if self.0.log.is_none() {
            while inner.would_lose(bytes.len()) && !inner.ended {
                inner.waiting = true;
                inner = self.wait(inner);
            }
            inner.waiting = false;
        }
        inner.append(bytes);
        drop(inner);
        self.0.changed.notify_all();
    }

    /// Whether what is printed cannot go on before a viewer has read.
    pub(crate) fn waits(&self) -> bool {
        self.lock().waiting
    }

    /// Where the output ends so far, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end
    }

    /// That more was printed than a log keeps, if it was.
    pub(crate) fn cap_met(&self) -> Option<CapMet> {
        let inner = self.lock();
        let is_full = self.0.log.is_some() && inner.kept >= LOG_MAX && inner.end > inner.kept;
        is_full.then_some(CapMet {
            cap: Capped::Output,
            limit: LOG_MAX,
            strength: Strength::Supervisor,
            known: Known::Seen(inner.end),
        })
    }

    /// When something was last printed, if anything was.
    pub(crate) fn last_printed(&self) -> Option<Instant> {
        self.lock().last
    }

    /// A viewer of everything from now on, and of what was printed last; of
    /// everything if `whole`.
    pub(crate) fn watch(&self, whole: bool) -> Viewer {
        let mut inner = self.lock();
        let id = inner.next_viewer;
        inner.next_viewer += 1;
        inner.awaited = false;
        let place = if whole {
            inner.start
        } else {
            inner.recent_start()
        };
        inner.viewers.insert(id, place);
        drop(inner);
        let log = self.0.log.as_deref().map(File::open);
        Viewer {
            id,
            output: self.clone(),
            log: log.and_then(Result::ok),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.0
            .changed
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Where the bytes in memory begin.
    fn recent_start(&self) -> u64 {
        self.end - length(&self.recent)
    }

    /// Whether `more` bytes would push out some that a viewer has not read.
    fn would_lose(&self, more: usize) -> bool {
        let surplus = (self.recent.len() + more).saturating_sub(RECENT_MAX);
        let kept_from = self.recent_start() + u64::try_from(surplus).unwrap_or(u64::MAX);
        let slowest = self.viewers.values().min().copied();
        let slowest = slowest.or(self.awaited.then_some(self.start));
        slowest.is_some_and(|place| place < kept_from)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.last = Some(Instant::now());
        if let Some(log) = &mut self.log {
            let room = usize::try_from(LOG_MAX.saturating_sub(self.kept)).unwrap_or(usize::MAX);
            let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            match log.write_all(kept) {
                Ok(()) => self.kept += length(kept),
                // A full disk loses the rest of the log, not the task.
                Err(_) => self.log = None,
            }
            if kept.len() < bytes.len() {
                self.log = None;
            }
        }
        self.end += length(bytes);
        self.recent.extend_from_slice(bytes);
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// The bytes in memory from `place` on, a chunk of them.
    fn in_memory(&self, place: u64) -> Vec<u8> {
        let skipped = usize::try_from(place - self.recent_start()).unwrap_or(usize::MAX);
        let rest = self.recent.get(skipped..).unwrap_or_default();
        rest.get(..CHUNK_MAX.min(rest.len()))
            .unwrap_or_default()
            .to_vec()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// One who watches a command's output.
#[derive(Debug)]
pub(crate) struct Viewer {
    id: u64,
    output: Output,
    log: Option<File>,
}

impl Viewer {
    /// Waits for what comes next; `None` at the end.
    pub(crate) fn next(&self) -> Option<Vec<u8>> {
        let mut inner = self.output.lock();
        loop {
            let place = *inner.viewers.get(&self.id)?;
            if place == inner.end {
                if inner.ended {
                    return None;
                }
                inner = self.output.wait(inner);
                continue;
            }
            let (bytes, place) = if place >= inner.recent_start() {
                let bytes = inner.in_memory(place);
                let place = place + length(&bytes);
                (bytes, place)
            } else {
                let kept = inner.kept;
                drop(inner);
                let bytes = self.in_log(place, kept);
                inner = self.output.lock();
                match length(&bytes) {
                    0 => {
                        let next = inner.recent_start().max(place);
                        let gap = format!("\r\n[{} bytes were not kept]\r\n", next - place);
                        (gap.into_bytes(), next)
                    }
                    read => (bytes, place + read),
                }
            };
            inner.viewers.insert(self.id, place);
            drop(inner);
            self.output.0.changed.notify_all();
            return Some(bytes);
        }
    }

    /// A chunk of the log file from `place` on, which it has up to `kept`.
    fn in_log(&self, place: u64, kept: u64) -> Vec<u8> {
        let most = usize::try_from(kept.saturating_sub(place)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(CHUNK_MAX)];
        let read = self.log.as_ref().map(|log| log.read_at(&mut bytes, place));
        bytes.truncate(read.and_then(Result::ok).unwrap_or(0));
        bytes
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.output.lock().viewers.remove(&self.id);
        self.output.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rest(viewer: &Viewer) -> Vec<u8> {
        std::iter::from_fn(|| viewer.next()).flatten().collect()
    }

    /// Bytes that no shift by a chunk leaves the same.
    fn numbers() -> Vec<u8> {
        (0..=250).cycle().take(10 * RECENT_MAX).collect()
    }

    #[test]
    fn a_late_viewer_sees_what_came_before_and_the_end() {
        let output = Output::shown();
        output.pump(&b"hello"[..]);
        let late = output.watch(false);
        assert_eq!(late.next().unwrap(), b"hello");
        assert!(late.next().is_none());
    }

    #[test]
    fn a_viewer_that_does_not_read_misses_nothing_of_a_log_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "an earlier run\n").unwrap();
        let output = Output::logged(&log).unwrap();
        let slow = output.watch(true);
        let printed = numbers();
        output.pump(&printed[..]);
        assert_eq!(rest(&slow), printed);
        assert_eq!(rest(&output.watch(true)), printed);
        let late = rest(&output.watch(false));
        assert_eq!(late, printed[printed.len() - RECENT_MAX..]);
    }

    #[test]
    fn a_command_without_a_log_waits_for_its_viewer() {
        let output = Output::shown();
        let printed = numbers();
        let pump = {
            let (output, printed) = (output.clone(), printed.clone());
            std::thread::spawn(move || output.pump(&printed[..]))
        };
        // Even before the viewer has come.
        while !output.waits() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!pump.is_finished());
        assert_eq!(rest(&output.watch(false)), printed);
        pump.join().unwrap();
    }

    #[test]
    fn a_viewer_that_leaves_lets_the_command_go_on() {
        let output = Output::shown();
        let viewer = output.watch(true);
        let pump = {
            let output = output.clone();
            std::thread::spawn(move || output.pump(&vec![7; 10 * RECENT_MAX][..]))
        };
        while !output.waits() {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(viewer);
        pump.join().unwrap();
    }

    #[test]
    fn what_a_full_log_could_not_take_is_counted() {
        let output = Output::logged(Path::new("/dev/full")).unwrap();
        let viewer = output.watch(true);
        output.pump(&vec![b'x'; RECENT_MAX + 10][..]);
        let shown = rest(&viewer);
        assert!(shown.starts_with(b"\r\n[10 bytes were not kept]\r\n"));
        assert!(shown.ends_with(&vec![b'x'; RECENT_MAX]));
    }
}
