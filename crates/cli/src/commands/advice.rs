//! `stockade logs --hooks`: every tool call that agents told before it, and what was
//! said of it.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;
use stockade_audit::{Record, RecordKind};
use stockade_types::{EventKind, visible};

use crate::{
    arguments::TaskName,
    failure::Failure,
    host,
    print::{Printer, Tone},
};

/// One tool call, as the record tells of it.
#[derive(Debug, Serialize)]
struct Told {
    /// The number of the event.
    event: u64,
    /// When it was recorded, RFC 3339 in UTC.
    at: String,
    #[serde(flatten)]
    call: Value,
}

pub(crate) fn list(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let mut calls: Vec<Told> = Vec::new();
    for record in stockade_audit::read(&task.directory.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        if record.kind == RecordKind::Event(EventKind::Advice) {
            calls.push(Told::of(&record)?);
        }
    }
    for call in &calls {
        printer.line(&call.line(printer));
    }
    if calls.is_empty() {
        printer.note(&format!(
            "no hook told of a tool call in {}",
            task.status.slug
        ));
    } else {
        printer.note("as the agent told them; `stockade why EVENT` explains one");
    }
    printer.json(&calls);
    Ok(ExitCode::SUCCESS)
}

impl Told {
    fn of(record: &Record) -> Result<Self, Failure> {
        Ok(Self {
            event: record.seq,
            at: record.written_at().map_err(Failure::failed)?,
            call: record.body.clone(),
        })
    }

    /// One line for people: which, when, who, what, and how it was judged.
    fn line(&self, printer: Printer) -> String {
        let text = |name: &str| {
            let text = self.call[name].as_str();
            text.map(|text| visible::line(text.as_bytes()))
        };
        if self.call["tamper"] == true {
            let reason = text("reason").unwrap_or_default();
            let reason = printer.paint(Tone::Bad, &reason);
            return format!("{}  {}  {reason}", self.event, self.at);
        }
        let agent = text("agent").unwrap_or_default();
        let what = text("what").unwrap_or_else(|| "what is not understood".to_owned());
        let verdict = text("verdict").unwrap_or_default();
        let tone = if self.call["refused"] == true {
            Tone::Bad
        } else {
            Tone::Good
        };
        let verdict = printer.paint(tone, &verdict);
        let rule = text("rule").map(|rule| format!(" ({rule})"));
        let rule = rule.unwrap_or_default();
        format!(
            "{}  {}  {agent}  {what}  {verdict}{rule}",
            self.event, self.at
        )
    }
}
