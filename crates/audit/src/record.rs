use serde::{Deserialize, Serialize};
use stockade_types::{EventKind, write_canonical_json};
use time::OffsetDateTime;

use crate::{hash::Hash, layout::MAX_ENTRY_BYTES};

/// The longest event, as JSON, that is recorded: 63 KiB.
pub const MAX_EVENT_BYTES: usize = 63 * 1024;

/// The form of records that is written today; the first one had no number.
const VERSION: u8 = 2;

// What a record adds to its event must fit into an entry.
const _: () = assert!(MAX_EVENT_BYTES + 512 <= MAX_ENTRY_BYTES);

/// The receipt for a record: its number, and the root of the tree that ends
/// with it.
///
/// Kept outside the log, it proves later that nothing up to this record was
/// changed or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The record's number, counted from 0.
    pub seq: u64,
    /// The root over this record and all before it.
    pub root: Hash,
}

/// Why there is a record: an event of the task, or upkeep of the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RecordKind {
    /// Something that happened in the task.
    Event(EventKind),
    /// Something that happened to the log.
    Upkeep(Upkeep),
}

/// What can happen to the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upkeep {
    /// The writer before this one ended without a last word: an unfinished
    /// entry, which was never acknowledged, was cut off, or records were found
    /// that no checkpoint covered yet.
    LogRepaired,
    /// The records before this one were taken over from the first form, a chain
    /// of lines in one file.
    LogMigrated,
    /// A record of the first form that is too long for an entry; the file that
    /// holds it is kept.
    LongRecord,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When it was written, by the host's clock: UTC, to the millisecond.
    #[serde(with = "timestamp")]
    pub at: OffsetDateTime,
    /// The particulars.
    pub body: serde_json::Value,
    /// What it is.
    pub kind: RecordKind,
    /// Of the first form only: the hash of the line before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Hash>,
    /// The number, counted from 0 without gaps.
    pub seq: u64,
    /// The form of the record.
    #[serde(default = "first_version", rename = "v")]
    pub version: u8,
}

const fn first_version() -> u8 {
    1
}

impl Record {
    /// A record of today's form, written now.
    pub(crate) fn now(seq: u64, kind: RecordKind, body: serde_json::Value) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            // What is written is also what is held: whole milliseconds.
            at: now.replace_millisecond(now.millisecond()).unwrap_or(now),
            body,
            kind,
            prev: None,
            seq,
            version: VERSION,
        }
    }

    /// When it was written, as the record spells it: RFC 3339 in UTC.
    pub fn written_at(&self) -> Result<String, time::error::Format> {
        timestamp::text(&self.at)
    }

    /// The record's one spelling, which is what the log holds.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        let mut text = String::with_capacity(256);
        write_canonical_json(&value, &mut text);
        Ok(text.into_bytes())
    }

    /// Reads an entry, of any form.
    pub(crate) fn decode(entry: &[u8]) -> Result<Self, serde_json::Error> {
        let record: Self = serde_json::from_slice(entry)?;
        let known = match record.version {
            1 => record.prev.is_some(),
            VERSION => record.prev.is_none(),
            _ => false,
        };
        if known {
            Ok(record)
        } else {
            Err(serde::de::Error::custom(format_args!(
                "it has the form {}, which this version does not know",
                record.version
            )))
        }
    }
}

/// Milliseconds in UTC, always with the same number of digits.
pub(crate) mod timestamp {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};
    use time::{
        OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::BorrowedFormatItem,
        macros::format_description,
    };

    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

    pub(crate) fn serialize<S: Serializer>(
        at: &OffsetDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(at).map_err(S::Error::custom)?)
    }

    pub(super) fn text(at: &OffsetDateTime) -> Result<String, time::error::Format> {
        at.to_offset(UtcOffset::UTC).format(FORMAT)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OffsetDateTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        PrimitiveDateTime::parse(&text, FORMAT)
            .map(PrimitiveDateTime::assume_utc)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_entry_has_the_documented_form() {
        let record = Record {
            at: datetime!(2026-01-02 03:04:05.006 UTC),
            body: json!({"model": "m", "agent": "codex"}),
            kind: RecordKind::Event(EventKind::TaskStarted),
            prev: None,
            seq: 7,
            version: 2,
        };
        let entry = record.encode().unwrap();
        assert_eq!(
            String::from_utf8(entry.clone()).unwrap(),
            r#"{"at":"2026-01-02T03:04:05.006Z","body":{"agent":"codex","model":"m"},"kind":"task-started","seq":7,"v":2}"#
        );
        assert_eq!(Record::decode(&entry).unwrap(), record);
    }

    #[test]
    fn a_record_reads_back_as_it_was_made() {
        let record = Record::now(3, RecordKind::Event(EventKind::Denied), json!([1.5]));
        assert_eq!(Record::decode(&record.encode().unwrap()).unwrap(), record);
    }

    #[test]
    fn a_line_of_the_first_form_is_still_read() {
        let line = format!(
            r#"{{"seq":7,"at":"2026-01-02T03:04:05.006Z","prev":"{}","kind":"task-started","body":{{"agent":"codex"}}}}"#,
            Hash::ZERO
        );
        let record = Record::decode(line.as_bytes()).unwrap();
        assert_eq!((record.version, record.seq), (1, 7));
        assert_eq!(record.prev, Some(Hash::ZERO));
    }

    #[test]
    fn a_form_that_is_not_known_is_no_record() {
        for entry in [
            r#"{"at":"2026-01-02T03:04:05.006Z","body":1,"kind":"denied","seq":7,"v":3}"#,
            r#"{"at":"2026-01-02T03:04:05.006Z","body":1,"kind":"denied","seq":7}"#,
            r#"{"at":"2026-01-02T03:04:05.006Z","body":1,"kind":"no-such-kind","seq":7,"v":2}"#,
        ] {
            assert!(Record::decode(entry.as_bytes()).is_err(), "{entry}");
        }
    }

    #[test]
    fn upkeep_and_events_share_the_kind_field() {
        let kind = RecordKind::Upkeep(Upkeep::LogRepaired);
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(json, r#""log-repaired""#);
        assert_eq!(serde_json::from_str::<RecordKind>(&json).unwrap(), kind);
    }
}
