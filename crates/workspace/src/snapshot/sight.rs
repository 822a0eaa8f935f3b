//! What changed in a tree between two moments, told from what the file system
//! says of each file and without reading any.

use std::{collections::HashMap, io, os::unix::ffi::OsStrExt, path::Path};

use rustix::{
    fs::{AtFlags, Dir, FileType, statat},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    SnapshotError,
    baseline::{Baseline, Tracked},
    walk::is_whiteout,
};
use stockade_types::visible;

use crate::{
    beneath::{self, Beneath},
    files::failed,
    manifest::Stamp,
    path::TreePath,
    task::TaskSpace,
};

/// The most files, links and folders that are looked at.
const ENTRIES_MAX: usize = 200_000;
/// The most folders inside one another.
const DEPTH_MAX: usize = 128;
/// The most paths that are listed of each kind.
const LISTED_MAX: usize = 1_000;

/// How a tree looked at a moment.
#[derive(Debug)]
pub struct TreeSight {
    baseline: Baseline,
    seen: HashMap<TreePath, Seen>,
    /// Whether nothing was left out.
    complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// A file, a link, or what is neither and no folder.
    File(Stamp),
    /// The overlay hides what the base has there.
    Whiteout,
    /// A folder; if `opaque`, the overlay shows nothing of the base in it.
    Folder { opaque: bool },
}

/// What changed: files, links and the like by their paths, safe to show, and
/// folders of the base that are gone as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeChanges {
    /// Were not there before.
    pub created: Vec<String>,
    /// Have another content, mode or time.
    pub modified: Vec<String>,
    /// Are no longer there.
    pub deleted: Vec<String>,
    /// How many more there are than are listed.
    pub more: u64,
    /// Whether everything was looked at; a very large or deep tree is not.
    pub complete: bool,
}

impl TaskSpace {
    /// Looks at the tree. The cost grows with what the task has changed so
    /// far (overlay), or with the number of files (checkout).
    pub fn look(&self) -> Result<TreeSight, SnapshotError> {
        let folder = self.writable_tree();
        let root = Beneath::open(&folder).map_err(failed("open", &folder))?;
        let mut sight = TreeSight {
            baseline: Baseline::of(self)?,
            seen: HashMap::new(),
            complete: true,
        };
        sight.folder(&root, None, 0);
        Ok(sight)
    }
}

impl TreeSight {
    fn folder(&mut self, folder: &Beneath, path: Option<&TreePath>, depth: usize) {
        if depth > DEPTH_MAX || self.entries(folder, path, depth).is_err() {
            self.complete = false;
        }
    }

    fn entries(
        &mut self,
        folder: &Beneath,
        path: Option<&TreePath>,
        depth: usize,
    ) -> io::Result<()> {
        for entry in Dir::read_from(folder.descriptor())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.seen.len() >= ENTRIES_MAX {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let path = match path {
                Some(folder) => folder.join(name),
                None => TreePath::new(name).map_err(io::Error::other)?,
            };
            let name = Path::new(std::ffi::OsStr::from_bytes(name));
            let stat = match statat(folder.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let overlay = self.baseline.is_overlay();
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let Ok(inner) = folder.folder(name) else {
                    self.complete = false;
                    continue;
                };
                let mark = |name| {
                    beneath::attribute(inner.descriptor(), name).is_some_and(|mark| mark == b"y")
                };
                let opaque =
                    overlay && (mark("user.overlay.opaque") || mark("trusted.overlay.opaque"));
                self.seen.insert(path.clone(), Seen::Folder { opaque });
                self.folder(&inner, Some(&path), depth + 1);
            } else if overlay && is_whiteout(&stat) {
                self.seen.insert(path, Seen::Whiteout);
            } else {
                self.seen.insert(path, Seen::File(Stamp::of(&stat)));
            }
        }
        Ok(())
    }

    /// What is different in `later`, a later look at the same tree.
    pub fn changes(&self, later: &Self) -> TreeChanges {
        let mut changes = TreeChanges {
            complete: self.complete && later.complete,
            ..TreeChanges::default()
        };
        let mut paths: Vec<_> = self.seen.keys().chain(later.seen.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let (before, now) = (self.seen.get(path), later.seen.get(path));
            if before == now {
                continue;
            }
            let list = match (self.has_file(path, before), later.has_file(path, now)) {
                (_, _) if self.is_unchanged_copy(path, before, now) => continue,
                (false, true) => &mut changes.created,
                (true, true) => &mut changes.modified,
                (true, false) => &mut changes.deleted,
                (false, false) if self.had_folder(path, before) && hides_folder(now) => {
                    &mut changes.deleted
                }
                (false, false) => continue,
            };
            if list.len() < LISTED_MAX {
                list.push(visible::line(path.as_bytes()));
            } else {
                changes.more += 1;
            }
        }
        changes
    }

    fn has_file(&self, path: &TreePath, seen: Option<&Seen>) -> bool {
        match seen {
            Some(seen) => matches!(seen, Seen::File(_)),
            None => self.shows_base(path) && self.baseline.tracked(path) == Tracked::File,
        }
    }

    fn had_folder(&self, path: &TreePath, seen: Option<&Seen>) -> bool {
        match seen {
            Some(Seen::Folder { opaque }) => {
                !opaque
                    && self.baseline.is_overlay()
                    && self.baseline.tracked(path) == Tracked::Folder
            }
            Some(_) => false,
            None => self.shows_base(path) && self.baseline.tracked(path) == Tracked::Folder,
        }
    }

    /// Whether the overlay shows what the base has at `path`.
    fn shows_base(&self, path: &TreePath) -> bool {
        self.baseline.is_overlay()
            && path.ancestors().all(|folder| {
                matches!(
                    self.seen.get(&folder),
                    None | Some(Seen::Folder { opaque: false })
                )
            })
    }

    /// Whether the overlay only copied a file of the base into its own layer,
    /// as it does when one is opened for writing.
    fn is_unchanged_copy(
        &self,
        path: &TreePath,
        before: Option<&Seen>,
        now: Option<&Seen>,
    ) -> bool {
        match (before, now) {
            (None, Some(Seen::File(stamp))) if self.shows_base(path) => {
                self.baseline.is_copy(path, stamp)
            }
            _ => false,
        }
    }
}

/// Whether the overlay hides what the base has in a folder.
fn hides_folder(seen: Option<&Seen>) -> bool {
    matches!(seen, Some(Seen::Whiteout | Seen::Folder { opaque: true }))
}
