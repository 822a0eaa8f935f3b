use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::SnapshotError;
use crate::{
    files::failed,
    git::{Change, Git},
    object::{FileMode, ObjectId},
    path::TreePath,
    remove,
    task::{BackEnd, TaskSpace, TreeWriter},
};

/// The name of a tree that is being built to take the place of another.
const BESIDE: &str = "tree.new";

impl TaskSpace {
    /// Puts the tree back to the snapshot `number`, ignored files included;
    /// 0 is the base. What was there is kept: the returned folder has it.
    ///
    /// The tree must not be mounted: the new one is built beside the old one
    /// and takes its place by rename. Caches and empty folders are not in
    /// snapshots and do not come back.
    pub fn undo(&self, git: &Git, number: u32) -> Result<PathBuf, SnapshotError> {
        let base = self.pool().base().agent_commit.clone();
        let target = match number {
            0 => base.clone(),
            number => self.find_snapshot(Some(number))?.with_ignored,
        };
        let _lock = self.lock()?;
        let place = self.layer();
        let beside = self.filled().join(BESIDE);
        let stamps = self.folder().join("stamps.new");
        remove::folder(&beside).map_err(failed("remove", &beside))?;
        match self.record().back_end {
            BackEnd::Overlay => {
                std::fs::create_dir(&beside).map_err(failed("create the folder", &beside))?;
            }
            BackEnd::Checkout => self.copy_base_tree(&beside, &stamps)?,
            BackEnd::Btrfs => self.snapshot_base_tree(BESIDE, &stamps)?,
        }
        // Where the tree is in what is replaced: a subvolume holds more.
        let tree = self.writable_tree();
        let inner = tree.strip_prefix(&place).unwrap_or(Path::new(""));
        self.apply(git, &base, &target, &beside.join(inner))?;
        let kept = self.keep_old_tree(&place)?;
        std::fs::rename(&beside, &place).map_err(failed("put in place", &place))?;
        match self.record().back_end {
            BackEnd::Overlay => {
                // Its content belongs to the old upper layer.
                let work = self.work();
                remove::folder(&work).map_err(failed("remove", &work))?;
                std::fs::create_dir(&work).map_err(failed("create the folder", &work))?;
            }
            BackEnd::Checkout | BackEnd::Btrfs => {
                let place = self.stamps();
                std::fs::rename(&stamps, &place).map_err(failed("put in place", &place))?;
            }
        }
        Ok(kept)
    }

    fn keep_old_tree(&self, tree: &Path) -> Result<PathBuf, SnapshotError> {
        let undone = self.filled().join("undone");
        std::fs::create_dir_all(&undone).map_err(failed("create the folder", &undone))?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let kept = undone.join(now.to_string());
        std::fs::rename(tree, &kept).map_err(failed("put aside", tree))?;
        Ok(kept)
    }

    /// Writes the difference between two commits into `folder`, a tree that
    /// is at the first.
    fn apply(
        &self,
        git: &Git,
        from: &ObjectId,
        to: &ObjectId,
        folder: &Path,
    ) -> Result<(), SnapshotError> {
        let shadow = self.shadow();
        let changes = git.diff_trees(&shadow, from, to)?;
        let writer = TreeWriter::new(self, folder)?;
        for path in self.gone(git, to, &changes)? {
            writer.delete(&path)?;
        }
        let new = |change: &Change| {
            let (mode, id) = change.new.clone()?;
            (mode != FileMode::Gitlink).then_some((change.path.clone(), mode, id))
        };
        let puts: Vec<_> = changes.iter().filter_map(new).collect();
        let ids: Vec<_> = puts.iter().map(|(_, _, id)| id.clone()).collect();
        git.read_blobs(&shadow, &ids, |index, _, content| {
            let (path, mode, _) = &puts[index];
            let written = if *mode == FileMode::Symlink {
                let mut target = Vec::new();
                content.read_to_end(&mut target)?;
                writer.link(path, &target)
            } else {
                writer.file(path, *mode == FileMode::Executable, content)
            };
            written.map_err(std::io::Error::other)
        })?;
        Ok(())
    }

    /// What has to be deleted: whole folders where nothing of them is left,
    /// so that none stays behind empty.
    fn gone(
        &self,
        git: &Git,
        to: &ObjectId,
        changes: &[Change],
    ) -> Result<BTreeSet<TreePath>, SnapshotError> {
        let is_gone = |change: &&Change| change.new.is_none();
        let deleted: Vec<_> = changes
            .iter()
            .filter(is_gone)
            .map(|c| c.path.clone())
            .collect();
        if deleted.is_empty() || self.record().back_end != BackEnd::Overlay {
            return Ok(deleted.into_iter().collect());
        }
        let listing = git.list_tree(&self.shadow(), &git.tree(&self.shadow(), to)?)?;
        let left: HashSet<TreePath> = listing.into_iter().map(|entry| entry.path).collect();
        let topmost = |path: TreePath| {
            let gone = path
                .ancestors()
                .take_while(|folder| !left.contains(folder))
                .last();
            gone.unwrap_or(path)
        };
        // A file where a folder was hides the folder by itself.
        let put: HashSet<_> = changes
            .iter()
            .filter(|change| change.new.is_some())
            .map(|change| &change.path)
            .collect();
        let hidden = |path: &TreePath| path.ancestors().any(|folder| put.contains(&folder));
        Ok(deleted
            .into_iter()
            .filter(|path| !hidden(path))
            .map(topmost)
            .collect())
    }
}
