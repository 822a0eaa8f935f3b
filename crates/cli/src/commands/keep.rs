//! Verbs that keep or let go: `rm`, `restore`, `undo`.

use std::process::ExitCode;

use serde_json::json;
use stockade_supervisor::{Identities, PLAN, give_tree, with_disk};
use stockade_types::{EventKind, TaskId};
use stockade_workspace::{TaskSpace, Trash};

use crate::{
    arguments::{Remove, Restore, Undo},
    commands::work::record,
    failure::{Failure, Kind},
    host,
    print::Printer,
};

pub(crate) fn remove(arguments: &Remove, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let task = host::find(&state, arguments.task.task.as_deref())?;
    if task.directory.is_locked() {
        return Err(Failure::new(Kind::Refused, "the task still runs")
            .hint(format!("stockade stop {}", task.status.slug)));
    }
    let space = TaskSpace::open(state.path(), task.directory.id()).map_err(Failure::failed)?;
    let trash = Trash::new(state.path());
    let removed = trash.remove(&space, "asked for").map_err(Failure::failed)?;
    let forgotten = trash
        .purge(std::time::SystemTime::now())
        .map_err(Failure::failed)?;
    Identities::of(&state).sweep()?;
    printer.line(&format!(
        "{} is in the trash for 30 days; stockade restore {} brings it back",
        task.status.slug, removed.id
    ));
    printer.json(&json!({ "removed": removed.id, "purged": forgotten.iter().map(|old| &old.id).collect::<Vec<_>>() }));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(arguments: &Restore, printer: Printer) -> Result<ExitCode, Failure> {
    let trash = Trash::new(host::state()?.path());
    let known = trash.list().map_err(Failure::failed)?;
    let Some(name) = &arguments.task else {
        printer.json(&known);
        for removed in &known {
            printer.line(&format!("{}  {}", removed.id, removed.reason));
        }
        if known.is_empty() {
            printer.line("the trash is empty");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let id: TaskId = name.parse().map_err(|error| {
        Failure::new(Kind::Usage, format!("{error}")).hint("stockade restore lists the trash")
    })?;
    trash
        .restore(&id)
        .map_err(|error| Failure::new(Kind::NotFound, error.to_string()))?;
    printer.line(&format!("{id} is back"));
    printer.json(&json!({ "restored": id }));
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
