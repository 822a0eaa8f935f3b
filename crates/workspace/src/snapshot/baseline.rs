use std::{collections::HashSet, io::Read, path::Path};

use rustix::fs::{FileType, Stat};

use super::SnapshotError;
use crate::{
    beneath::Beneath,
    files::failed,
    manifest::{Stamp, Stamps},
    path::TreePath,
    task::{BackEnd, TaskSpace},
};

/// What the base tree has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracked {
    No,
    Folder,
    /// A file or a link.
    File,
}

/// The state that changes are told from.
#[derive(Debug)]
pub(super) enum Baseline {
    /// The tree that the overlay lies over; only what changed is walked.
    Lower(Beneath),
    /// What the copy looked like when it was made; everything is walked.
    Copy {
        stamps: Stamps,
        folders: HashSet<TreePath>,
        files: Vec<TreePath>,
    },
}

impl Baseline {
    pub(super) fn of(space: &TaskSpace) -> Result<Self, SnapshotError> {
        let tree = space.pool().tree();
        if space.record().back_end == BackEnd::Overlay {
            return Ok(Self::Lower(
                Beneath::open(&tree).map_err(failed("open", &tree))?,
            ));
        }
        let stamps = Stamps::read(&space.stamps())?;
        let files: Vec<_> = stamps.paths().cloned().collect();
        let folders = files.iter().flat_map(TreePath::ancestors).collect();
        Ok(Self::Copy {
            stamps,
            folders,
            files,
        })
    }

    pub(super) fn is_overlay(&self) -> bool {
        matches!(self, Self::Lower(_))
    }

    pub(super) fn tracked(&self, path: &TreePath) -> Tracked {
        match self {
            Self::Lower(tree) => match tree.stat(path.as_path()) {
                Ok(Some(stat)) if is_folder(&stat) => Tracked::Folder,
                Ok(Some(_)) => Tracked::File,
                // Host-made and readable, so an error means "not here".
                Ok(None) | Err(_) => Tracked::No,
            },
            Self::Copy {
                stamps, folders, ..
            } => {
                if stamps.get(path).is_some() {
                    Tracked::File
                } else if folders.contains(path) {
                    Tracked::Folder
                } else {
                    Tracked::No
                }
            }
        }
    }

    /// Whether the file at `path` is as Stockade left it.
    pub(super) fn unchanged(&self, path: &TreePath, stat: &Stat) -> bool {
        match self {
            Self::Lower(_) => false,
            Self::Copy { stamps, .. } => stamps.get(path) == Some(&Stamp::of(stat)),
        }
    }

    /// Whether a file in an overlay's own layer has size, mode and time of the
    /// base's: it was copied there and not written to.
    pub(super) fn is_copy(&self, path: &TreePath, stamp: &Stamp) -> bool {
        let Self::Lower(tree) = self else {
            return false;
        };
        let below = tree.stat(path.as_path()).ok().flatten();
        below.is_some_and(|below| stamp.is_copy_of(&Stamp::of(&below)))
    }

    /// The `.gitignore` of the base in `folder`, where the overlay shows it.
    pub(super) fn ignore_file(&self, folder: Option<&TreePath>, limit: u64) -> Option<Vec<u8>> {
        let Self::Lower(tree) = self else { return None };
        let path = match folder {
            Some(folder) => folder.join(b".gitignore"),
            None => TreePath::new(".gitignore").ok()?,
        };
        read_short(tree, path.as_path(), limit)
    }

    /// The base's files that a complete walk must meet; none for an overlay,
    /// which says itself what was deleted.
    pub(super) fn expected(&self) -> &[TreePath] {
        match self {
            Self::Lower(_) => &[],
            Self::Copy { files, .. } => files,
        }
    }
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// A regular file of at most `limit` bytes.
pub(super) fn read_short(folder: &Beneath, path: &Path, limit: u64) -> Option<Vec<u8>> {
    let (file, _) = folder.file(path).ok()?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}
