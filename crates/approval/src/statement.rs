use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use stockade_audit::TreeHead;
use stockade_types::TaskId;

use crate::{action::ActionDigest, ask::AskId, scope::Scope};

/// What signatures of statements are for, in the sense of `ssh-keygen -Y sign`:
/// no signature that was made for something else counts as an answer.
pub const NAMESPACE: &str = "approval@stockade";
/// The longest reason, in bytes.
pub(crate) const REASON_MAX: usize = 512;

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The action may happen.
    Approve,
    /// It must not.
    Deny,
}

impl Decision {
    /// The word of the command line and of statements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// What an approver signs: everything on which the answer's meaning depends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Whose action it is.
    pub task: TaskId,
    /// Which question is answered.
    pub ask: AskId,
    /// Exactly which action.
    pub action: ActionDigest,
    /// Yes or no.
    pub decision: Decision,
    /// How much of it, if yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Why, for the record; of a no, for the agent too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when the question waits, in seconds since 1970.
    pub expires: u64,
    /// The state of the task's record that ends with the question.
    pub record: TreeHead,
}

impl Statement {
    /// The text that is signed. It is written and compared, never read, and
    /// says each thing in one way only.
    pub fn text(&self) -> String {
        let mut text = String::from("stockade approval v1\n");
        let mut line = |name: &str, value: &str| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name} {value}");
        };
        line("task", self.task.as_str());
        line("ask", &self.ask.to_string());
        line("action", &self.action.to_string());
        line("decision", self.decision.name());
        match &self.scope {
            Some(scope) => line("scope", &scope.to_string()),
            None => line("scope", "none"),
        }
        line("expires", &self.expires.to_string());
        let TreeHead { size, root } = self.record;
        line("record", &format!("{size} {root}"));
        // As JSON it has no line feed that could begin another line.
        let reason = self.reason.as_deref().unwrap_or_default();
        line("reason", &serde_json::Value::from(reason).to_string());
        text
    }

    /// Whether both are about the same question at the same state of things.
    pub(crate) fn is_about_same(&self, other: &Self) -> bool {
        (&self.task, self.ask, self.action, self.expires, self.record)
            == (
                &other.task,
                other.ask,
                other.action,
                other.expires,
                other.record,
            )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use stockade_audit::Hash;

    use super::*;
    use crate::action::Action;

    /// A statement of a question about `GET a.test`.
    pub(crate) fn statement() -> Statement {
        let task = TaskId::from_random(1);
        let action = Action::Request {
            method: "GET".to_owned(),
            scheme: "https".to_owned(),
            host: "a.test".parse().unwrap(),
            port: 443,
            path: None,
        };
        Statement {
            ask: "00112233445566778899aabbccddeeff".parse().unwrap(),
            action: action.digest(&task),
            task,
            decision: Decision::Approve,
            scope: Some(Scope {
                uses: Some(1),
                bytes: 1 << 20,
                until: 2_000,
            }),
            reason: Some("a page\n\u{202e}of \"docs\"".to_owned()),
            expires: 1_900,
            record: TreeHead {
                size: 7,
                root: Hash::of(b"x"),
            },
        }
    }

    #[test]
    fn g4_each_part_of_an_answer_stands_on_a_line_of_its_own_in_what_is_signed() {
        let text = statement().text();
        assert_eq!(text.lines().count(), 9, "{text}");
        assert!(text.contains("\nscope 1 uses 1048576 bytes until 2000\n"));
        assert!(text.contains("\nreason \"a page\\n"), "{text}");
        let mut changed = vec![statement(); 8];
        changed[1].decision = Decision::Deny;
        changed[2].scope = None;
        changed[3].reason = None;
        changed[4].expires += 1;
        changed[5].record.size += 1;
        changed[6].task = TaskId::from_random(2);
        changed[7].ask = AskId::random().unwrap();
        let texts: Vec<_> = changed.iter().map(Statement::text).collect();
        for (place, text) in texts.iter().enumerate() {
            assert!(!texts[..place].contains(text), "{place}");
        }
    }
}
