use std::{
    io::{self, Read},
    path::Path,
};

use rustix::fs::{FileType, Stat};

use super::{BackEnd, TaskSpace};
use crate::{
    beneath::Beneath,
    files::{FileError, failed},
    path::TreePath,
};

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Writes into an agent's tree from the host, without the mount: into the
/// upper layer or into the copy. Never follows a link that lies there.
#[derive(Debug)]
pub(crate) struct TreeWriter {
    root: Beneath,
    /// The layer below, which a deleted path has to be hidden from.
    lower: Option<Beneath>,
    folder: std::path::PathBuf,
}

impl TreeWriter {
    /// Writes into `folder`, the writable part of `space` or its successor.
    pub(crate) fn new(space: &TaskSpace, folder: &Path) -> Result<Self, FileError> {
        let open = |path: &Path| Beneath::open(path).map_err(failed("open", path));
        let lower = match space.record.back_end {
            BackEnd::Overlay => Some(open(&space.pool.tree())?),
            BackEnd::Checkout | BackEnd::Btrfs => None,
        };
        Ok(Self {
            root: open(folder)?,
            lower,
            folder: folder.to_owned(),
        })
    }

    /// Puts a file, in place of whatever file, link or whiteout is there.
    pub(crate) fn file(
        &self,
        path: &TreePath,
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), FileError> {
        let mut write = || {
            self.clear_way(path)?;
            io::copy(content, &mut self.root.create(path.as_path(), executable)?)
        };
        write().map(drop).map_err(self.failed("write", path))
    }

    /// Puts a symbolic link.
    pub(crate) fn link(&self, path: &TreePath, target: &[u8]) -> Result<(), FileError> {
        let write = || {
            self.clear_way(path)?;
            self.root.create_link(path.as_path(), target)
        };
        write().map_err(self.failed("write", path))
    }

    /// Removes a file, or a folder that the layer below has.
    pub(crate) fn delete(&self, path: &TreePath) -> Result<(), FileError> {
        let delete = || {
            let Some(lower) = &self.lower else {
                return self.remove_and_prune(path);
            };
            if self.root.stat(path.as_path())?.is_some() {
                self.root.remove(path.as_path())?;
            }
            if lower.stat(path.as_path())?.is_none() {
                return Ok(());
            }
            if let Some(parent) = path.parent() {
                self.root.create_folders(parent.as_path())?;
            }
            self.root.create_whiteout(path.as_path())
        };
        delete().map_err(self.failed("delete", path))
    }

    fn remove_and_prune(&self, path: &TreePath) -> io::Result<()> {
        match self.root.remove(path.as_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        for folder in path.ancestors() {
            // Not empty: something else lives there.
            if self.root.remove_folder(folder.as_path()).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Makes the folders above `path`, in the place of what was a file, a link or a
    /// whiteout there, and removes what is at it: of a folder what hides files below.
    fn clear_way(&self, path: &TreePath) -> io::Result<()> {
        let mut ancestors: Vec<TreePath> = path.ancestors().collect();
        ancestors.sort_unstable();
        for folder in ancestors {
            match self.root.stat(folder.as_path())? {
                Some(found) if is_folder(&found) => continue,
                Some(_) => self.root.remove(folder.as_path())?,
                None => {}
            }
            self.root.create_folder(folder.as_path())?;
        }
        match self.root.stat(path.as_path())? {
            Some(found) if is_folder(&found) => self.root.remove_whiteouts(path.as_path()),
            Some(_) => self.root.remove(path.as_path()),
            None => Ok(()),
        }
    }

    fn failed(&self, action: &'static str, path: &TreePath) -> impl FnOnce(io::Error) -> FileError {
        let path = self.folder.join(path.as_path());
        move |source| FileError {
            action,
            path,
            source,
        }
    }
}
