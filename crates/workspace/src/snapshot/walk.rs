use std::{collections::HashSet, io, os::unix::ffi::OsStrExt, path::Path};

use rustix::{
    fs::{AtFlags, Dir, FileType, Stat, statat},
    io::Errno,
};

use super::{
    Skipped, SnapshotLimits,
    baseline::{Baseline, Tracked, read_short},
    ignored::{IGNORE_FILE_BYTES, Rules, is_cache},
};
use crate::{
    beneath::{self, Beneath},
    path::{TreePath, names_git_directory},
};

/// A file or link to save.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) path: TreePath,
    pub(super) link: bool,
    pub(super) executable: bool,
    pub(super) ignored: bool,
}

/// What a walk met.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) puts: Vec<Put>,
    /// Paths of the base, folders among them, that are gone.
    pub(super) deletes: Vec<TreePath>,
    pub(super) caches: Vec<TreePath>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) skipped_more: u64,
}

impl Found {
    pub(super) fn skip(
        &mut self,
        limits: &SnapshotLimits,
        path: TreePath,
        reason: impl Into<String>,
    ) {
        if self.skipped.len() < limits.reasons {
            self.skipped.push(Skipped {
                path,
                reason: reason.into(),
            });
        } else {
            self.skipped_more += 1;
        }
    }
}

/// The walk over what an agent can write.
///
/// Every name is hostile and may change under the walk. A folder is entered
/// by descriptor, one component at a time, never through a link; nothing is
/// opened but folders and regular files, and those without blocking.
pub(super) struct Walk<'a> {
    root: &'a Beneath,
    baseline: &'a Baseline,
    limits: &'a SnapshotLimits,
    submodules: HashSet<&'a TreePath>,
    met: HashSet<TreePath>,
    entries: usize,
    bytes: u64,
    ignored_bytes: u64,
    found: Found,
}

/// The folder being walked.
struct Place<'p> {
    folder: &'p Beneath,
    path: Option<&'p TreePath>,
    rules: Rules,
    ignored: bool,
    /// The overlay shows nothing of the layer below here.
    opaque: bool,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: &'a Beneath,
        baseline: &'a Baseline,
        limits: &'a SnapshotLimits,
        submodules: &'a [TreePath],
    ) -> Self {
        Self {
            root,
            baseline,
            limits,
            submodules: submodules.iter().collect(),
            met: HashSet::new(),
            entries: 0,
            bytes: 0,
            ignored_bytes: 0,
            found: Found::default(),
        }
    }

    pub(super) fn run(mut self) -> Found {
        let place = Place {
            folder: self.root,
            path: None,
            rules: Rules::default(),
            ignored: false,
            opaque: false,
            depth: 0,
        };
        self.folder(place);
        let baseline = self.baseline;
        for path in baseline.expected() {
            if self.met.contains(path) {
                continue;
            }
            // Not met is not proof: a folder may have been unreadable.
            match self.root.stat(path.as_path()) {
                Ok(None) => self.found.deletes.push(path.clone()),
                Ok(Some(_)) => {}
                Err(error) => self.skip(path.clone(), unreadable(&error)),
            }
        }
        self.found
    }

    fn skip(&mut self, path: TreePath, reason: impl Into<String>) {
        self.found.skip(self.limits, path, reason);
    }

    fn folder(&mut self, mut place: Place<'_>) {
        let names = match self.names(place.folder) {
            Ok(names) => names,
            Err(error) => {
                if let Some(path) = place.path {
                    self.skip(path.clone(), unreadable(&error));
                }
                return;
            }
        };
        let own = read_short(place.folder, Path::new(".gitignore"), IGNORE_FILE_BYTES);
        let replaced = names.iter().any(|name| name == b".gitignore");
        let below = || self.baseline.ignore_file(place.path, IGNORE_FILE_BYTES);
        let text = own.or_else(|| {
            if replaced || place.opaque {
                None
            } else {
                below()
            }
        });
        if let Some(text) = text {
            place.rules = place.rules.with(place.path, &text);
        }
        for name in names {
            let path = match place.path {
                Some(folder) => folder.join(&name),
                None => match TreePath::new(name.as_slice()) {
                    Ok(path) => path,
                    Err(_) => continue,
                },
            };
            self.entry(&place, path, &name);
        }
    }

    /// The names in a folder, sorted, as far as the limit allows.
    fn names(&mut self, folder: &Beneath) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder.descriptor())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(io::Error::other(format!(
                    "more than {} files and folders changed",
                    self.limits.entries
                )));
            }
            names.push(name.to_vec());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn entry(&mut self, place: &Place<'_>, path: TreePath, name: &[u8]) {
        let stat = match statat(
            place.folder.descriptor(),
            std::ffi::OsStr::from_bytes(name),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return,
            Err(error) => return self.skip(path, unreadable(&error.into())),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if names_git_directory(name) {
            // The tree's own `.git` file is Stockade's, and pinned.
            let own = place.path.is_none() && name == b".git" && kind == FileType::RegularFile;
            if !own && !is_whiteout(&stat) {
                self.skip(
                    path,
                    "its name could be taken for a git repository's own files",
                );
            }
            return;
        }
        if path.as_bytes().len() > self.limits.path_bytes {
            return self.skip(
                path,
                format!("its path is longer than {} bytes", self.limits.path_bytes),
            );
        }
        if !self.baseline.is_overlay() && self.baseline.tracked(&path) == Tracked::File {
            self.met.insert(path.clone());
        }
        match kind {
            FileType::Directory => self.enter(place, path, name),
            FileType::RegularFile if self.is_marked_deleted(place, name, &stat) => {
                self.deleted(place, path);
            }
            FileType::RegularFile | FileType::Symlink => self.put(place, path, kind, &stat),
            FileType::CharacterDevice if self.baseline.is_overlay() && is_whiteout(&stat) => {
                self.deleted(place, path);
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.skip(path, "it is a device");
            }
            FileType::Fifo => self.skip(path, "it is a named pipe"),
            FileType::Socket => self.skip(path, "it is a socket"),
            FileType::Unknown => self.skip(path, "it is neither a file nor a link"),
        }
    }

    fn enter(&mut self, place: &Place<'_>, path: TreePath, name: &[u8]) {
        let folder = match place
            .folder
            .folder(Path::new(std::ffi::OsStr::from_bytes(name)))
        {
            Ok(folder) => folder,
            Err(error) => return self.skip(path, unreadable(&error)),
        };
        if self.submodules.contains(&path) {
            if self.names(&folder).is_ok_and(|names| !names.is_empty()) {
                self.skip(
                    path,
                    "it is inside a submodule, whose files are not part of this repository",
                );
            }
            return;
        }
        if place.depth >= self.limits.depth {
            return self.skip(
                path,
                format!("it is more than {} folders deep", self.limits.depth),
            );
        }
        let tracked = self.baseline.tracked(&path);
        let ignored = place.ignored || (tracked == Tracked::No && place.rules.ignores(&path, true));
        if ignored && tracked == Tracked::No && is_cache(name) {
            return self.found.caches.push(path);
        }
        let mark = |name| beneath::attribute(folder.descriptor(), name).is_some_and(|v| v == b"y");
        let marked = self.baseline.is_overlay()
            && (mark("user.overlay.opaque") || mark("trusted.overlay.opaque"));
        // A folder in place of a file, or a new folder in place of a deleted
        // one: whatever the base has there goes first.
        if !place.opaque && (tracked == Tracked::File || (marked && tracked == Tracked::Folder)) {
            self.found.deletes.push(path.clone());
        }
        self.folder(Place {
            folder: &folder,
            path: Some(&path),
            rules: place.rules.clone(),
            ignored,
            opaque: place.opaque || marked || tracked != Tracked::Folder,
            depth: place.depth + 1,
        });
    }

    /// The other form of an overlay's whiteout: an empty file with a mark.
    fn is_marked_deleted(&self, place: &Place<'_>, name: &[u8], stat: &Stat) -> bool {
        if !self.baseline.is_overlay() || stat.st_size != 0 {
            return false;
        }
        let Ok((file, _)) = place
            .folder
            .file(Path::new(std::ffi::OsStr::from_bytes(name)))
        else {
            return false;
        };
        ["user.overlay.whiteout", "trusted.overlay.whiteout"]
            .iter()
            .any(|mark| beneath::attribute(&file, mark).is_some())
    }

    fn deleted(&mut self, place: &Place<'_>, path: TreePath) {
        if !place.opaque && self.baseline.tracked(&path) != Tracked::No {
            self.found.deletes.push(path);
        }
    }

    fn put(&mut self, place: &Place<'_>, path: TreePath, kind: FileType, stat: &Stat) {
        if self.baseline.unchanged(&path, stat) {
            return;
        }
        let tracked = self.baseline.tracked(&path);
        let ignored =
            tracked != Tracked::File && (place.ignored || place.rules.ignores(&path, false));
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size > self.limits.file_bytes {
            let reason = format!(
                "it has {size} bytes, more than the {} a file may",
                self.limits.file_bytes
            );
            return self.skip(path, reason);
        }
        let (used, limit, what) = if ignored {
            (
                &mut self.ignored_bytes,
                self.limits.ignored_bytes,
                "ignored",
            )
        } else {
            (&mut self.bytes, self.limits.total_bytes, "changed")
        };
        if *used + size > limit {
            return self.skip(
                path,
                format!("the {what} files have more than {limit} bytes together"),
            );
        }
        *used += size;
        // Only the owner's right to run it counts, as in git; set-user-id and
        // set-group-id bits do not travel.
        let executable = stat.st_mode & 0o100 != 0;
        let link = kind == FileType::Symlink;
        self.found.puts.push(Put {
            path,
            link,
            executable,
            ignored,
        });
    }
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn unreadable(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}
