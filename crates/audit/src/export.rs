//! Records in forms that other tools read.

use serde_json::{Value, json};
use stockade_types::EventKind;

use crate::{
    canonical,
    record::{Record, RecordKind},
};

/// A form of export, one record a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// The records as the log has them, with the name of their log.
    Jsonl,
    /// RFC 4180, but for its line ends.
    Csv,
    /// Events of the Open Cybersecurity Schema Framework.
    Ocsf,
}

/// Which class of OCSF an event belongs to, and which of its activities it is.
struct Class {
    id: u32,
    category: u32,
    activity: u32,
}

impl Export {
    /// What stands before the records.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Csv => Some("log,seq,at,kind,body"),
            Self::Jsonl | Self::Ocsf => None,
        }
    }

    /// A record of the log of this name, without a line feed.
    pub fn line(self, log: &str, record: &Record) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(record)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(match self {
            Self::Jsonl => {
                value["log"] = json!(log);
                spelled(&value)
            }
            Self::Csv => {
                let body = spelled(&record.body);
                let cells = [
                    log,
                    &record.seq.to_string(),
                    &text(&value["at"]),
                    &text(&value["kind"]),
                    &body,
                ];
                cells.map(cell).join(",")
            }
            Self::Ocsf => spelled(&ocsf(log, record, &text(&value["kind"]))),
        })
    }
}

fn spelled(value: &Value) -> String {
    let mut text = String::new();
    canonical::write_value(value, &mut text);
    text
}

/// Quoted, and so that no spreadsheet takes it for a formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn class(kind: RecordKind) -> Class {
    let (id, category, activity) = match kind {
        // Process Activity: launch, terminate.
        RecordKind::Event(EventKind::ExecStarted) => (1007, 1, 1),
        RecordKind::Event(EventKind::ExecEnded) => (1007, 1, 2),
        // Network Activity: open, close, refuse.
        RecordKind::Event(EventKind::NetworkRequest | EventKind::InboundConnection) => (4001, 4, 1),
        RecordKind::Event(EventKind::NetworkOutcome | EventKind::InboundOutcome) => (4001, 4, 2),
        RecordKind::Event(EventKind::Denied) => (4001, 4, 5),
        // API Activity: other.
        _ => (6003, 6, 99),
    };
    Class {
        id,
        category,
        activity,
    }
}

/// What OCSF has a place for; all else is its `unmapped`.
fn ocsf(log: &str, record: &Record, kind: &str) -> Value {
    let class = class(record.kind);
    let refused = record.kind == RecordKind::Event(EventKind::Denied);
    let milliseconds = record.at.unix_timestamp_nanos() / 1_000_000;
    let mut event = json!({
        "activity_id": class.activity,
        "category_uid": class.category,
        "class_uid": class.id,
        "message": kind,
        "metadata": {
            "log_name": log,
            "product": { "name": "Stockade", "vendor_name": "Stockade" },
            "sequence": record.seq,
            "uid": format!("{log}/{}", record.seq),
            "version": "1.3.0",
        },
        "severity_id": if refused { 2 } else { 1 },
        "time": i64::try_from(milliseconds).unwrap_or_default(),
        "type_uid": class.id * 100 + class.activity,
        "unmapped": record.body,
    });
    if refused {
        event["status_id"] = json!(2);
    }
    if class.id == 4001 {
        let (host, port) = (&record.body["host"], &record.body["port"]);
        event["dst_endpoint"] = json!({ "hostname": host, "port": port });
    }
    event
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn record() -> Record {
        Record {
            at: datetime!(2026-01-02 03:04:05.006 UTC),
            body: json!({ "host": "=cmd|'x'!A1\",\n", "port": 443 }),
            kind: RecordKind::Event(EventKind::Denied),
            prev: None,
            seq: 7,
            version: 2,
        }
    }

    #[test]
    fn a_hostile_text_stays_in_its_cell_and_on_its_line() {
        let line = Export::Csv.line("=t", &record()).unwrap();
        assert_eq!(
            line,
            r#""'=t","7","2026-01-02T03:04:05.006Z","denied","{""host"":""=cmd|'x'!A1\"",\n"",""port"":443}""#
        );
        for form in [Export::Csv, Export::Jsonl, Export::Ocsf] {
            assert_eq!(form.line("t", &record()).unwrap().lines().count(), 1);
        }
    }

    #[test]
    fn a_refusal_is_a_network_activity_that_failed() {
        let line = Export::Ocsf.line("t", &record()).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["class_uid"], 4001);
        assert_eq!(event["type_uid"], 400_105);
        assert_eq!(event["time"], 1_767_323_045_006_i64);
        assert_eq!(event["dst_endpoint"]["port"], 443);
        assert_eq!(event["metadata"]["uid"], "t/7");
    }
}
