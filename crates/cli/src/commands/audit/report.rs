//! `stockade audit report`: what the records show of a framework's controls.

mod frameworks;

use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use stockade_audit::{Hash, Record, RecordKind, Search};

use self::frameworks::{Control, Evidence, Only, table};
use super::{describe, verify};
use crate::{
    arguments::{ReportArguments, Verify},
    failure::{Failure, Kind},
    host::{self, Task},
    print::{Printer, Tone},
};

/// How many events a line names for people; programs get all.
const NAMED: usize = 3;

/// An event that is cited.
#[derive(Clone, Debug, Serialize)]
struct Cited {
    task: String,
    event: u64,
    at: String,
    kind: String,
    /// What prints its proof.
    prove: String,
}

/// What speaks for a control.
#[derive(Debug, Serialize)]
struct Line {
    says: &'static str,
    events: Vec<Cited>,
}

/// What was found of one control.
#[derive(Debug, Serialize)]
struct Found {
    control: &'static str,
    about: &'static str,
    evidence: Vec<Line>,
    /// What no event in this period tells.
    no_evidence: Vec<&'static str>,
    not_shown: &'static str,
}

/// A log that was checked.
#[derive(Debug, Serialize)]
struct Source {
    task: String,
    name: String,
    /// How many records a checkpoint covers; only these are cited.
    covered: u64,
    records: u64,
    root: Hash,
}

pub(super) fn run(arguments: &ReportArguments, printer: Printer) -> Result<ExitCode, Failure> {
    let state = host::state()?;
    let tasks = match &arguments.task {
        Some(name) => vec![host::find(&state, Some(name))?],
        None => host::tasks(&state)?,
    };
    let checked = verify::check(&subject(arguments, &tasks), printer.silent())?;
    if checked.tampered {
        let told = checked.told.iter();
        let bad = told.filter(|told| told["sound"] == false);
        let failure = Failure::new(
            Kind::Tampered,
            "a record is not what was written, so that nothing can be reported",
        );
        return Err(bad.fold(failure, |failure, bad| {
            let text = |name: &str| bad[name].as_str().unwrap_or_default().to_owned();
            failure.hint(format!("{}: {}", text("log"), text("reason")))
        }));
    }
    let (whole_name, controls) = table(arguments.framework);
    let mut found: Vec<Found> = controls.iter().map(Found::of).collect();
    let mut sources = Vec::new();
    for task in &tasks {
        let Some(verified) = checked.sound.get(task.status.id.as_str()) else {
            continue;
        };
        cite(task, verified.covered, arguments, controls, &mut found)?;
        sources.push(Source {
            task: task.status.id.to_string(),
            name: task.status.slug.clone(),
            covered: verified.covered,
            records: verified.records,
            root: verified.root,
        });
    }
    found.iter_mut().for_each(Found::finish);
    let removed = host::removed_tasks(&state)?.len();
    show(whole_name, arguments, &found, &sources, removed, printer);
    printer.json(&json!({
        "framework": whole_name,
        "since": arguments.since,
        "until": arguments.until,
        "complete": !checked.incomplete,
        "notes": notes(&checked.told),
        "removed_tasks_not_counted": removed,
        "logs": sources,
        "controls": found,
    }));
    Ok(if checked.incomplete {
        for note in notes(&checked.told) {
            printer.note(note);
        }
        ExitCode::from(Kind::Incomplete as u8)
    } else {
        ExitCode::SUCCESS
    })
}

/// What has to be sound before anything is reported.
fn subject(arguments: &ReportArguments, tasks: &[Task]) -> Verify {
    let one = tasks.first().filter(|_| arguments.task.is_some());
    Verify {
        what: one.map(|task| task.status.id.to_string()),
        all: one.is_none(),
        key: None,
        against: Vec::new(),
        proof: None,
    }
}

fn notes(told: &[Value]) -> Vec<&str> {
    told.iter()
        .filter_map(|told| told["note"].as_str())
        .collect()
}

/// Adds the events of a task to the controls that they speak for.
fn cite(
    task: &Task,
    covered: u64,
    arguments: &ReportArguments,
    controls: &[Control],
    found: &mut [Found],
) -> Result<(), Failure> {
    let path = task.directory.record();
    let wrong = |error: &dyn std::error::Error| Failure::failed(describe(error));
    let period = Search::default().between(arguments.since.as_deref(), arguments.until.as_deref());
    let records = stockade_audit::read(&path).map_err(|error| wrong(&error))?;
    // What no checkpoint covers cannot be proved, and may be anybody's.
    for record in records.that(period) {
        let record = record.map_err(|error| wrong(&error))?;
        if record.seq >= covered {
            break;
        }
        let value = serde_json::to_value(&record).map_err(Failure::failed)?;
        for (control, found) in controls.iter().zip(found.iter_mut()) {
            for (evidence, line) in control.evidence.iter().zip(&mut found.evidence) {
                if speaks(evidence, &record) {
                    line.events.push(cited(task, &value));
                }
            }
        }
    }
    Ok(())
}

fn cited(task: &Task, value: &Value) -> Cited {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let (task, event) = (&task.status.id, value["seq"].as_u64().unwrap_or_default());
    Cited {
        task: task.to_string(),
        event,
        at: text("at"),
        kind: text("kind"),
        prove: format!("stockade audit prove {event} --task {task}"),
    }
}

/// Whether a record is evidence of this.
fn speaks(evidence: &Evidence, record: &Record) -> bool {
    let RecordKind::Event(kind) = record.kind else {
        return false;
    };
    let body = &record.body;
    evidence.kinds.contains(&kind)
        && match evidence.only {
            Only::Any => true,
            Only::Has(place) => body.pointer(place).is_some_and(|value| !value.is_null()),
            Only::Is(place, truth) => body.pointer(place) == Some(&Value::Bool(truth)),
            Only::Begins(place, beginning) => {
                let text = body.pointer(place).and_then(Value::as_str);
                text.is_some_and(|text| text.starts_with(beginning))
            }
        }
}

impl Found {
    fn of(control: &Control) -> Self {
        let line = |evidence: &Evidence| Line {
            says: evidence.says,
            events: Vec::new(),
        };
        Self {
            control: control.id,
            about: control.about,
            evidence: control.evidence.iter().map(line).collect(),
            no_evidence: Vec::new(),
            not_shown: control.not_shown,
        }
    }

    /// Tells apart what was found and what was not.
    fn finish(&mut self) {
        let empty = self.evidence.extract_if(.., |line| line.events.is_empty());
        self.no_evidence = empty.map(|line| line.says).collect();
    }
}

fn show(
    whole_name: &str,
    arguments: &ReportArguments,
    found: &[Found],
    sources: &[Source],
    removed: usize,
    printer: Printer,
) {
    let records: u64 = sources.iter().map(|source| source.covered).sum();
    let since = arguments.since.as_deref().unwrap_or("the first record");
    let until = arguments.until.as_deref().unwrap_or("now");
    printer.line(&printer.paint(Tone::Strong, whole_name));
    printer.line(&format!("from {since} to {until}"));
    printer.line(&format!(
        "{} tasks with {records} records, each checked against the signed checkpoints",
        sources.len()
    ));
    if removed > 0 {
        printer.line(&format!("{removed} tasks in the trash are not counted"));
    }
    for control in found {
        printer.line("");
        let heading = format!("{}  {}", control.control, control.about);
        printer.line(&printer.paint(Tone::Strong, &heading));
        for line in &control.evidence {
            show_line(line, printer);
        }
        if control.evidence.is_empty() {
            printer.line(&printer.paint(Tone::Notice, "  no evidence in this period"));
        }
        for says in &control.no_evidence {
            printer.line(&printer.paint(Tone::Faint, &format!("  never: {says}")));
        }
        let not_shown = format!("  not shown: {}", control.not_shown);
        printer.line(&printer.paint(Tone::Faint, &not_shown));
    }
    printer.line("");
    printer.line("An event is proved by `stockade audit prove EVENT --task TASK`; the proof is");
    printer.line("checked by `stockade audit verify --proof FILE`, with nothing but audit.pub.");
}

fn show_line(line: &Line, printer: Printer) {
    let named = line.events.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|cited| format!("{} {}", cited.task, cited.event))
        .collect();
    let more = line.events.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more, with --json")
    } else {
        String::new()
    };
    printer.line(&format!("  {} × {}", line.events.len(), line.says));
    printer.line(&format!("      events {}{more}", named.join(", ")));
    if let Some(first) = line.events.first() {
        printer.line(&printer.paint(Tone::Faint, &format!("      {}", first.prove)));
    }
}
