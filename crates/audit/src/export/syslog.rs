//! RFC 5424: one message a record, with what finds its proof as structured data.

use std::fmt::Write as _;

use stockade_types::{EventKind, canonical_json};

use super::kind;
use crate::record::{Record, RecordKind};

/// `log audit`.
const FACILITY: u8 = 13;
/// Severities.
const CRITICAL: u8 = 2;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// The number that RFC 5612 keeps for documentation: Stockade has none of its own.
const ENTERPRISE: u32 = 32473;
/// What a message in UTF-8 begins with.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The longest names of an application's process and of a message.
const PROCESS_MAX: usize = 128;
const MESSAGE_MAX: usize = 32;

/// The message of a record of `log`.
pub(super) fn message(log: &str, record: &Record) -> Result<String, serde_json::Error> {
    let severity = match record.kind {
        _ if record.body["alarm"] == true => CRITICAL,
        RecordKind::Event(EventKind::Denied) | RecordKind::Upkeep(_) => WARNING,
        RecordKind::Event(_) => INFORMATIONAL,
    };
    let priority = FACILITY * 8 + severity;
    let at = record
        .written_at()
        .map_err(<serde_json::Error as serde::ser::Error>::custom)?;
    let (process, kind) = (name(log, PROCESS_MAX), name(&kind(record)?, MESSAGE_MAX));
    let software = env!("CARGO_PKG_VERSION");
    let (log, seq) = (parameter(log), record.seq);
    let body = canonical_json(&record.body);
    Ok(format!(
        "<{priority}>1 {at} - stockade {process} {kind} \
         [origin software=\"stockade\" swVersion=\"{software}\"]\
         [record@{ENTERPRISE} log=\"{log}\" seq=\"{seq}\"] {BYTE_ORDER_MARK}{}",
        one_line(&body)
    ))
}

/// A name in a header: printable ASCII without spaces, or none.
fn name(text: &str, most: usize) -> String {
    let name: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(most)
        .collect();
    if name.is_empty() {
        "-".to_owned()
    } else {
        name
    }
}

/// The value of a parameter, in which three characters are escaped.
fn parameter(text: &str) -> String {
    let mut value = String::new();
    for character in text.chars() {
        if matches!(character, '"' | '\\' | ']') {
            value.push('\\');
        }
        value.push(character);
    }
    value
}

/// JSON without the characters beyond ASCII that some take for the end of a line, or
/// that drive a terminal; within its texts JSON may spell any so.
fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        let turns = matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            let _ = write!(line, "\\u{:04x}", u32::from(character));
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::tests::{hostile, record},
        *,
    };

    #[test]
    fn a_message_has_the_form_of_rfc_5424_whatever_the_record_says() {
        let message = message("t\"]\\", &hostile()).unwrap();
        let head = "<108>1 2026-01-02T03:04:05.006Z - stockade t\"]\\ denied \
                    [origin software=\"stockade\" swVersion=\"0.1.0\"]\
                    [record@32473 log=\"t\\\"\\]\\\\\" seq=\"7\"] \u{feff}";
        let body = message.strip_prefix(head).unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, hostile().body);
        assert!(message.chars().all(|character| !character.is_control()));
    }

    #[test]
    fn an_alarm_is_critical_and_an_ordinary_event_is_not() {
        for (kind, body, priority) in [
            (EventKind::Denied, json!({ "alarm": true }), "<106>1 "),
            (EventKind::Denied, json!({}), "<108>1 "),
            (EventKind::ExecStarted, json!({}), "<110>1 "),
        ] {
            let message = message("t", &record(0, kind, body)).unwrap();
            assert!(message.starts_with(priority), "{message}");
        }
    }
}
