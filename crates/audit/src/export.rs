//! Records in forms that other tools read. An export reads logs; nothing waits
//! for it.

mod ocsf;
mod otlp;
mod syslog;

use serde_json::{Value, json};

use self::{ocsf::Chain, otlp::Spans};
use stockade_types::canonical_json;

use crate::record::Record;

/// A form of export, in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// The records as the log has them, with the name of their log.
    Jsonl,
    /// RFC 4180, but for its line ends.
    Csv,
    /// Events of the Open Cybersecurity Schema Framework, with its profile for the
    /// integrity of records.
    Ocsf,
    /// Traces of OpenTelemetry in OTLP's JSON, some spans a line.
    Otlp,
    /// RFC 5424, with structured data.
    Syslog,
}

/// One log on its way into a form. It is to see every record from the first on: what
/// is written of one may tell of those before.
#[derive(Debug)]
pub struct Exporter {
    form: Form,
    log: String,
    machine: String,
}

#[derive(Debug)]
enum Form {
    Jsonl,
    Csv,
    Ocsf(Chain),
    Otlp(Box<Spans>),
    Syslog,
}

impl Export {
    /// What stands before the records.
    pub fn header(self) -> Option<&'static str> {
        (self == Self::Csv).then_some("log,seq,at,kind,body")
    }

    /// The way of the log of this name into this form; `machine` is the name of the
    /// key that its checkpoints are signed with.
    pub fn of_log(self, machine: &str, log: &str) -> Exporter {
        Exporter {
            form: match self {
                Self::Jsonl => Form::Jsonl,
                Self::Csv => Form::Csv,
                Self::Ocsf => Form::Ocsf(Chain::default()),
                Self::Otlp => Form::Otlp(Box::new(Spans::new(machine, log))),
                Self::Syslog => Form::Syslog,
            },
            log: log.to_owned(),
            machine: machine.to_owned(),
        }
    }
}

impl Exporter {
    /// The lines that the next record completes, without line feeds; of one that is
    /// not `wanted`, none.
    pub fn record(
        &mut self,
        record: &Record,
        wanted: bool,
    ) -> Result<Vec<String>, serde_json::Error> {
        let (log, machine) = (&*self.log, &*self.machine);
        let line = match &mut self.form {
            Form::Otlp(spans) => {
                spans.add(record, wanted);
                return Ok(spans.full_line().into_iter().collect());
            }
            // Each event names the one before, also where that is not wanted.
            Form::Ocsf(chain) => Some(chain.event(machine, log, record)?).filter(|_| wanted),
            _ if !wanted => None,
            Form::Jsonl => {
                let mut value = serde_json::to_value(record)?;
                value["log"] = json!(log);
                Some(canonical_json(&value))
            }
            Form::Csv => Some(csv(log, record)?),
            Form::Syslog => Some(syslog::message(log, record)?),
        };
        Ok(line.into_iter().collect())
    }

    /// What is left once the log has ended.
    pub fn finish(self) -> Option<String> {
        match self.form {
            Form::Otlp(spans) => spans.finish(),
            _ => None,
        }
    }
}

fn csv(log: &str, record: &Record) -> Result<String, serde_json::Error> {
    let value = serde_json::to_value(record)?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let body = canonical_json(&record.body);
    let seq = record.seq.to_string();
    let cells = [log, &seq, &text("at"), &text("kind"), &body];
    Ok(cells.map(cell).join(","))
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

/// The name of a record's kind.
fn kind(record: &Record) -> Result<String, serde_json::Error> {
    let value = serde_json::to_value(record.kind)?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

/// The words of a command, where the record has some.
fn words(body: &Value) -> Option<Vec<&str>> {
    let words = body["argv"].as_array()?;
    Some(words.iter().filter_map(Value::as_str).collect())
}

#[cfg(test)]
mod tests {
    use stockade_types::EventKind;
    use time::macros::datetime;

    use super::*;
    use crate::record::RecordKind;

    pub(super) fn record(seq: u64, kind: EventKind, body: Value) -> Record {
        Record {
            at: datetime!(2026-01-02 03:04:05.006 UTC),
            body,
            kind: RecordKind::Event(kind),
            prev: None,
            seq,
            version: 2,
        }
    }

    pub(super) fn hostile() -> Record {
        let host = "=cmd|'x'!A1\",\n]\\ \u{202e}";
        record(7, EventKind::Denied, json!({ "host": host, "port": 443 }))
    }

    #[test]
    fn a_hostile_text_stays_in_its_cell_and_on_its_line() {
        let mut csv = Export::Csv.of_log("stockade/m", "=t");
        let record = record(7, EventKind::Denied, json!({ "host": "=cmd|'x'!A1\",\n" }));
        assert_eq!(
            csv.record(&record, true).unwrap(),
            [r#""'=t","7","2026-01-02T03:04:05.006Z","denied","{""host"":""=cmd|'x'!A1\"",\n""}""#]
        );
        for form in [
            Export::Csv,
            Export::Jsonl,
            Export::Ocsf,
            Export::Otlp,
            Export::Syslog,
        ] {
            let mut exporter = form.of_log("stockade/m", "t");
            let mut lines = exporter.record(&hostile(), true).unwrap();
            lines.extend(exporter.finish());
            let [line] = lines.as_slice() else {
                unreachable!("{form:?} has {lines:?}");
            };
            assert_eq!(line.lines().count(), 1, "{form:?}");
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_written() {
        for form in [
            Export::Csv,
            Export::Jsonl,
            Export::Ocsf,
            Export::Otlp,
            Export::Syslog,
        ] {
            let mut exporter = form.of_log("stockade/m", "t");
            assert!(exporter.record(&hostile(), false).unwrap().is_empty());
            assert_eq!(exporter.finish(), None, "{form:?}");
        }
    }
}
