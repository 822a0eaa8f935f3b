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
    import::{ImportError, Imported},
    merge::merge_trees,
    remove,
    repository::Repository,
    snapshot::SnapshotError,
    task::{TaskRecord, TaskSpace},
};

/// How long removed tasks are kept.
pub const KEPT: Duration = Duration::from_hours(30 * 24);
/// How long those are whose work is provably on a branch; of them the record stays as
/// long as any.
pub const KEPT_MERGED: Duration = Duration::from_hours(7 * 24);
/// What of them stays: the record, and what the trash must know.
const EVIDENCE: [&str; 4] = ["record", NOTE, TASK, "status.json"];
/// What the trash notes about a task.
const NOTE: &str = "removed.json";
/// What a task's space is about.
const TASK: &str = "task.json";

/// Why a task could not be removed, restored or purged.
#[derive(Debug, thiserror::Error)]
pub enum TrashError {
    /// No such task in the trash.
    #[error("there is no task {0} in the trash; `stockade restore` lists what is there")]
    NotInTrash(TaskId),
    /// The place it would be restored to is taken, or it is already removed.
    #[error("there is a task {0} already, so the other one stays where it is")]
    Exists(TaskId),
    /// Only the record is left.
    #[error("the work of {id} is in {branch}, and only its record is kept any more")]
    OnlyRecord {
        /// The task.
        id: TaskId,
        /// Where its work is.
        branch: String,
    },
    /// There is no snapshot to compare.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The work cannot be brought back to be compared.
    #[error(transparent)]
    Import(#[from] ImportError),
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
    /// Where all of its work is, if that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<Merged>,
    /// Whether only its record is left, or is about to be.
    #[serde(default)]
    pub only_record: bool,
}

impl Removed {
    /// How long it can be restored.
    pub fn kept(&self) -> Duration {
        self.merged.as_ref().map_or(KEPT, |_| KEPT_MERGED)
    }
}

/// A branch that provably holds a task's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// The branch.
    pub branch: String,
    /// The proof.
    pub by: MergedBy,
}

/// What a [purge](Trash::purge) deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// All of these.
    pub gone: Vec<TaskId>,
    /// Of these all but the record.
    pub only_record: Vec<TaskId>,
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

impl MergedBy {
    /// The proof, for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Ancestor => "its very commit is in the history",
            Self::SameTree => "the files are the same",
            Self::SameChange => "a commit in the history makes the same change",
            Self::NothingLeft => "merging it again would change nothing",
        }
    }
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

    /// Moves a task to the trash; `merged` is where its work is, if that was proved. Its
    /// processes must have ended.
    pub fn remove(
        &self,
        space: &TaskSpace,
        reason: &str,
        merged: Option<Merged>,
    ) -> Result<Removed, TrashError> {
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
        let reason = stockade_types::visible::line(reason.as_bytes());
        let removed = Removed {
            id: space.id().clone(),
            time,
            reason,
            merged,
            only_record: false,
        };
        // Before the move: what is in the trash always has its note.
        files::write_json(&space.folder().join(NOTE), &removed)?;
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
            let note = entry.map_err(failed("list", &folder))?.path().join(NOTE);
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
        let removed: Removed = files::read_json(&from.join(NOTE))?;
        if let Some(merged) = removed.merged.filter(|_| removed.only_record) {
            let (id, branch) = (id.clone(), merged.branch);
            return Err(TrashError::OnlyRecord { id, branch });
        }
        std::fs::rename(&from, &to).map_err(failed("put back", &to))?;
        let note = to.join(NOTE);
        Ok(std::fs::remove_file(&note).map_err(failed("remove", &note))?)
    }

    /// Deletes for good what has been here for longer than it is kept, and its references
    /// in the user's repository. One whose repository refuses stays for the next time.
    pub fn purge(&self, git: &Git, now: SystemTime) -> Result<Purged, TrashError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut purged = Purged::default();
        for removed in self.list()? {
            let age = now.saturating_sub(Duration::from_secs(removed.time));
            if age <= removed.kept() {
                continue;
            }
            // Where only the record is left they are gone already.
            if !removed.only_record && self.forget(git, &removed.id).is_err() {
                continue;
            }
            if age > KEPT {
                self.delete(&removed.id)?;
                purged.gone.push(removed.id);
            } else if self.keep_record(&removed)? {
                purged.only_record.push(removed.id);
            }
        }
        Ok(purged)
    }

    /// Takes the references of a task out of the user's repository, if that is still there.
    fn forget(&self, git: &Git, id: &TaskId) -> Result<(), TrashError> {
        let record = files::read_json::<TaskRecord>(&self.place(id).join(TASK));
        let folder = record.ok().map(|record| record.worktree);
        let repository = folder.and_then(|folder| Repository::discover(git, &folder).ok());
        if let Some(repository) = repository {
            repository.forget_task(git, id)?;
        }
        Ok(())
    }

    /// Deletes all of a task but what tells how its work came to be; says whether there
    /// was more.
    fn keep_record(&self, removed: &Removed) -> Result<bool, TrashError> {
        let place = self.place(&removed.id);
        if !removed.only_record {
            let noted = Removed {
                only_record: true,
                ..removed.clone()
            };
            // Before the first file goes: what was begun is never restored.
            files::write_json(&place.join(NOTE), &noted)?;
        }
        let mut more = false;
        for entry in std::fs::read_dir(&place).map_err(failed("list", &place))? {
            let entry = entry.map_err(failed("list", &place))?;
            if EVIDENCE.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            more = true;
            let path = entry.path();
            remove::folder(&path).map_err(failed("delete", &path))?;
        }
        Ok(more)
    }

    /// Deletes one removed task for good.
    pub fn delete(&self, id: &TaskId) -> Result<(), TrashError> {
        let place = self.place(id);
        if !place.is_dir() {
            return Err(TrashError::NotInTrash(id.clone()));
        }
        Ok(remove::folder(&place).map_err(failed("delete", &place))?)
    }
}

impl TaskSpace {
    /// The first of `branches` that provably holds all of the work, as its newest snapshot
    /// has it. Work of which something is in no snapshot, or was refused or rejected, is
    /// on none; and none is looked for where nothing was ever brought into `repository`.
    pub fn merged(
        &self,
        git: &Git,
        repository: &Repository,
        branches: &[String],
    ) -> Result<Option<Merged>, TrashError> {
        if !repository.knows_task(git, self.id())? {
            return Ok(None);
        }
        let snapshot = self.find_snapshot(None)?;
        let imported = self.import(git, repository, &snapshot)?;
        if !snapshot.skipped.is_empty() || !imported.refused.is_empty() {
            return Ok(None);
        }
        // A branch may be gone by now.
        let there = |branch: &&String| git.commit(repository.common(), branch).is_ok();
        for branch in branches.iter().filter(there) {
            if let Some(by) = self.merged_into(git, repository, &imported, branch)? {
                let branch = branch.clone();
                return Ok(Some(Merged { branch, by }));
            }
        }
        Ok(None)
    }

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
