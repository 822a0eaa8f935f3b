//! `stockade audit`: records listed, searched, exported, checked, proved and reported.

mod answers;
mod report;
mod verify;

use std::process::ExitCode;

use serde_json::{Value, json};
use stockade_audit::{ProofError, Record, Records};
use stockade_supervisor::StateDirectory;
use stockade_types::visible;

pub(crate) use self::verify::describe;
use crate::{
    arguments::{Audit, ExportArguments, Prove, Query, Select, TaskName},
    failure::{Failure, Kind},
    host::{self, Task},
    print::{Printer, Tone},
};

/// The most of an event's body that one line shows.
const SHOWN: usize = 160;

pub(crate) fn run(audit: &Audit, printer: Printer) -> Result<ExitCode, Failure> {
    match audit {
        Audit::Verify(arguments) => verify::run(arguments, printer),
        Audit::Prove(arguments) => prove(arguments, printer),
        Audit::Checkpoint(name) => checkpoint(name, printer),
        Audit::Log(name) => log(name, printer),
        Audit::Query(arguments) => query(arguments, printer),
        Audit::Export(arguments) => export(arguments, printer),
        Audit::Report(arguments) => report::run(arguments, printer),
    }
}

fn prove(arguments: &Prove, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, arguments.task.as_deref())?;
    let proof = stockade_audit::prove(&task.directory.record(), arguments.event);
    let proof = proof.map_err(|error| {
        let kind = match error {
            ProofError::NoRecord { .. } => Kind::NotFound,
            ProofError::Damaged => Kind::Tampered,
            _ => Kind::Failed,
        };
        Failure::new(kind, describe(&error))
    })?;
    printer.line(proof.trim_end());
    printer.json(&json!({ "task": task.status.id, "event": arguments.event, "proof": proof }));
    Ok(ExitCode::SUCCESS)
}

fn checkpoint(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let path = task.directory.record().join("checkpoint");
    let note = std::fs::read_to_string(&path).map_err(|error| {
        Failure::new(Kind::NotFound, format!("{}: {error}", path.display())).hint(
            "a record from before there were checkpoints gets one when its task is used again",
        )
    })?;
    printer.line(note.trim_end());
    printer.json(&json!({ "task": task.status.id, "checkpoint": note }));
    Ok(ExitCode::SUCCESS)
}

fn log(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let select = Select {
        task: Some(task.status.id.to_string()),
        kind: Vec::new(),
        contains: None,
        since: None,
        until: None,
    };
    list(&select, false, printer)
}

fn query(arguments: &Query, printer: Printer) -> Result<ExitCode, Failure> {
    list(&arguments.select, arguments.select.task.is_none(), printer)
}

fn list(select: &Select, names: bool, printer: Printer) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    let mut count = 0_u64;
    each(select, |task, record, value| {
        count += 1;
        let body = visible::line(value["body"].to_string().as_bytes());
        let body: String = body.chars().take(SHOWN).collect();
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let task_name = if names {
            format!("{}  ", task.status.slug)
        } else {
            String::new()
        };
        printer.line(&format!(
            "{task_name}{:>5}  {}  {}  {}",
            record.seq,
            text("at"),
            printer.paint(Tone::Strong, text("kind")),
            printer.paint(Tone::Faint, &body)
        ));
        if printer.is_json() {
            found.push(json!({ "task": task.status.id, "event": value }));
        }
        Ok(())
    })?;
    if count == 0 {
        printer.note("no such event");
    }
    printer.json(&found);
    Ok(ExitCode::SUCCESS)
}

fn export(arguments: &ExportArguments, printer: Printer) -> Result<ExitCode, Failure> {
    printer.needs_no_json(
        "an export is lines in the form that --format names",
        "stockade audit query --json prints events as one document",
    )?;
    let form = arguments.format.export();
    form.header()
        .into_iter()
        .for_each(|header| printer.text(header));
    let select = &arguments.select;
    let (state, search) = (host::state()?, select.search());
    // Without a key nothing was ever signed here.
    let key = stockade_audit::key(&state.audit()).ok();
    let machine = key.as_ref().map_or("stockade", |key| key.name());
    for (task, records) in logs(&state, select)? {
        let mut exporter = form.of_log(machine, task.status.id.as_str());
        for record in records {
            let record = record.map_err(|error| Failure::failed(describe(&error)))?;
            let lines = exporter.record(&record, search.wants(&record));
            let lines = lines.map_err(Failure::failed)?;
            for line in &lines {
                printer.text(line);
            }
        }
        exporter.finish().iter().for_each(|line| printer.text(line));
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls `take` with each event that is asked for, and its JSON.
pub(crate) fn each(
    select: &Select,
    mut take: impl FnMut(&Task, &Record, &Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let search = select.search();
    for (task, records) in logs(&host::state()?, select)? {
        for record in records.that(search.clone()) {
            let record = record.map_err(|error| Failure::failed(describe(&error)))?;
            let value = serde_json::to_value(&record).map_err(Failure::failed)?;
            take(&task, &record, &value)?;
        }
    }
    Ok(())
}

/// The logs that are asked for.
fn logs(state: &StateDirectory, select: &Select) -> Result<Vec<(Task, Records)>, Failure> {
    let tasks = match &select.task {
        Some(name) => vec![host::find(state, Some(name))?],
        None => host::tasks(state)?,
    };
    let mut logs = Vec::new();
    for task in tasks {
        let path = task.directory.record();
        match stockade_audit::read(&path) {
            // A task that was never started has none.
            Err(_) if !path.exists() && select.task.is_none() => {}
            records => {
                let records = records.map_err(|error| Failure::failed(describe(&error)))?;
                logs.push((task, records));
            }
        }
    }
    Ok(logs)
}
