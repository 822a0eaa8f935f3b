//! The output of a command: to a file, bounded, and to whoever watches.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Instant,
};

/// The most that a log file takes, in bytes. What comes after is shown to
/// those who watch and counted, but not kept.
const LOG_MAX: u64 = 64 << 20;
/// What a new viewer sees of what came before, in bytes.
const RECENT_MAX: usize = 64 * 1024;
/// How many chunks a viewer may be behind before it is let go.
const BEHIND_MAX: usize = 1024;

/// Where one command's output goes.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    log: Option<File>,
    logged: u64,
    recent: Vec<u8>,
    viewers: Vec<SyncSender<Vec<u8>>>,
    /// When something was last printed.
    last: Option<Instant>,
    ended: bool,
}

impl Output {
    /// Output that is kept in `log`, appended to what is there.
    pub(crate) fn logged(log: &Path) -> io::Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        let logged = log.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Inner {
            log: Some(log),
            logged,
            ..Inner::default()
        }))))
    }

    /// Output that only viewers see.
    pub(crate) fn shown() -> Self {
        Self(Arc::default())
    }

    /// Copies everything from `source` until its end.
    pub(crate) fn pump(&self, mut source: impl Read) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.push(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal without a process at its other end: EIO.
                Err(_) => break,
            }
        }
        self.finish();
    }

    /// Lets every viewer go; nothing more will be shown.
    pub(crate) fn finish(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.viewers.clear();
    }

    fn push(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.last = Some(Instant::now());
        let room = LOG_MAX.saturating_sub(inner.logged);
        let kept = bytes.get(..usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        inner.logged = inner.logged.saturating_add(length);
        if let (Some(log), Some(kept)) = (&mut inner.log, kept) {
            // A full disk loses the log of what was printed, not the task.
            let _ = log.write_all(kept);
        }
        inner.recent.extend_from_slice(bytes);
        let surplus = inner.recent.len().saturating_sub(RECENT_MAX);
        inner.recent.drain(..surplus);
        inner.viewers.retain(|viewer| {
            !matches!(
                viewer.try_send(bytes.to_vec()),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
            )
        });
    }

    /// When something was last printed, if anything was.
    pub(crate) fn last_printed(&self) -> Option<Instant> {
        self.lock().last
    }

    /// What was printed last, and everything from now on.
    pub(crate) fn watch(&self) -> Receiver<Vec<u8>> {
        let (sender, receiver) = sync_channel(BEHIND_MAX);
        let mut inner = self.lock();
        if !inner.recent.is_empty() {
            let _ = sender.try_send(inner.recent.clone());
        }
        if !inner.ended {
            inner.viewers.push(sender);
        }
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_viewer_sees_what_came_before_and_the_end() {
        let output = Output::shown();
        output.pump(&b"hello"[..]);
        let late = output.watch();
        assert_eq!(late.recv().unwrap(), b"hello");
        assert!(late.recv().is_err());
    }

    #[test]
    fn a_viewer_that_does_not_read_is_let_go_and_holds_nobody_up() {
        let output = Output::shown();
        let stuck = output.watch();
        for _ in 0..=BEHIND_MAX {
            output.push(b"x");
        }
        assert!(output.lock().viewers.is_empty());
        drop(stuck);
    }
}
