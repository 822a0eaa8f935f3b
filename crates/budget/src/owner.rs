//! Who holds a lease: a lock file that the kernel lets go of when its process
//! dies, however it does.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

/// A living owner's lock. Made and looked at only within a transaction of the
/// ledger, so that nobody sees it half made.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    path: PathBuf,
    _file: File,
}

impl OwnerLock {
    /// Makes and takes the lock of owner `number`.
    pub(crate) fn take(folder: &Path, number: i64) -> io::Result<Self> {
        let path = path(folder, number);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _file: file })
    }

    /// Lets go of it for good.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether the owner `number` is dead.
pub(crate) fn is_dead(folder: &Path, number: i64) -> io::Result<bool> {
    let file = match File::open(path(folder, number)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes what a dead owner left.
pub(crate) fn forget(folder: &Path, number: i64) -> io::Result<()> {
    match fs::remove_file(path(folder, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("owner-{number}.lock"))
}
