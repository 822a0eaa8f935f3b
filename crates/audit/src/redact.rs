//! Secrets leave an event before it is hashed: what a log holds cannot be unsaid.

use std::{borrow::Cow, fmt};

use serde_json::{Map, Value, json};
use stockade_types::Event;

/// The member of a body that says what was taken out of it.
const MEMBER: &str = "redacted";
/// The most that it names.
const NAMED_MAX: usize = 32;
/// What stands for a whole text where markers would make an event too long.
const SHORT: &str = "[redacted]";

/// Knows secrets, and takes them out of texts.
pub trait Redact: fmt::Debug + Send + Sync {
    /// `text` without the secrets that it holds; nothing if it holds none.
    fn redact(&self, text: &str) -> Option<Redaction>;
}

/// A text from which secrets were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// What is left, with something in their place.
    pub text: String,
    /// What each was, never its value.
    pub removed: Vec<String>,
}

/// `event` without secrets in any of its texts and names; if that is longer than
/// `most` bytes, with nothing left of those texts.
pub(crate) fn event<'e>(
    event: &'e Event,
    by: &dyn Redact,
    most: usize,
) -> Result<Cow<'e, Event>, serde_json::Error> {
    if !holds(&event.body, by) {
        return Ok(Cow::Borrowed(event));
    }
    let redacted = |short| Event::new(event.kind, body(&event.body, by, short));
    let full = redacted(false);
    Ok(Cow::Owned(if serde_json::to_vec(&full)?.len() <= most {
        full
    } else {
        redacted(true)
    }))
}

/// What the secrets in `value` are, each once.
pub(crate) fn found_in(value: &Value, by: &dyn Redact) -> Vec<String> {
    let mut work = Work {
        by,
        short: true,
        removed: Vec::new(),
    };
    work.value(value);
    work.removed
}

fn body(body: &Value, by: &dyn Redact, short: bool) -> Value {
    let mut work = Work {
        by,
        short,
        removed: Vec::new(),
    };
    let mut redacted = work.value(body);
    let more = work.removed.len().saturating_sub(NAMED_MAX);
    work.removed.truncate(NAMED_MAX);
    if more > 0 {
        work.removed.push(format!("and {more} more"));
    }
    if let Value::Object(members) = &mut redacted {
        members.insert(MEMBER.to_owned(), json!(work.removed));
    }
    redacted
}

fn holds(value: &Value, by: &dyn Redact) -> bool {
    match value {
        Value::String(text) => by.redact(text).is_some(),
        Value::Array(items) => items.iter().any(|item| holds(item, by)),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| by.redact(name).is_some() || holds(value, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

struct Work<'r> {
    by: &'r dyn Redact,
    short: bool,
    /// What was taken out so far.
    removed: Vec<String>,
}

impl Work<'_> {
    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let mut redacted = Map::new();
                for (name, value) in members {
                    let mut name = self.text(name);
                    // Two names may be one now; neither value is lost.
                    while redacted.contains_key(&name) {
                        name.push('\'');
                    }
                    let value = self.value(value);
                    redacted.insert(name, value);
                }
                Value::Object(redacted)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let Some(Redaction { text, removed }) = self.by.redact(text) else {
            return text.to_owned();
        };
        for name in removed {
            if !self.removed.contains(&name) {
                self.removed.push(name);
            }
        }
        if self.short { SHORT.to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use stockade_types::EventKind;

    use super::*;

    #[derive(Debug)]
    struct Words;

    impl Redact for Words {
        fn redact(&self, text: &str) -> Option<Redaction> {
            let removed: Vec<_> = ["decoy", "other"]
                .into_iter()
                .filter(|word| text.contains(word))
                .map(str::to_owned)
                .collect();
            let marked =
                |text: String, word: &String| text.replace(word, "[redacted: a long name]");
            (!removed.is_empty()).then(|| Redaction {
                text: removed.iter().fold(text.to_owned(), marked),
                removed,
            })
        }
    }

    fn redacted(body: Value, most: usize) -> Value {
        let whole = Event::new(EventKind::Denied, body);
        event(&whole, &Words, most).unwrap().into_owned().body
    }

    #[test]
    fn every_text_and_name_at_any_depth_is_redacted_and_the_body_says_of_what() {
        let body = json!({ "a": ["x decoy", 7, { "decoy": "other", "x": null }], "b": "plain" });
        let expected = json!({
            "a": ["x [redacted: a long name]", 7,
                { "[redacted: a long name]": "[redacted: a long name]", "x": null }],
            "b": "plain",
            "redacted": ["decoy", "other"],
        });
        assert_eq!(redacted(body, 1000), expected);
        let plain = json!({ "b": "plain", "n": 1 });
        assert_eq!(redacted(plain.clone(), 1000), plain);
    }

    #[test]
    fn names_that_become_one_keep_both_values() {
        let body = redacted(json!({ "decoy": 1, "other": 2 }), 1000);
        let values: Vec<_> = body.as_object().unwrap().values().take(2).collect();
        assert_eq!(values, [1, 2]);
    }

    #[test]
    fn markers_never_make_an_event_too_long_to_be_recorded() {
        let words = vec!["decoy"; 1000].join(" ");
        let whole = json!({ "words": words });
        let most = whole.to_string().len() + 64;
        let body = redacted(whole, most);
        assert!(body.to_string().len() <= most);
        assert_eq!(
            body,
            json!({ "words": "[redacted]", "redacted": ["decoy"] })
        );
    }
}
