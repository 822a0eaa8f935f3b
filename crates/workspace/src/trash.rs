//! Removing tasks without losing work.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use stockade_types::TaskId;

use crate::{
    files::{self, FileError, failed},
    git::{Git, GitError},
    import::Imported,
    merge::merge_trees,
    remove,
    repository::Repository,
    task::TaskSpace,
};

/// How long removed tasks are kept.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// Why a task could not be removed, restored or purged.
#[derive(Debug, thiserror::Error)]
pub enum TrashError {
    /// No such task in the trash.
    #[error("there is no task {0} in the trash; `stockade restore` lists what is there")]
    NotInTrash(TaskId),
    /// The place it would be restored to is taken, or it is already removed.
    #[error("there is a task {0} already, so the other one stays where it is")]
    Exists(TaskId),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A removed task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The task.
    pub id: TaskId,
    /// When, in seconds since the epoch.
    pub time: u64,
    /// Why, for people.
    pub reason: String,
}

/// How it is known that a branch holds a task's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MergedBy {
    /// The very commit is in its history.
    Ancestor,
    /// Its tree is the result's.
    SameTree,
    /// A commit in its history makes the same change.
    SameChange,
    /// Merging the result again would change nothing.
    NothingLeft,
}

/// The folder of removed tasks.
#[derive(Clone, Debug)]
pub struct Trash {
    state: PathBuf,
}

impl Trash {
    /// The trash of the state directory `state`.
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    fn place(&self, id: &TaskId) -> PathBuf {
        self.state.join("trash").join(id.as_str())
    }

    /// Moves a task to the trash. Its processes must have ended.
    pub fn remove(&self, space: &TaskSpace, reason: &str) -> Result<Removed, TrashError> {
        let place = self.place(space.id());
        if place.exists() {
            return Err(TrashError::Exists(space.id().clone()));
        }
        let folder = self.state.join("trash");
        std::fs::create_dir_all(&folder).map_err(failed("create the folder", &folder))?;
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let reason = crate::visible::line(reason.as_bytes());
        let removed = Removed {
            id: space.id().clone(),
            time,
            reason,
        };
        // Before the move: what is in the trash always has its note.
        files::write_json(&space.folder().join("removed.json"), &removed)?;
        std::fs::rename(space.folder(), &place).map_err(failed("move to", &place))?;
        Ok(removed)
    }

    /// What is in the trash, the oldest first.
    pub fn list(&self) -> Result<Vec<Removed>, TrashError> {
        let folder = self.state.join("trash");
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &folder))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let note = entry
                .map_err(failed("list", &folder))?
                .path()
                .join("removed.json");
            if note.exists() {
                all.push(files::read_json::<Removed>(&note)?);
            }
        }
        all.sort_by_key(|removed| removed.time);
        Ok(all)
    }

    /// Puts a task back.
    pub fn restore(&self, id: &TaskId) -> Result<(), TrashError> {
        let (from, to) = (self.place(id), self.state.join("tasks").join(id.as_str()));
        if !from.is_dir() {
            return Err(TrashError::NotInTrash(id.clone()));
        }
        if to.exists() {
            return Err(TrashError::Exists(id.clone()));
        }
        std::fs::rename(&from, &to).map_err(failed("put back", &to))?;
        let note = to.join("removed.json");
        Ok(std::fs::remove_file(&note).map_err(failed("remove", &note))?)
    }

    /// Deletes for good what was removed more than [`KEPT`] before `now`, and
    /// returns it.
    pub fn purge(&self, now: SystemTime) -> Result<Vec<Removed>, TrashError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let old = |removed: &Removed| now.saturating_sub(Duration::from_secs(removed.time)) > KEPT;
        let all: Vec<_> = self.list()?.into_iter().filter(old).collect();
        for removed in &all {
            self.delete(&removed.id)?;
        }
        Ok(all)
    }

    /// Deletes one removed task for good; for work that is provably merged,
    /// or that its owner gave up.
    pub fn delete(&self, id: &TaskId) -> Result<(), TrashError> {
        let place = self.place(id);
        if !place.is_dir() {
            return Err(TrashError::NotInTrash(id.clone()));
        }
        Ok(remove::folder(&place).map_err(failed("delete", &place))?)
    }
}

impl TaskSpace {
    /// Whether `branch` provably holds the work, and by which proof.
    pub fn merged_into(
        &self,
        git: &Git,
        repository: &Repository,
        imported: &Imported,
        branch: &str,
    ) -> Result<Option<MergedBy>, TrashError> {
        let import = self.import_repository(repository)?;
        let target = git.commit(repository.common(), branch)?;
        let result = imported.commit.as_str();
        let ancestor =
            git.call(&import, "merge-base")
                .args(["--is-ancestor", result, target.as_str()]);
        match ancestor.run() {
            Ok(_) => return Ok(Some(MergedBy::Ancestor)),
            Err(GitError::Failed { code: Some(1), .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let tree = git.tree(&import, &target)?;
        if tree == git.tree(&import, &imported.commit)? {
            return Ok(Some(MergedBy::SameTree));
        }
        let cherry = git
            .call(&import, "cherry")
            .args([target.as_str(), result])
            .run()?;
        let mut lines = cherry
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        if lines.clone().next().is_some() && lines.all(|line| line.starts_with(b"- ")) {
            return Ok(Some(MergedBy::SameChange));
        }
        let merged = merge_trees(git, &import, &target, &imported.commit)?;
        Ok((merged.ok() == Some(tree)).then_some(MergedBy::NothingLeft))
    }
}
