//! Caches of package managers, as a task meets them: what was there when it was
//! prepared, and what it writes on a layer of its own.
//!
//! A layer must not be laid over a folder in which names come and go (the
//! kernel's documentation of overlayfs), and a cache in use is one. So each is
//! copied first: as further names of the same files where that is possible.
//! Tasks share a copy until the cache has changed.

use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stockade_sandbox::{Access, Grant};

use crate::{
    error::SupervisorError,
    state::StateDirectory,
    task::{PLAN, Plan},
};

/// A package manager whose cache tasks can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Index and archives of crates.
    Cargo,
    /// Downloaded modules of Go.
    Go,
    /// Archives of npm's packages.
    Npm,
    /// Downloads and wheels of pip.
    Pip,
    /// Downloads and wheels of uv.
    Uv,
}

/// Where a package manager keeps what.
struct Layout {
    name: &'static str,
    /// The variable that names the folder, for the package manager.
    variable: &'static str,
    /// The folder without that variable, below the home.
    usual: &'static str,
    /// What of the folder is cache and not configuration, credentials or
    /// programs. A `*` stands for the version of a format.
    parts: &'static [&'static str],
}

/// Where the folders of caches are inside.
const INSIDE: &str = "/var/cache";
/// Longer than a removed task can be brought back.
const KEPT: Duration = Duration::from_hours(24 * 31);

impl Cache {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cargo, Self::Go, Self::Npm, Self::Pip, Self::Uv];

    fn layout(self) -> Layout {
        let (name, variable, usual, parts): (_, _, _, &[_]) = match self {
            Self::Cargo => {
                let parts = &["registry/index", "registry/cache"];
                ("cargo", "CARGO_HOME", ".cargo", parts)
            }
            Self::Go => ("go", "GOMODCACHE", "go/pkg/mod", &["cache/download"]),
            Self::Npm => ("npm", "npm_config_cache", ".npm", &["_cacache"]),
            Self::Pip => {
                let parts = &["http", "http-v2", "wheels"];
                ("pip", "PIP_CACHE_DIR", ".cache/pip", parts)
            }
            Self::Uv => {
                let parts = &["archive-v*", "simple-v*", "wheels-v*", "sdists-v*"];
                ("uv", "UV_CACHE_DIR", ".cache/uv", parts)
            }
        };
        Layout {
            name,
            variable,
            usual,
            parts,
        }
    }

    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// The variable that tells the package manager where its folder is.
    pub fn variable(self) -> &'static str {
        self.layout().variable
    }

    /// Where the folder is below `home` if no variable says otherwise.
    pub fn usual(self, home: &Path) -> PathBuf {
        home.join(self.layout().usual)
    }

    /// The folder inside.
    pub(crate) fn inside(self) -> PathBuf {
        Path::new(INSIDE).join(self.name())
    }

    /// Whether there is anything of it in `folder`.
    pub(crate) fn is_in(self, folder: &Path) -> bool {
        self.parts(folder).is_ok_and(|parts| !parts.is_empty())
    }

    /// What there is of it in `folder`, relative.
    fn parts(self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for part in self.layout().parts {
            match part.strip_suffix('*') {
                None if folder.join(part).is_dir() => found.push(part.into()),
                None => {}
                Some(format) => {
                    let names = entries(folder)?.into_iter().map(|entry| entry.file_name());
                    let of_format = names.filter(|name| name.to_string_lossy().starts_with(format));
                    found.extend(of_format.map(PathBuf::from));
                }
            }
        }
        Ok(found)
    }

    /// What a task whose own folders are in `layers` sees of the cache in
    /// `folder`.
    pub(crate) fn grant(
        self,
        state: &StateDirectory,
        folder: &Path,
        layers: &Path,
    ) -> Result<Grant, SupervisorError> {
        let copies = state.path().join("caches").join(self.name());
        let failed = |error: io::Error| {
            let text = format!(
                "the cache of {} in {}: {error}",
                self.name(),
                folder.display()
            );
            SupervisorError::Workspace(text)
        };
        Ok(Grant {
            source: layers.join(format!("cache-{}", self.name())),
            target: self.inside(),
            access: Access::ReadWrite,
            hidden: Vec::new(),
            over: Some(self.copy(state, folder, &copies).map_err(failed)?),
        })
    }

    /// A copy of `folder` as it is now, the newest in `copies` if that is one.
    fn copy(self, state: &StateDirectory, folder: &Path, copies: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(copies)?;
        let lock = File::create(copies.join("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        let stamp = self.stamp(folder)?;
        let newest = numbers(copies)?.into_iter().max().unwrap_or(0);
        let last = copies.join(newest.to_string());
        if fs::read_to_string(last.join("stamp")).is_ok_and(|known| known == stamp) {
            return Ok(last.join("tree"));
        }
        let unfinished = copies.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let links = Links {
            from: folder,
            to: &self.inside(),
        };
        for part in self.parts(folder)? {
            let tree = unfinished.join("tree");
            copy_folder(&folder.join(&part), &tree.join(part), links)?;
        }
        fs::write(unfinished.join("stamp"), stamp)?;
        let finished = copies.join((newest + 1).to_string());
        fs::rename(&unfinished, &finished)?;
        forget(state, copies, newest + 1)?;
        Ok(finished.join("tree"))
    }

    /// Changes whenever a name in the cache comes or goes.
    fn stamp(self, folder: &Path) -> io::Result<String> {
        let mut digest = Sha256::new();
        for part in self.parts(folder)? {
            stamp_folder(&folder.join(part), &mut digest)?;
        }
        Ok(hex::encode(digest.finalize()))
    }
}

/// The numbers of the copies.
fn numbers(copies: &Path) -> io::Result<Vec<u64>> {
    let entries = fs::read_dir(copies)?.collect::<io::Result<Vec<_>>>()?;
    let names = entries.iter().map(fs::DirEntry::file_name);
    Ok(names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect())
}

/// Removes copies that no task has, and none that can be brought back.
fn forget(state: &StateDirectory, copies: &Path, newest: u64) -> io::Result<()> {
    let tasks = state.tasks().unwrap_or_default();
    let plans = tasks.iter().filter_map(|task| task.read::<Plan>(PLAN).ok());
    let used: Vec<_> = plans
        .flat_map(|plan| plan.sandbox.grants)
        .filter_map(|grant| grant.over)
        .collect();
    for number in numbers(copies)? {
        let copy = copies.join(number.to_string());
        let age = SystemTime::now().duration_since(fs::metadata(&copy)?.modified()?);
        let old = age.is_ok_and(|age| age > KEPT);
        if number != newest && old && !used.contains(&copy.join("tree")) {
            fs::remove_dir_all(&copy)?;
        }
    }
    Ok(())
}

/// The entries of a folder by name; none where there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let mut entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// Adds the folders below `folder`, each with the time at which a name last
/// came or went.
fn stamp_folder(folder: &Path, digest: &mut Sha256) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(folder) else {
        return Ok(());
    };
    digest.update(folder.as_os_str().as_bytes());
    digest.update([0]);
    digest.update(found.mtime().to_le_bytes());
    digest.update(found.mtime_nsec().to_le_bytes());
    for entry in entries(folder)? {
        if entry.file_type()?.is_dir() {
            stamp_folder(&entry.path(), digest)?;
        }
    }
    Ok(())
}

/// Where links into a cache lead, on the host and inside.
#[derive(Clone, Copy)]
struct Links<'a> {
    from: &'a Path,
    to: &'a Path,
}

/// Copies folders, files, and links that stay within the cache.
fn copy_folder(from: &Path, to: &Path, links: Links<'_>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in entries(from)? {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&from, &to, links)?;
        } else if kind.is_file() {
            copy_file(&from, &to)?;
        } else if kind.is_symlink() {
            copy_link(&from, &to, links)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    match fs::copy(from, to) {
        // What went meanwhile, or is not for this user, is not in the copy.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        copied => copied.map(|_| ()),
    }
}

fn copy_link(from: &Path, to: &Path, links: Links<'_>) -> io::Result<()> {
    let target = fs::read_link(from)?;
    let target = match target.strip_prefix(links.from) {
        Ok(below) => links.to.join(below),
        Err(_) if target.is_absolute() => return Ok(()),
        Err(_) => target,
    };
    std::os::unix::fs::symlink(target, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_copy_is_shared_until_a_name_comes_or_goes_and_holds_the_cache_alone() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(Some(place.path().join("state")), None, None).unwrap();
        let folder = place.path().join("cargo");
        write(&folder.join("credentials.toml"), "decoy");
        write(&folder.join("registry/cache/index/a-1.crate"), "a");
        let link = |to: &Path, name: &str| {
            std::os::unix::fs::symlink(to, folder.join("registry/cache").join(name)).unwrap();
        };
        link(Path::new("/etc"), "away");
        link(&folder.join("registry/cache/index"), "within");
        let seen = |name: &str| {
            let grant = Cache::Cargo.grant(&state, &folder, place.path()).unwrap();
            let tree = grant.over.unwrap();
            (fs::read_to_string(tree.join(name)).ok(), tree)
        };
        let (text, first) = seen("registry/cache/index/a-1.crate");
        assert_eq!(text.as_deref(), Some("a"));
        assert_eq!(seen("credentials.toml").0, None);
        let led = |name| fs::read_link(first.join("registry/cache").join(name)).ok();
        assert_eq!(led("away"), None);
        let within = "/var/cache/cargo/registry/cache/index";
        assert_eq!(led("within"), Some(PathBuf::from(within)));
        assert_eq!(seen("").1, first);
        write(&folder.join("registry/cache/index/b-1.crate"), "b");
        let (text, second) = seen("registry/cache/index/b-1.crate");
        assert_eq!(text.as_deref(), Some("b"));
        assert_ne!(second, first);
        assert!(!first.join("registry/cache/index/b-1.crate").exists());
    }
}
