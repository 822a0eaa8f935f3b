//! Which files of a copy of the base tree are still as Stockade made them.

use rustix::fs::{AtFlags, CWD, Stat, statat};

use super::{BackEnd, TaskSpace};
use crate::{
    files::{FileError, failed},
    manifest::{Stamp, Stamps},
    path::TreePath,
};

/// Files of the base that nothing was done to. The walk of a snapshot leaves
/// them out by their stamps.
#[derive(Debug)]
pub struct Known(Vec<TreePath>);

impl Known {
    /// Whether the file at `path` is among them.
    pub fn contains(&self, path: &str) -> bool {
        self.0
            .iter()
            .any(|known| known.as_bytes() == path.as_bytes())
    }
}

impl TaskSpace {
    /// What is as it was made. To be asked before the tree is given to another
    /// user, and handed to [`Self::remember`] afterwards: a change of owner
    /// moves `ctime`, and no snapshot could leave anything out any more. An
    /// overlay tells by itself what was changed.
    pub fn known(&self) -> Result<Known, FileError> {
        if self.record.back_end == BackEnd::Overlay {
            return Ok(Known(Vec::new()));
        }
        let stamps = Stamps::read(&self.stamps())?;
        let unchanged = |path: &&TreePath| {
            self.look_at(path)
                .is_ok_and(|stat| stamps.get(path) == Some(&Stamp::of(&stat)))
        };
        Ok(Known(stamps.paths().filter(unchanged).cloned().collect()))
    }

    /// Takes what these files look like now for what they were made as.
    pub fn remember(&self, known: &Known) -> Result<(), FileError> {
        if known.0.is_empty() {
            return Ok(());
        }
        let mut stamps = Stamps::read(&self.stamps())?;
        for path in &known.0 {
            stamps.insert(path.clone(), Stamp::of(&self.look_at(path)?));
        }
        stamps.write(&self.stamps())
    }

    fn look_at(&self, path: &TreePath) -> Result<Stat, FileError> {
        let path = self.ws().join(path.as_path());
        statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("look at", &path)(error.into()))
    }
}
