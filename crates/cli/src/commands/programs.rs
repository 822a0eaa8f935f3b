//! `stockade logs --programs`: every program that was seen to start.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;
use stockade_audit::{Record, RecordKind};
use stockade_types::{EventKind, visible};

use crate::{arguments::TaskName, failure::Failure, host, print::Printer};

/// One program, as the record tells of it.
#[derive(Debug, Serialize)]
struct Started {
    /// The number of the event.
    event: u64,
    /// When it was recorded, RFC 3339 in UTC.
    at: String,
    #[serde(flatten)]
    told: Value,
}

pub(crate) fn list(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let mut programs: Vec<Started> = Vec::new();
    for record in stockade_audit::read(&task.directory.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        if record.kind == RecordKind::Event(EventKind::ProgramSeen) {
            programs.push(Started::of(&record)?);
        }
    }
    let (failed, others): (Vec<_>, Vec<_>) =
        (programs.iter()).partition(|program| program.told["outcome"] == "failed");
    for program in others {
        printer.line(&program.line());
    }
    if !failed.is_empty() {
        let count = failed.len();
        printer.note(&format!(
            "left out: {count} that failed, such as the search along PATH; --json has them"
        ));
    }
    if programs.is_empty() {
        printer.note(&format!(
            "no program of {} is recorded; `stockade run --record exec` records them",
            task.status.slug
        ));
    }
    printer.json(&programs);
    Ok(ExitCode::SUCCESS)
}

impl Started {
    fn of(record: &Record) -> Result<Self, Failure> {
        Ok(Self {
            event: record.seq,
            at: record.written_at().map_err(Failure::failed)?,
            told: record.body.clone(),
        })
    }

    /// One line for people: when, who, what was found running, and the words.
    fn line(&self) -> String {
        let safe = |text: &str| visible::line(text.as_bytes());
        let ran = self.told["ran"].as_str().map_or_else(
            || format!("{} (ended before it was looked at)", safe(self.path())),
            safe,
        );
        let words = self.told["argv"].as_array().into_iter().flatten();
        let words: Vec<String> = words.filter_map(Value::as_str).map(safe).collect();
        let cut = if self.told["cut"] == true { " …" } else { "" };
        let process = &self.told["process"];
        format!("{}  {process}  {ran}  {}{cut}", self.at, words.join(" "))
    }

    fn path(&self) -> &str {
        self.told["path"].as_str().unwrap_or_default()
    }
}
