//! The work of an ended task, imported and compared.

use serde_json::{Value, json};
use stockade_scan::Scanner;
use stockade_supervisor::{
    PLAN, Plan, StateDirectory, TaskDirectory, TaskState, TaskStatus, hidden_values, recorder,
    with_disk,
};
use stockade_types::{Denial, Event, EventKind, Redacted};
use stockade_workspace::{
    FileDiff, Git, Hunk, Imported, Repository, Review, Skipped, Snapshot, SnapshotLimits, TaskSpace,
};

use crate::{
    commands::{provenance, review::path},
    failure::{Failure, Kind},
    host,
};

/// Everything that the verbs of review need.
pub(crate) struct Work {
    pub(crate) directory: TaskDirectory,
    pub(crate) status: TaskStatus,
    pub(crate) plan: Plan,
    pub(crate) git: Git,
    pub(crate) repository: Repository,
    pub(crate) space: TaskSpace,
    pub(crate) imported: Imported,
    pub(crate) review: Review,
    /// What finds keys in it.
    pub(crate) scanner: Scanner,
    /// What the snapshot could not take.
    pub(crate) left_out: Vec<Skipped>,
    /// How many more it could not take.
    pub(crate) left_out_more: u64,
}

impl Work {
    /// Opens the work of the task that `name` means: its newest snapshot,
    /// brought into the user's repository under `refs/stockade/`.
    pub(crate) fn open(name: Option<&str>) -> Result<Self, Failure> {
        let state = host::state()?;
        let task = host::find(&state, name)?;
        Self::of(&state, task.directory, task.status)
    }

    pub(crate) fn of(
        state: &StateDirectory,
        directory: TaskDirectory,
        status: TaskStatus,
    ) -> Result<Self, Failure> {
        let plan: Plan = directory.read(PLAN)?;
        let git = host::git()?;
        let repository = Repository::discover(&git, &status.repository).map_err(Failure::failed)?;
        let space = TaskSpace::open(state.path(), directory.id()).map_err(Failure::failed)?;
        let snapshot = match space.find_snapshot(None) {
            Ok(snapshot) if !is_stale(&directory, &status, &snapshot) => snapshot,
            Err(_) if directory.is_locked() => {
                return Err(Failure::new(
                    Kind::Refused,
                    "the task still runs and has saved nothing yet",
                )
                .hint(format!("stockade stop {}", status.slug)));
            }
            // Nothing runs any more that could save it.
            Ok(_) | Err(_) => with_disk(&directory, &space, || {
                space.snapshot(&git, AFTERWARDS, &SnapshotLimits::default())
            })?
            .map_err(Failure::failed)?,
        };
        let imported = space
            .import(&git, &repository, &snapshot)
            .map_err(Failure::failed)?;
        let scanner = scanner(state, &git, &repository, &space, &plan)?;
        let review = space
            .review(&git, &repository, &imported, &scanner)
            .map_err(Failure::failed)?;
        Ok(Self {
            directory,
            status,
            plan,
            git,
            repository,
            space,
            imported,
            review,
            scanner,
            left_out: snapshot.skipped,
            left_out_more: snapshot.skipped_more,
        })
    }

    pub(crate) fn hunks(&self, file: &FileDiff) -> Result<Vec<Hunk>, Failure> {
        self.space
            .hunks(&self.git, &self.repository, file)
            .map_err(Failure::failed)
    }

    /// Adds to the record of the task.
    pub(crate) fn record(&self, kind: EventKind, body: Value) -> Result<(), Failure> {
        record(&self.directory, kind, body)
    }

    /// The failure of what `denial` tells, which is in the record when this returns.
    pub(crate) fn refused(&self, denial: Denial) -> Result<Failure, Failure> {
        self.record(EventKind::Denied, json!({ "denial": denial }))?;
        let reason = denial.reason.clone();
        Ok(Failure::refused(reason, Some(Box::new(denial))))
    }

    /// The review as one document, with the hunks of each file.
    pub(crate) fn document(&self) -> Result<Value, Failure> {
        let decisions = self.space.decisions().map_err(Failure::failed)?;
        let mut files = Vec::new();
        for file in &self.review.files {
            files.push(json!({
                "path": path(&file.path),
                "status": file.status,
                "added": file.added,
                "removed": file.removed,
                "binary": file.binary,
                "too_large": file.too_large,
                "risk": file.risk(),
                "marks": file.marks,
                "findings": file.findings,
                "held_back": file.held_back,
                "choice": decisions.about(file),
                "hunks": self.hunks(file)?,
            }));
        }
        Ok(json!({
            "task": self.status.id,
            "slug": self.status.slug,
            "base": self.review.base,
            "result": self.review.result,
            "reference": self.imported.reference,
            "files": files,
            "refused": self.imported.refused.iter().map(|refused| json!({ "path": path(&refused.path), "reason": refused.reason })).collect::<Vec<_>>(),
            "left_out": self.left_out.iter().map(|skipped| json!({ "path": path(&skipped.path), "reason": skipped.reason })).collect::<Vec<_>>(),
            "left_out_more": self.left_out_more,
            "fetched": provenance::of(&self.directory)?,
        }))
    }
}

/// The label of a snapshot that is taken once nobody supervises a task.
const AFTERWARDS: &str = "after its supervisor ended";

/// Whether a task has failed, so that it may have worked on after this, its
/// newest snapshot.
fn is_stale(directory: &TaskDirectory, status: &TaskStatus, snapshot: &Snapshot) -> bool {
    let taken_since = snapshot.label == AFTERWARDS && snapshot.time >= status.since_epoch();
    matches!(status.state, TaskState::Failed { .. }) && !directory.is_locked() && !taken_since
}

/// What finds keys in the work: by their format, and those that are known
/// without asking for a passphrase.
fn scanner(
    state: &StateDirectory,
    git: &Git,
    repository: &Repository,
    space: &TaskSpace,
    plan: &Plan,
) -> Result<Scanner, Failure> {
    let patterns = host::config()?.secrets(state, repository)?;
    let mut known = hidden_values(git, repository, space.pool(), &patterns)?;
    for route in &plan.routes {
        let key = std::env::var(&route.key).ok().filter(|key| !key.is_empty());
        known.extend(key.map(|key| (route.key.clone(), Redacted::new(key))));
    }
    let planted = plan.honeytoken.iter();
    let planted = planted.map(|planted| ("the honeytoken".to_owned(), planted.value()));
    let known = known.iter();
    let known = known.map(|(name, value)| (name.clone(), value.expose().as_str()));
    Scanner::new(known.chain(planted)).map_err(Failure::failed)
}

/// Adds an event to the record of a task that does not run.
pub(crate) fn record(task: &TaskDirectory, kind: EventKind, body: Value) -> Result<(), Failure> {
    recorder::record(task, &Event::new(kind, body)).map_err(|error| {
        Failure::from(error)
            .hint("a task's record is written by one process at a time; stop the task first")
    })
}
