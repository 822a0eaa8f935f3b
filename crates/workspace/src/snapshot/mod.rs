//! Saving what an agent did, as git objects, without running git on anything
//! that the agent wrote.

mod baseline;
mod ignored;
mod sight;
mod stream;
mod undo;
mod walk;

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

pub use self::sight::{TreeChanges, TreeSight};
use self::{baseline::Baseline, walk::Walk};
use crate::{
    beneath::Beneath,
    files::{self, FileError, failed},
    git::{Git, GitError},
    object::ObjectId,
    path::TreePath,
    pool::PoolError,
    task::TaskSpace,
};

/// Why a snapshot could not be taken or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no snapshot of that number.
    #[error("there is no snapshot {number}; the newest is {newest}")]
    NoSuchSnapshot {
        /// What was asked for.
        number: u32,
        /// The newest there is; 0 if none.
        newest: u32,
    },
    /// Its base tree cannot be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// How much of a tree a snapshot takes. What is over a limit is left out and
/// listed with the reason.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotLimits {
    /// Files, links and folders looked at.
    pub entries: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all changed files together.
    pub total_bytes: u64,
    /// Bytes of all ignored files together.
    pub ignored_bytes: u64,
    /// Folders inside one another.
    pub depth: usize,
    /// Bytes of one path.
    pub path_bytes: usize,
    /// Reasons that are kept one by one; the rest is only counted.
    pub reasons: usize,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            entries: 500_000,
            file_bytes: 256 << 20,
            total_bytes: 2 << 30,
            ignored_bytes: 64 << 20,
            depth: 128,
            path_bytes: 3_000,
            reasons: 1_000,
        }
    }
}

/// The label of the snapshot of uncommitted work that came along.
pub const START: &str = "start";

/// A path that is not in a snapshot, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Where it is.
    pub path: TreePath,
    /// Why, as a clause.
    pub reason: String,
}

/// A saved state of the tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// 1 for the first of a task.
    pub number: u32,
    /// What it was taken for, safe to show.
    pub label: String,
    /// When, in seconds since the epoch.
    pub time: u64,
    /// The commit of what may be imported, on top of the task's base.
    pub commit: ObjectId,
    /// The commit that has the ignored files too.
    pub with_ignored: ObjectId,
    /// Paths that were written or deleted since the base.
    pub changed: Vec<TreePath>,
    /// Ignored files that were saved, but are not imported.
    pub ignored: Vec<TreePath>,
    /// Ignored folders of caches, which are not saved.
    pub caches: Vec<TreePath>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// How many more were left out than `skipped` lists.
    pub skipped_more: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct History {
    version: u32,
    snapshots: Vec<Snapshot>,
}

impl TaskSpace {
    /// Saves the tree as it is. The cost grows with what changed, not with
    /// the size of the tree (overlay), or with the number of files (checkout).
    ///
    /// The caller stops the task first; files that change while they are read
    /// are left out and listed, never saved in part.
    pub fn snapshot(
        &self,
        git: &Git,
        label: &str,
        limits: &SnapshotLimits,
    ) -> Result<Snapshot, SnapshotError> {
        let _lock = self.lock()?;
        let mut history = self.history()?;
        let number = history.snapshots.last().map_or(0, |last| last.number) + 1;
        let folder = self.writable_tree();
        let root = Beneath::open(&folder).map_err(failed("open", &folder))?;
        let baseline = Baseline::of(self)?;
        let mut found = Walk::new(&root, &baseline, limits, &self.pool().base().submodules).run();
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let label = stockade_types::visible::line(label.as_bytes())
            .chars()
            .take(200)
            .collect::<String>();
        let commits = stream::save(
            git,
            &self.shadow(),
            &stream::Parent {
                number,
                label: &label,
                time,
                base: &self.pool().base().agent_commit,
            },
            &root,
            &mut found,
            limits,
        )?;
        let (ignored, changed): (Vec<_>, Vec<_>) = found.puts.into_iter().partition(|p| p.ignored);
        let changed = changed.into_iter().map(|put| put.path).chain(found.deletes);
        let snapshot = Snapshot {
            number,
            label,
            time,
            commit: commits.importable,
            with_ignored: commits.with_ignored,
            changed: changed.collect(),
            ignored: ignored.into_iter().map(|put| put.path).collect(),
            caches: found.caches,
            skipped: found.skipped,
            skipped_more: found.skipped_more,
        };
        history.snapshots.push(snapshot.clone());
        history.version = 1;
        files::write_json(&self.history_file(), &history)?;
        Ok(snapshot)
    }

    /// All snapshots, the oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, SnapshotError> {
        Ok(self.history()?.snapshots)
    }

    /// The snapshot `number`, or the newest.
    pub fn find_snapshot(&self, number: Option<u32>) -> Result<Snapshot, SnapshotError> {
        let snapshots = self.history()?.snapshots;
        let newest = snapshots.last().map_or(0, |last| last.number);
        let number = number.unwrap_or(newest);
        snapshots
            .into_iter()
            .find(|snapshot| snapshot.number == number)
            .ok_or(SnapshotError::NoSuchSnapshot { number, newest })
    }

    fn history(&self) -> Result<History, FileError> {
        let path = self.history_file();
        if path.exists() {
            files::read_json(&path)
        } else {
            Ok(History::default())
        }
    }

    fn history_file(&self) -> PathBuf {
        self.folder().join("snapshots.json")
    }
}
