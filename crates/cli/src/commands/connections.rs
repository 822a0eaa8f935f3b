//! `stockade logs --network`: every connection of a task, out and in.

use std::{collections::HashMap, process::ExitCode};

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

/// One connection or request, as the record tells of it. What is not known is
/// left out.
#[derive(Debug, Default, Serialize)]
struct Connection {
    /// The number of the event that tells most of it.
    event: u64,
    /// When it was judged, RFC 3339 in UTC.
    at: String,
    task: String,
    direction: &'static str,
    verdict: &'static str,
    #[serde(flatten)]
    told: serde_json::Map<String, Value>,
}

/// What of an event's body is told of a connection.
const TOLD: [&str; 20] = [
    "host",
    "address",
    "port",
    "inside",
    "method",
    "path",
    "rule",
    "allowed_by",
    "reason",
    "secret",
    "status",
    "sent",
    "sent_body",
    "received",
    "ended",
    "error",
    "usage",
    "cost",
    "cost_estimated",
    "alarm",
];

pub(crate) fn list(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let records = stockade_audit::read(&task.directory.record()).map_err(Failure::failed)?;
    let mut connections: Vec<Connection> = Vec::new();
    // Which of them still waits for its outcome, by direction and number.
    let mut waiting: HashMap<(&'static str, u64), usize> = HashMap::new();
    for record in records {
        let record = record.map_err(Failure::failed)?;
        let RecordKind::Event(kind) = record.kind else {
            continue;
        };
        let direction = match kind {
            EventKind::NetworkRequest | EventKind::NetworkOutcome | EventKind::Denied => "out",
            EventKind::InboundConnection | EventKind::InboundOutcome => "in",
            _ => continue,
        };
        let number = record.body["request"].as_u64().unwrap_or_default();
        match kind {
            EventKind::Denied if record.body["host"].is_null() => {}
            EventKind::Denied => connections.push(Connection::of(&record, direction, "deny")?),
            EventKind::NetworkOutcome | EventKind::InboundOutcome => {
                match waiting.remove(&(direction, number)) {
                    Some(index) => connections[index].add(&record),
                    None => connections.push(Connection::of(&record, direction, "allow")?),
                }
            }
            _ => {
                waiting.insert((direction, number), connections.len());
                connections.push(Connection::of(&record, direction, "allow")?);
            }
        }
    }
    for connection in &mut connections {
        connection.task = task.status.id.to_string();
        printer.line(&connection.line(printer));
    }
    if connections.is_empty() {
        printer.note(&format!(
            "{} has not connected to anything",
            task.status.slug
        ));
    }
    printer.json(&connections);
    Ok(ExitCode::SUCCESS)
}

impl Connection {
    fn of(
        record: &Record,
        direction: &'static str,
        verdict: &'static str,
    ) -> Result<Self, Failure> {
        let mut connection = Self {
            at: record.written_at().map_err(Failure::failed)?,
            direction,
            verdict,
            ..Self::default()
        };
        connection.add(record);
        Ok(connection)
    }

    /// Takes over what a later event of the same connection tells.
    fn add(&mut self, record: &Record) {
        self.event = record.seq;
        for name in TOLD {
            if let Some(value) = record.body.get(name).filter(|value| !value.is_null()) {
                self.told.insert(name.to_owned(), value.clone());
            }
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.told.get(name)? {
            Value::String(text) => Some(visible::line(text.as_bytes())),
            value => Some(value.to_string()),
        }
    }

    /// One line for people: when, the verdict, what, and what came of it.
    fn line(&self, printer: Printer) -> String {
        let tone = if self.verdict == "allow" {
            Tone::Good
        } else {
            Tone::Bad
        };
        let port = self.text("port").unwrap_or_default();
        let place = match (self.text("host"), self.text("inside")) {
            (Some(host), _) if host.contains(':') => format!("[{host}]:{port}"),
            (Some(host), _) => format!("{host}:{port}"),
            (None, inside) => format!("127.0.0.1:{port} to {} inside", inside.unwrap_or_default()),
        };
        let address = self.text("address").map(|address| format!(" ({address})"));
        let mut words = vec![
            self.at.clone(),
            self.direction.to_owned(),
            printer.paint(tone, self.verdict),
        ];
        words.extend(self.text("method"));
        words.push(format!(
            "{place}{}{}",
            self.text("path").unwrap_or_default(),
            address.unwrap_or_default()
        ));
        words.extend(self.text("status"));
        for (name, what) in [("sent", "B out"), ("received", "B in")] {
            words.extend(self.text(name).map(|bytes| format!("{bytes} {what}")));
        }
        words.extend(self.text("rule"));
        words.extend(self.text("allowed_by").map(|rule| format!("`{rule}`")));
        words.extend(self.text("secret").map(|name| format!("with {name}")));
        words.extend(self.text("cost"));
        let ended = self.text("ended").filter(|ended| ended != "complete");
        words.extend(ended);
        words.join("  ")
    }
}
