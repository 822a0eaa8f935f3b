//! Files that are their owner's alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::error::VaultError;

/// The largest file of the vault, in bytes.
const SIZE_MAX: u64 = 4 << 20;

/// The content of `path`, if there is such a file. One that others could have
/// written is refused.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VaultError::file(path)(error)),
    };
    let found = file.metadata().map_err(VaultError::file(path))?;
    let own = rustix::process::geteuid().as_raw();
    if found.mode() & 0o022 != 0 || ![own, 0].contains(&found.uid()) {
        return Err(VaultError::Writable(path.to_owned()));
    }
    let mut content = Zeroizing::new(Vec::new());
    let read = file.take(SIZE_MAX + 1).read_to_end(&mut content);
    read.map_err(VaultError::file(path))?;
    if content.len() as u64 > SIZE_MAX {
        return Err(VaultError::Format {
            path: path.to_owned(),
            reason: format!("it is larger than {SIZE_MAX} bytes"),
        });
    }
    Ok(Some(content))
}

/// Writes `content` wholly or not at all, readable by its owner alone.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let beside = path.with_extension(format!("new{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&beside);
        VaultError::file(path)(error)
    })
}

/// Held while a file of the vault is read and written again.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

/// Waits until nobody else changes the files of `folder`, which is made.
pub(crate) fn lock(folder: &Path) -> Result<Lock, VaultError> {
    let path = folder.join("secrets.lock");
    let lock = || -> io::Result<File> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    lock().map(Lock).map_err(VaultError::file(&path))
}
