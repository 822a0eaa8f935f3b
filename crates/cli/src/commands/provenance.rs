//! `stockade provenance`: what a task has fetched, by the record.

use std::process::ExitCode;

use serde::Serialize;
use stockade_audit::{Record, RecordKind};
use stockade_supervisor::TaskDirectory;
use stockade_types::{EventKind, visible};

use crate::{
    arguments::TaskName,
    failure::Failure,
    host,
    print::{Printer, Tone},
};

/// A reply that was received whole from a host that is no model's.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    /// The number of the event that tells of it.
    event: u64,
    /// When it was whole, RFC 3339 in UTC.
    at: String,
    method: String,
    /// Without the values of parameters that carry credentials.
    url: String,
    status: u64,
    bytes: u64,
    /// Of the bytes as they came, which `encoding` may have packed.
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    /// The first snapshot of the workspace that was taken after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    before_snapshot: Option<u64>,
    /// The commit by which work was merged after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    before_commit: Option<String>,
}

impl Fetched {
    fn of(record: &Record) -> Result<Option<Self>, Failure> {
        let body = &record.body;
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let (Some(url), Some(sha256)) = (text("url"), text("sha256")) else {
            return Ok(None);
        };
        Ok(Some(Self {
            event: record.seq,
            at: record.written_at().map_err(Failure::failed)?,
            method: text("method").unwrap_or_default(),
            url,
            status: body["status"].as_u64().unwrap_or_default(),
            bytes: body["received"].as_u64().unwrap_or_default(),
            sha256,
            encoding: text("encoding"),
            before_snapshot: None,
            before_commit: None,
        }))
    }

    /// One line for people.
    pub(crate) fn line(&self, printer: Printer) -> String {
        let digest = self.sha256.get(..12).unwrap_or_default();
        let digest = printer.paint(Tone::Faint, &format!("sha256:{digest}"));
        let url = visible::line(self.url.as_bytes());
        let (method, status, bytes) = (&self.method, self.status, self.bytes);
        format!("{method} {url}  {status}  {bytes} B  {digest}")
    }
}

/// All that the task has fetched, in order.
pub(crate) fn of(task: &TaskDirectory) -> Result<Vec<Fetched>, Failure> {
    let mut fetched: Vec<Fetched> = Vec::new();
    // How many of them precede a snapshot or a commit that was seen.
    let (mut snapped, mut merged) = (0, 0);
    for record in stockade_audit::read(&task.record()).map_err(Failure::failed)? {
        let record = record.map_err(Failure::failed)?;
        match record.kind {
            RecordKind::Event(EventKind::NetworkOutcome) => fetched.extend(Fetched::of(&record)?),
            RecordKind::Event(EventKind::Snapshot) => {
                let number = record.body["number"].as_u64();
                for one in &mut fetched[snapped..] {
                    one.before_snapshot = number;
                }
                snapped = fetched.len();
            }
            RecordKind::Event(EventKind::Merged) => {
                let commit = record.body["landed"]["commit"].as_str();
                for one in &mut fetched[merged..] {
                    one.before_commit = commit.map(str::to_owned);
                }
                merged = fetched.len();
            }
            _ => {}
        }
    }
    Ok(fetched)
}

pub(crate) fn run(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let fetched = of(&task.directory)?;
    let mut before = (None, None);
    for one in &fetched {
        let own = (one.before_snapshot, one.before_commit.as_deref());
        if own != before {
            printer.line(&printer.paint(Tone::Strong, &heading(own)));
            before = own;
        }
        printer.line(&format!("  {}  {}", one.at, one.line(printer)));
    }
    if fetched.is_empty() {
        printer.note(&format!("{} has fetched nothing", task.status.slug));
    }
    printer.json(&fetched);
    Ok(ExitCode::SUCCESS)
}

fn heading((snapshot, commit): (Option<u64>, Option<&str>)) -> String {
    let snapshot = snapshot.map(|number| format!("before snapshot {number}"));
    let commit = commit.map(|commit| {
        let short = commit.get(..12).unwrap_or(commit);
        format!("before commit {short}")
    });
    let both: Vec<_> = snapshot.into_iter().chain(commit).collect();
    if both.is_empty() {
        "after the last snapshot".to_owned()
    } else {
        both.join(", ")
    }
}
