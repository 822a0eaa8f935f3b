use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{note::NoteError, record::MAX_EVENT_BYTES};

/// Why a log could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log could not be opened or created.
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
    /// The log does not fit together, so nothing is added to it.
    #[error("the log {path} is damaged ({reason}); see `stockade audit verify`")]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// The checkpoint is not one that this machine's key signed.
    #[error("the checkpoint {path} cannot be trusted; see `stockade audit verify`")]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// Why not.
        source: NoteError,
    },
    /// The key that signs checkpoints cannot be used.
    #[error("the key {path} cannot be used; the host log that it signed needs it back")]
    Key {
        /// The file of the key.
        path: PathBuf,
        /// Why not.
        source: NoteError,
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

impl LogError {
    /// An error of the system while the log at `path` was opened.
    pub(crate) fn open(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match Self::write(&path)(source) {
            Self::Write { path, source } => Self::Open { path, source },
            full => full,
        }
    }

    /// An error of the system while the log at `path` was written.
    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| {
            let path = path.clone();
            match source.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
                _ => Self::Write { path, source },
            }
        }
    }

    pub(crate) fn damaged(path: &Path, reason: &'static str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason,
        }
    }
}
