use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::error::AgentError;

/// The version of the cache's own format; another one is an empty cache.
const FORMAT: u32 = 1;
/// The longest cache that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// How many files are remembered; with more the cache starts anew.
const MAX_ENTRIES: usize = 256;
/// How long ago a file's last change must be before it is remembered: two
/// changes within one tick of the file system's clock look like one.
const SETTLED: Duration = Duration::from_secs(2);

/// Digests of large programs, remembered until the file changes, so that a
/// start does not read hundreds of megabytes.
///
/// A file counts as unchanged while device, inode, size, modification and
/// change time stay the same. Nobody but root can set a change time, so only
/// who can write the cache itself, in the user's own state directory, can
/// make it lie.
#[derive(Debug)]
pub struct DigestCache {
    path: Option<PathBuf>,
    settled: Duration,
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    identity: Identity,
    sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Identity {
    /// Time since the last change; none for a time in the future.
    fn age(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        let seconds = u64::try_from(seconds).unwrap_or_default();
        let nanoseconds = u64::try_from(nanoseconds).unwrap_or_default();
        let changed = Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
        SystemTime::UNIX_EPOCH
            .checked_add(changed)
            .and_then(|changed| SystemTime::now().duration_since(changed).ok())
            .unwrap_or_default()
    }
}

impl Default for DigestCache {
    /// A cache that lasts as long as the value.
    fn default() -> Self {
        Self {
            path: None,
            settled: SETTLED,
            entries: BTreeMap::new(),
        }
    }
}

impl DigestCache {
    /// The cache in the file `path`, empty if there is none or it is not one.
    pub fn open(path: &Path) -> Self {
        let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= MAX_BYTES);
        let stored = small
            .then(|| fs::read(path).ok())
            .flatten()
            .and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
            .filter(|stored| stored.format == FORMAT);
        let entries = stored.map(|stored| stored.entries).unwrap_or_default();
        Self {
            path: Some(path.to_owned()),
            settled: SETTLED,
            entries,
        }
    }

    /// The digest of `file`: the remembered one, or what `compute` says.
    pub(crate) fn get(
        &mut self,
        file: &Path,
        compute: impl FnOnce() -> Result<String, AgentError>,
    ) -> Result<String, AgentError> {
        let identity = || {
            fs::metadata(file)
                .map(|metadata| Identity::of(&metadata))
                .map_err(|source| AgentError::Read {
                    path: file.to_owned(),
                    source,
                })
        };
        let before = identity()?;
        if let Some(entry) = self
            .entries
            .get(file)
            .filter(|entry| entry.identity == before)
        {
            return Ok(entry.sha256.clone());
        }
        let sha256 = compute()?;
        // A file that changed while it was read is not remembered.
        if identity()? == before && before.age() >= self.settled {
            if self.entries.len() >= MAX_ENTRIES {
                self.entries.clear();
            }
            let entry = Entry {
                identity: before,
                sha256: sha256.clone(),
            };
            self.entries.insert(file.to_owned(), entry);
            // Without a cache the next start is slower, nothing else.
            let _ = self.store();
        }
        Ok(sha256)
    }

    fn store(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let stored = Stored {
            format: FORMAT,
            entries: self.entries.clone(),
        };
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        serde_json::to_writer(file, &stored)?;
        fs::rename(fresh, path)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The digest by way of the cache file, and whether it was computed.
    fn ask(directory: &TempDir, settled: Duration) -> (String, bool) {
        let file = directory.path().join("program");
        let mut computed = false;
        let cache = DigestCache::open(&directory.path().join("cache"));
        let digest = DigestCache { settled, ..cache }
            .get(&file, || {
                computed = true;
                crate::digest::of_file(&file)
            })
            .unwrap();
        (digest, computed)
    }

    #[test]
    fn a_digest_is_computed_once_and_again_after_any_change() {
        let directory = TempDir::new().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "one").unwrap();
        let (first, computed) = ask(&directory, Duration::ZERO);
        assert!(computed);
        assert_eq!(ask(&directory, Duration::ZERO), (first.clone(), false));

        // The same length and the old modification time, as an attacker would
        // leave it: the change time tells, once the clock has ticked.
        let old = fs::metadata(&program).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while Identity::of(&fs::metadata(&program).unwrap()) == Identity::of(&old) {
            assert!(
                std::time::Instant::now() < deadline,
                "the change time stands still"
            );
            fs::write(&program, "two").unwrap();
            let file = fs::File::options().write(true).open(&program).unwrap();
            file.set_modified(old.modified().unwrap()).unwrap();
        }
        let (second, computed) = ask(&directory, Duration::ZERO);
        assert!(computed);
        assert_ne!(second, first);
    }

    #[test]
    fn a_file_that_was_just_written_is_not_remembered() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("program"), "one").unwrap();
        for _ in 0..2 {
            assert!(ask(&directory, Duration::from_hours(1)).1);
        }
    }

    #[test]
    fn a_damaged_cache_is_an_empty_one() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("program"), "one").unwrap();
        let (first, _) = ask(&directory, Duration::ZERO);
        for content in ["", "{", r#"{"format":99,"entries":{}}"#] {
            fs::write(directory.path().join("cache"), content).unwrap();
            assert_eq!(
                ask(&directory, Duration::ZERO),
                (first.clone(), true),
                "{content}"
            );
        }
    }
}
