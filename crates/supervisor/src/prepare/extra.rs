//! Folders and files of the host that a person lets a task see beyond the
//! usual: remembered for each repository.

use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use stockade_sandbox::{Access, Grant, files::secrets_below};
use stockade_workspace::Repository;

use super::Host;
use crate::{
    caches::Cache,
    error::SupervisorError,
    state::{StateDirectory, read_json, write_json},
    task::FORMAT,
};

/// Paths of the host beyond the usual, and files of the repository that are
/// hidden beyond the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraPaths {
    /// The version of the file.
    pub format: u32,
    /// What may be read.
    pub read: Vec<PathBuf>,
    /// What may be changed; it changes at once, without review.
    pub write: Vec<PathBuf>,
    /// Patterns of files whose content is hidden.
    pub hide: Vec<String>,
    /// Package managers whose caches it may use.
    #[serde(default)]
    pub caches: Vec<Cache>,
}

/// Places that belong to the kernel, to services or to nobody: sockets and
/// devices there lead past every wall.
const NEVER: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/var/run"];

impl ExtraPaths {
    /// What is wanted now, on top of what is `remembered`; each path absolute,
    /// without links, once.
    pub(super) fn with(
        &self,
        remembered: Self,
        host: &Host,
        repository: &Repository,
    ) -> Result<Self, SupervisorError> {
        let whole = |paths: &[PathBuf]| {
            let paths = paths.iter().map(|path| {
                let real = check(path, host)?;
                if touch(&real, repository.worktree()) {
                    let reason = "the task works on a copy of that repository, which comes back \
                                  by review";
                    return Err(cannot_be_shown(path, reason));
                }
                Ok(real)
            });
            paths.collect::<Result<Vec<_>, _>>()
        };
        let merged = |mut old: Vec<PathBuf>, new: Vec<PathBuf>| {
            // What is gone since then is forgotten, not an error.
            old.retain(|path| path.exists());
            old.extend(new);
            old.sort();
            old.dedup();
            old
        };
        let write = merged(remembered.write, whole(&self.write)?);
        let mut read = merged(remembered.read, whole(&self.read)?);
        // Asked for anew, a path is what it was asked for last.
        let write: Vec<_> = write
            .into_iter()
            .filter(|path| !self.asks_to_read(path))
            .collect();
        read.retain(|path| !write.contains(path));
        let mut hide = remembered.hide;
        hide.extend(self.hide.iter().cloned());
        hide.sort();
        hide.dedup();
        let mut caches = remembered.caches;
        caches.retain(|cache| host.cache(*cache).is_some());
        for cache in &self.caches {
            if host.cache(*cache).is_none() {
                return Err(no_cache(*cache, host));
            }
        }
        caches.extend(&self.caches);
        caches.sort();
        caches.dedup();
        Ok(Self {
            format: FORMAT,
            read,
            write,
            hide,
            caches,
        })
    }

    /// What a program is shown that belongs to no task: nothing of it is remembered.
    pub(crate) fn alone(
        read: &[PathBuf],
        write: &[PathBuf],
        host: &Host,
    ) -> Result<Self, SupervisorError> {
        let whole = |paths: &[PathBuf]| {
            let paths = paths.iter().map(|path| check(path, host));
            paths.collect::<Result<Vec<_>, _>>()
        };
        let write = whole(write)?;
        let mut read = whole(read)?;
        read.retain(|path| !write.contains(path));
        Ok(Self {
            format: FORMAT,
            read,
            write,
            ..Self::default()
        })
    }

    fn asks_to_read(&self, path: &Path) -> bool {
        let same = |asked: &PathBuf| fs::canonicalize(asked).is_ok_and(|asked| asked == path);
        self.read.iter().any(same) && !self.write.iter().any(same)
    }

    /// The grants, at the same paths inside, known secrets in them hidden.
    pub(crate) fn grants(&self, hidden: &[PathBuf]) -> Vec<Grant> {
        let grant = |path: &PathBuf, access| Grant {
            source: path.clone(),
            target: path.clone(),
            access,
            hidden: secrets_below(path, hidden),
            over: None,
        };
        let read = self.read.iter().map(|path| grant(path, Access::ReadOnly));
        let write = self.write.iter().map(|path| grant(path, Access::ReadWrite));
        read.chain(write).collect()
    }

    /// What is remembered for a repository.
    pub(crate) fn remembered(state: &StateDirectory, repository: &str) -> Self {
        read_json(&state.project_paths(repository)).unwrap_or_default()
    }

    /// Remembers it for the next task of the repository.
    pub fn remember(
        &self,
        state: &StateDirectory,
        repository: &str,
    ) -> Result<(), SupervisorError> {
        let path = state.project_paths(repository);
        let nothing = Self {
            format: self.format,
            ..Self::default()
        };
        if *self == nothing {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(SupervisorError::state(&path)(error))
                }
                _ => Ok(()),
            };
        }
        write_json(&path, self)
    }
}

fn no_cache(cache: Cache, host: &Host) -> SupervisorError {
    let folders = host.caches.iter().filter(|(known, _)| *known == cache);
    let folders: Vec<_> = folders
        .map(|(_, folder)| folder.display().to_string())
        .collect();
    SupervisorError::Refused(format!(
        "there is no cache of {} in `{}`; say where it is with {}",
        cache.name(),
        folders.join("`, `"),
        cache.variable()
    ))
}

fn cannot_be_shown(path: &Path, reason: &str) -> SupervisorError {
    let path = path.display();
    SupervisorError::Refused(format!("`{path}` cannot be shown inside: {reason}"))
}

/// Whether one of the paths is in the other.
fn touch(real: &Path, other: &Path) -> bool {
    let other = fs::canonicalize(other).unwrap_or_else(|_| other.to_owned());
    other.starts_with(real) || real.starts_with(&other)
}

/// A path that may be shown inside, as it really is.
fn check(path: &Path, host: &Host) -> Result<PathBuf, SupervisorError> {
    let refuse = |reason: &str| Err(cannot_be_shown(path, reason));
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) => return refuse(&error.to_string()),
    };
    let kind = match fs::symlink_metadata(&real) {
        Ok(found) => found.file_type(),
        Err(error) => return refuse(&error.to_string()),
    };
    if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
        return refuse("it leads to another process or a device, past every wall");
    }
    if real == Path::new("/") || NEVER.iter().any(|place| real.starts_with(place)) {
        return refuse("everything on this machine would be in sight");
    }
    let home = host
        .home
        .as_deref()
        .and_then(|home| fs::canonicalize(home).ok());
    if home.is_some_and(|home| home.starts_with(&real)) {
        return refuse("your home is in it; name the folders that are needed");
    }
    if touch(&real, host.state.path()) {
        return refuse("Stockade keeps its own state there");
    }
    Ok(real)
}
