//! `stockade logs --mcp`: what a task's MCP servers were asked for, and what they were
//! refused.

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

/// One event about a server.
#[derive(Debug, Serialize)]
struct About {
    /// The number of the event.
    event: u64,
    /// When it was recorded, RFC 3339 in UTC.
    at: String,
    #[serde(flatten)]
    body: Value,
}

pub(crate) fn list(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let mut all: Vec<About> = Vec::new();
    for record in stockade_audit::read(&task.directory.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        if is_about_mcp(&record) {
            all.push(About {
                event: record.seq,
                at: record.written_at().map_err(Failure::failed)?,
                body: record.body,
            });
        }
    }
    for about in &all {
        printer.line(&about.line(printer));
    }
    if all.is_empty() {
        let slug = &task.status.slug;
        printer.note(&format!("nothing in {slug} asked for an MCP server"));
    }
    printer.json(&all);
    Ok(ExitCode::SUCCESS)
}

fn is_about_mcp(record: &Record) -> bool {
    match record.kind {
        RecordKind::Event(EventKind::Mcp) => true,
        RecordKind::Event(EventKind::Denied) => record.body["mcp"].is_string(),
        _ => false,
    }
}

impl About {
    /// One line for people: which, when, which server, what.
    fn line(&self, printer: Printer) -> String {
        let text = |value: &Value| {
            let text = value.as_str().unwrap_or_default();
            visible::line(text.as_bytes())
        };
        let server = text(&self.body["mcp"]);
        let denial = &self.body["denial"];
        let what = if denial.is_object() {
            let (rule, reason) = (text(&denial["rule"]), text(&denial["reason"]));
            let refused = format!("refused ({rule}): {reason}");
            printer.paint(Tone::Bad, &refused)
        } else {
            match self.body["seen"].as_str() {
                Some("called") => format!("called {}", text(&self.body["tool"])),
                Some("opened") => format!("says that it is {}", text(&self.body["server"])),
                Some("treated") => {
                    let (tool, rule) = (text(&self.body["tool"]), text(&self.body["rule"]));
                    format!(
                        "the result of {tool} ({rule}): {}",
                        text(&self.body["what"])
                    )
                }
                Some("dropped") => format!("a message went nowhere: {}", text(&self.body["why"])),
                _ => text(&self.body["server"]),
            }
        };
        format!("{}  {}  {server}  {what}", self.event, self.at)
    }
}
