use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stockade_types::EventKind;

/// The longest event, as JSON, that is recorded: 64 KiB.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;

/// The longest line: an event and what the recorder adds to it.
pub(crate) const MAX_LINE_BYTES: usize = MAX_EVENT_BYTES + 1024;

/// A SHA-256 over the exact bytes of a line, without its line feed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record's hash is 64 lower-case hexadecimal digits")]
pub struct HashError;

impl Hash {
    /// What the first record names as its predecessor.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of one line.
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// The hash that these bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

/// The value of one digit. Upper case is refused, so that a hash has one
/// spelling only.
fn digit(byte: u8) -> Result<u8, HashError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(HashError),
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Hash {
    type Error = HashError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

/// The receipt for a record: its number and its hash.
///
/// Kept outside the log (in a merge commit, in another log), it proves later
/// that nothing up to this record was changed or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The record's number, counted from 0.
    pub seq: u64,
    /// The hash of the record's line.
    pub hash: Hash,
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
    /// An unfinished last line, left by a crash, was cut off. Such a line was
    /// never acknowledged to anybody.
    LogRepaired,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The number, counted from 0 without gaps.
    pub seq: u64,
    /// When it was written, by the host's clock: UTC, to the millisecond.
    #[serde(with = "timestamp")]
    pub at: time::OffsetDateTime,
    /// The hash of the line before, or [`Hash::ZERO`].
    pub prev: Hash,
    /// What it is.
    pub kind: RecordKind,
    /// The particulars.
    pub body: serde_json::Value,
}

/// Milliseconds in UTC, always with the same number of digits.
mod timestamp {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};
    use time::{
        OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::BorrowedFormatItem,
        macros::format_description,
    };

    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

    pub(super) fn serialize<S: Serializer>(
        at: &OffsetDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = at
            .to_offset(UtcOffset::UTC)
            .format(FORMAT)
            .map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
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
    use proptest::prelude::*;
    use stockade_types::EventKind;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_line_has_the_documented_form() {
        let record = Record {
            seq: 7,
            at: datetime!(2026-01-02 03:04:05.006 UTC),
            prev: Hash::ZERO,
            kind: RecordKind::Event(EventKind::TaskStarted),
            body: serde_json::json!({"agent": "codex"}),
        };
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(
            line,
            format!(
                r#"{{"seq":7,"at":"2026-01-02T03:04:05.006Z","prev":"{}","kind":"task-started","body":{{"agent":"codex"}}}}"#,
                "0".repeat(64)
            )
        );
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn upkeep_and_events_share_the_kind_field() {
        let kind = RecordKind::Upkeep(Upkeep::LogRepaired);
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(json, r#""log-repaired""#);
        assert_eq!(serde_json::from_str::<RecordKind>(&json).unwrap(), kind);
        assert!(serde_json::from_str::<RecordKind>(r#""no-such-kind""#).is_err());
    }

    #[test]
    fn a_hash_has_one_spelling_only() {
        assert!("A".repeat(64).parse::<Hash>().is_err());
        assert!("a".repeat(63).parse::<Hash>().is_err());
        assert!("é".repeat(32).parse::<Hash>().is_err());
    }

    proptest! {
        #[test]
        fn hashes_survive_their_text_form(bytes: [u8; 32]) {
            let hash = Hash::from_bytes(bytes);
            prop_assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        }
    }
}
