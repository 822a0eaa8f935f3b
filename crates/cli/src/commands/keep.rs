//! Verbs that keep or let go: `rm`, `restore`, `undo`.

use std::{process::ExitCode, time::SystemTime};

use serde_json::json;
use stockade_supervisor::{Identities, PLAN, StateDirectory, give_tree, with_disk};
use stockade_types::{EventKind, TaskId};
use stockade_workspace::{Git, Merged, Repository, TaskSpace, Trash, TrashError};

use crate::{
    arguments::{Remove, Restore, Undo},
    commands::work::record,
    failure::{Failure, Kind},
    host::{self, Task},
    print::Printer,
};

pub(crate) fn remove(arguments: &Remove, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let task = host::find(&state, arguments.task.task.as_deref())?;
    if task.directory.is_locked() {
        return Err(Failure::new(Kind::Refused, "the task still runs")
            .hint(format!("stockade stop {}", task.status.slug)));
    }
    let slug = &task.status.slug;
    let space = TaskSpace::open(state.path(), task.directory.id()).map_err(Failure::failed)?;
    let git = host::git()?;
    let trash = Trash::new(state.path());
    let merged = merged(&git, &task, &space);
    let removed = trash
        .remove(&space, "asked for", merged)
        .map_err(Failure::failed)?;
    let purged = trash
        .purge(&git, SystemTime::now())
        .map_err(Failure::failed)?;
    Identities::of(&state).sweep()?;
    if let Some(merged) = &removed.merged {
        printer.line(&format!(
            "all of its work is in {}: {}",
            merged.branch,
            merged.by.sentence()
        ));
    }
    let days = removed.kept().as_secs() / (24 * 60 * 60);
    printer.line(&format!(
        "{slug} is in the trash for {days} days; stockade restore {slug} brings it back"
    ));
    if removed.merged.is_some() {
        printer.line("its record is kept for 30");
    }
    printer.json(&json!({
        "removed": removed.id,
        "merged": removed.merged,
        "days": days,
        "purged": purged.gone,
        "purged_but_record": purged.only_record,
    }));
    Ok(ExitCode::SUCCESS)
}

/// Where all of a task's work is, if that can be proved; what cannot be is kept longer.
fn merged(git: &Git, task: &Task, space: &TaskSpace) -> Option<Merged> {
    let repository = Repository::discover(git, &task.status.repository).ok()?;
    let checked_out = repository.head_branch(git).ok().flatten();
    let branches = task.status.branch.clone().into_iter().chain(checked_out);
    let branches: Vec<String> = branches.collect();
    space.merged(git, &repository, &branches).ok()?
}

pub(crate) fn restore(arguments: &Restore, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let trash = Trash::new(state.path());
    let Some(name) = &arguments.task else {
        return list(&state, &trash, printer);
    };
    let Task { directory, status } = host::find_removed(&state, name)?;
    let id = directory.id();
    trash.restore(id).map_err(|error| match error {
        TrashError::Exists(_) => Failure::new(Kind::Conflict, error.to_string()),
        TrashError::OnlyRecord { .. } => Failure::new(Kind::NotFound, error.to_string()),
        error => Failure::failed(error),
    })?;
    printer.line(&format!("{} is back", status.slug));
    printer.json(&json!({ "restored": id }));
    Ok(ExitCode::SUCCESS)
}

fn list(state: &StateDirectory, trash: &Trash, printer: Printer) -> Result<ExitCode, Failure> {
    let removed = trash.list().map_err(Failure::failed)?;
    let tasks = host::removed_tasks(state)?;
    let slug = |id: &TaskId| {
        let task = tasks.iter().find(|task| task.directory.id() == id);
        task.map_or("", |task| task.status.slug.as_str())
    };
    for one in &removed {
        let branch = one.merged.as_ref().map(|merged| merged.branch.as_str());
        let merged = match (branch, one.only_record) {
            (None, _) => String::new(),
            (Some(branch), false) => format!("  its work is in {branch}"),
            (Some(branch), true) => format!("  its work is in {branch}; only its record is left"),
        };
        let (id, slug) = (&one.id, slug(&one.id));
        printer.line(&format!("{id}  {slug}  {}{merged}", one.reason));
    }
    if removed.is_empty() {
        printer.line("the trash is empty");
    }
    let documents = removed.iter().map(|one| {
        let mut document = json!(one);
        document["slug"] = json!(slug(&one.id));
        document
    });
    printer.json(&documents.collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn undo(arguments: &Undo, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let task = host::find(&state, arguments.task.as_deref())?;
    let space = TaskSpace::open(state.path(), task.directory.id()).map_err(Failure::failed)?;
    let snapshots = space.snapshots().map_err(Failure::failed)?;
    let Some(number) = arguments.to else {
        printer.json(&snapshots);
        for snapshot in &snapshots {
            printer.line(&format!(
                "{:>4}  {}  {} changed",
                snapshot.number,
                snapshot.label,
                snapshot.changed.len()
            ));
        }
        printer.line(&format!(
            "   0  the base  ·  stockade undo {} --to N",
            task.status.slug
        ));
        return Ok(ExitCode::SUCCESS);
    };
    if task.directory.is_locked() {
        return Err(Failure::new(Kind::Refused, "the task still runs")
            .hint(format!("stockade stop {}", task.status.slug)));
    }
    let (git, plan) = (host::git()?, task.directory.read(PLAN)?);
    let old = with_disk(&task.directory, &space, || {
        let old = space.undo(&git, number).map_err(Failure::failed)?;
        give_tree(&plan, &space)?;
        Ok::<_, Failure>(old)
    })??;
    record(
        &task.directory,
        EventKind::Snapshot,
        json!({ "undo_to": number }),
    )?;
    let kept = if space.record().own_disk {
        "on its disk".to_owned()
    } else {
        format!("in {}", old.display())
    };
    printer.line(&format!(
        "{} is as it was at {number}; what was there is kept {kept}",
        task.status.slug
    ));
    printer.json(&json!({ "task": task.status.id, "undone_to": number }));
    Ok(ExitCode::SUCCESS)
}
