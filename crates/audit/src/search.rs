//! Finding records. Most are passed over by how their entries are spelled, without
//! being read as JSON: that is fast enough to need no index, which would be one more
//! thing to be made, kept and mistrusted.

use serde_json::Value;

use stockade_types::write_canonical_json;

use crate::record::{Record, RecordKind};

/// What an entry of today's form begins with, and how long its time is.
const BEGINNING: &[u8] = b"{\"at\":\"";
const TIME: usize = "2026-01-02T03:04:05.006Z".len();
/// What stands before the kind, which is behind the body, and how far at most from the
/// end of an entry.
const BEFORE_KIND: &[u8] = b",\"kind\":\"";
const KIND_WITHIN: usize = 128;

/// Which records are wanted; empty, all are.
#[derive(Clone, Debug, Default)]
pub struct Search {
    kinds: Vec<String>,
    contains: Option<String>,
    since: Option<String>,
    until: Option<String>,
    /// How entries spell what they are to contain, where they have one spelling for it.
    spelled: Option<String>,
}

impl Search {
    /// Only records of one of these kinds, by their names; of any if there is none.
    pub fn of_kinds(mut self, kinds: &[String]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Only what says this somewhere: in a text or the name of a member, or as a number.
    pub fn containing(mut self, text: Option<&str>) -> Self {
        self.contains = text.map(str::to_owned);
        self.spelled = text.and_then(spelled);
        self
    }

    /// Only from this time on and before that one: RFC 3339 in UTC, or the beginning
    /// of it.
    pub fn between(mut self, since: Option<&str>, until: Option<&str>) -> Self {
        (self.since, self.until) = (since.map(str::to_owned), until.map(str::to_owned));
        self
    }

    /// Whether `record` is wanted.
    pub fn wants(&self, record: &Record) -> bool {
        let ever = self.since.is_none() && self.until.is_none();
        (ever || record.written_at().is_ok_and(|at| self.is_in_time(&at)))
            && (self.kinds.is_empty() || self.kinds.contains(&kind_name(record.kind)))
            && self
                .contains
                .as_deref()
                .is_none_or(|text| says(&record.body, text))
    }

    /// Times of one spelling are in the order of their letters.
    fn is_in_time(&self, at: &str) -> bool {
        self.since.as_deref().is_none_or(|since| at >= since)
            && self.until.as_deref().is_none_or(|until| at < until)
    }

    /// Whether the record that `entry` spells may be wanted; that of a form that is not
    /// today's may.
    pub(crate) fn may_want(&self, entry: &[u8]) -> bool {
        let all = self.kinds.is_empty() && self.contains.is_none();
        if all && self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(text) = std::str::from_utf8(entry) else {
            return true;
        };
        let Some(at) = entry
            .strip_prefix(BEGINNING)
            .and_then(|_| text.get(BEGINNING.len()..BEGINNING.len() + TIME))
        else {
            return true;
        };
        self.is_in_time(at)
            && kind_of(text).is_none_or(|kind| {
                self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
            })
            && self
                .spelled
                .as_deref()
                .is_none_or(|spelled| text.contains(spelled))
    }
}

/// The kind of the record that `entry` spells. No text within the body looks like the
/// member, as its quotes would be escaped.
fn kind_of(entry: &str) -> Option<&str> {
    let bytes = entry.as_bytes();
    let from = bytes.len().saturating_sub(KIND_WITHIN);
    let place = bytes[from..]
        .windows(BEFORE_KIND.len())
        .rposition(|part| part == BEFORE_KIND)?;
    let rest = entry.get(from + place + BEFORE_KIND.len()..)?;
    rest.split('"').next()
}

fn kind_name(kind: RecordKind) -> String {
    let value = serde_json::to_value(kind).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// How entries spell `text` within a text; nothing for a number that may be spelled in
/// another way.
fn spelled(text: &str) -> Option<String> {
    if text.parse::<f64>().is_ok() && text.parse::<i128>().is_err() {
        return None;
    }
    let mut quoted = String::new();
    write_canonical_json(&Value::String(text.to_owned()), &mut quoted);
    Some(quoted[1..quoted.len() - 1].to_owned())
}

/// Whether a value says this text somewhere.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| says(item, text)),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains(text) || says(value, text)),
        Value::Number(number) => number.to_string() == text,
        Value::Null | Value::Bool(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use stockade_types::EventKind;

    use super::*;

    fn record(kind: EventKind, body: Value) -> Record {
        Record::now(7, RecordKind::Event(kind), body)
    }

    fn search(kind: Option<&str>, text: Option<&str>) -> Search {
        let kinds: Vec<_> = kind.into_iter().map(str::to_owned).collect();
        Search::default().of_kinds(&kinds).containing(text)
    }

    #[test]
    fn what_is_passed_over_is_of_another_kind_time_or_text() {
        let body =
            json!({ "argv": ["a\"b"], "kind": "merged", "n": 5, "x": ",\"kind\":\"merged\"" });
        let record = record(EventKind::Denied, body);
        let entry = record.encode().unwrap();
        for (kind, text, wanted) in [
            (None, None, true),
            (Some("denied"), None, true),
            (Some("merged"), None, false),
            (None, Some("a\"b"), true),
            (None, Some("a\\"), false),
            (None, Some("argv"), true),
            (None, Some("5"), true),
            (Some("denied"), Some("nowhere"), false),
        ] {
            let search = search(kind, text);
            assert_eq!(search.wants(&record), wanted, "{kind:?} {text:?}");
            assert!(search.may_want(&entry) || !wanted);
        }
        assert!(!search(Some("merged"), None).may_want(&entry));
        assert!(!search(None, Some("nowhere")).may_want(&entry));
        let at = record.written_at().unwrap();
        let from = |since: &str| Search::default().between(Some(since), None);
        assert!(from(&at).may_want(&entry) && !from("9999").may_want(&entry));
        assert!(!Search::default().between(None, Some(&at)).may_want(&entry));
    }

    proptest! {
        #[test]
        fn nothing_that_is_wanted_is_passed_over(
            text in "[a-c\"\\\\\u{1}\u{e9}0-9.e+-]{0,8}",
            part in 0_usize..8,
            number in prop_oneof![any::<f64>().prop_filter("finite", |n| n.is_finite()), Just(1e30), Just(0.5)],
            whole: i64,
            kind in prop::sample::select(vec![EventKind::Denied, EventKind::ExecStarted, EventKind::Merged]),
        ) {
            let record = record(kind, json!({ "a": [text, number, whole], "kind": { "denied": 1 } }));
            let entry = record.encode().unwrap();
            // As a reader has it.
            let record = Record::decode(&entry).unwrap();
            let piece: String = text.chars().skip(part).collect();
            let of_number = record.body["a"][1].to_string();
            for wanted in [piece, of_number, whole.to_string(), "denied".to_owned()] {
                for kind in [None, Some("denied"), Some("exec-started")] {
                    let search = search(kind, Some(&wanted));
                    prop_assert!(search.may_want(&entry) || !search.wants(&record), "{wanted}");
                }
            }
        }
    }
}
