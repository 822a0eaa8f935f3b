//! The work of an ended task, imported and compared.

use serde_json::{Value, json};
use stockade_scan::Scanner;
use stockade_supervisor::{
    HiddenValue, PLAN, Plan, Redactions, StateDirectory, TaskDirectory, TaskState, TaskStatus,
    gateway::Keys, hidden_values, recorder, with_disk,
};
use stockade_types::{Denial, Event, EventKind};
use stockade_vault::Source;
use stockade_workspace::{
    FileDiff, Git, Hunk, Imported, Repository, Review, Skipped, Snapshot, SnapshotLimits, TaskSpace,
};

use crate::{
    commands::{provenance, review::path, secret::unlock::environment},
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
    /// What stays out of the record.
    redactions: Redactions,
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
        let patterns = host::config()?.secrets(state, &repository)?;
        let hidden = hidden_values(&git, &repository, space.pool(), &patterns)?;
        let redactions = redactions(&plan, hidden.clone())?;
        let scanner = scanner(&plan, hidden)?;
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
            redactions,
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
        record_without(&self.directory, kind, body, &self.redactions)
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
fn scanner(plan: &Plan, hidden: Vec<HiddenValue>) -> Result<Scanner, Failure> {
    let known: Vec<_> = hidden
        .into_iter()
        .chain(model_keys(plan))
        .chain(plan.planted_value())
        .collect();
    let known = known.iter();
    let known = known.map(|(name, value)| (name.clone(), value.expose().as_str()));
    Scanner::new(known).map_err(Failure::failed)
}

/// The keys of models that the caller's environment has.
fn model_keys(plan: &Plan) -> impl Iterator<Item = HiddenValue> {
    plan.routes
        .iter()
        .filter_map(|route| Some((route.key.clone(), host::key(&route.key)?)))
}

/// What stays out of what a look into an ended task records and prints, as far as it
/// is known without asking a person or a program.
pub(crate) fn keys_of_look(task: &TaskDirectory) -> Keys {
    let mut keys = Keys::default();
    if let Ok(plan) = task.read::<Plan>(PLAN) {
        model_keys(&plan).for_each(|(name, key)| keys.add_model(&name, key));
    }
    // The repository may have been moved away; the task needs it no more.
    keys.guard(hidden_values_of(task).unwrap_or_default());
    keys
}

/// What the files hold that are hidden from the task.
pub(crate) fn hidden_values_of(task: &TaskDirectory) -> Result<Vec<HiddenValue>, Failure> {
    let (state, git) = (host::state()?, host::git()?);
    let status = task.status()?;
    let repository = Repository::discover(&git, &status.repository).map_err(Failure::failed)?;
    let space = TaskSpace::open(state.path(), task.id()).map_err(Failure::failed)?;
    let patterns = host::config()?.secrets(&state, &repository)?;
    Ok(hidden_values(&git, &repository, space.pool(), &patterns)?)
}

/// What stays out of the record of an ended task: of its secrets, those that are
/// known without asking a person or a program.
pub(super) fn redactions(plan: &Plan, hidden: Vec<HiddenValue>) -> Result<Redactions, Failure> {
    let environment = environment();
    let secrets = plan.secrets.iter().filter_map(|secret| {
        let name = &secret.bound.name;
        let value = matches!(secret.source, Source::Env(_))
            .then(|| secret.source.read(name, &environment).ok().flatten());
        Some((name.to_string(), value.flatten()?))
    });
    let values = hidden.into_iter().chain(model_keys(plan)).chain(secrets);
    let values = values.chain(plan.planted_value()).collect();
    Ok(Redactions::new(
        values,
        plan.placeholders().cloned().collect(),
    )?)
}

/// Adds an event to the record of a task that does not run.
pub(crate) fn record(task: &TaskDirectory, kind: EventKind, body: Value) -> Result<(), Failure> {
    let plan: Plan = task.read(PLAN)?;
    record_without(task, kind, body, &redactions(&plan, Vec::new())?)
}

fn record_without(
    task: &TaskDirectory,
    kind: EventKind,
    body: Value,
    redactions: &Redactions,
) -> Result<(), Failure> {
    recorder::record(task, &Event::new(kind, body), redactions).map_err(|error| {
        Failure::from(error)
            .hint("a task's record is written by one process at a time; stop the task first")
    })
}
