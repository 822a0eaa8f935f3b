//! The answers of approvers in a record: each is signed, for the question that
//! stands before it and for the state of the record that ends with it.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use stockade_approval::{ActionDigest, AskId, Decision, Question, Signed};
use stockade_audit::{Record, RecordKind, TreeHead};
use stockade_types::{EventKind, TaskId};

/// The answers in one record that hold.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The states of the record that were signed.
    pub(super) heads: Vec<TreeHead>,
    /// Each answer, for programs.
    pub(super) told: Vec<Value>,
    questions: BTreeMap<AskId, Asked>,
}

/// A question as the record has it.
#[derive(Debug)]
struct Asked {
    /// How many records end with it.
    size: u64,
    action: ActionDigest,
    expires: Option<u64>,
}

/// Checks every answer in the record of `task`; the first that is not what it
/// should be, and why.
pub(super) fn check(log: &Path, task: &TaskId) -> Result<Answers, String> {
    let mut answers = Answers::default();
    let records = stockade_audit::read(log).map_err(|error| error.to_string())?;
    for record in records {
        let record = record.map_err(|error| error.to_string())?;
        let checked = match record.kind {
            RecordKind::Event(EventKind::Asked) => answers.question(&record, task),
            RecordKind::Event(EventKind::Answered) => answers.answer(&record, task),
            _ => Ok(()),
        };
        checked.map_err(|reason| format!("the answer in record {}: {reason}", record.seq))?;
    }
    Ok(answers)
}

impl Answers {
    fn question(&mut self, record: &Record, task: &TaskId) -> Result<(), String> {
        let body = &record.body;
        let id: AskId = read(&body["ask"])?;
        let question: Question = read(&body["question"])?;
        let asked = Asked {
            size: record.seq + 1,
            action: question.action.digest(task),
            expires: body["expires"].as_u64(),
        };
        self.questions.insert(id, asked);
        Ok(())
    }

    fn answer(&mut self, record: &Record, task: &TaskId) -> Result<(), String> {
        let signed: Signed = read(&record.body["answer"])?;
        let verified = signed.verify().map_err(|error| error.to_string())?;
        let statement = &signed.statement;
        let asked = self.questions.get(&statement.ask);
        let fits = asked.is_some_and(|asked| {
            statement.task == *task
                && statement.action == asked.action
                && Some(statement.expires) == asked.expires
                && statement.record.size == asked.size
        });
        if !fits {
            return Err("it is signed for another question than stands before it".to_owned());
        }
        self.heads.push(statement.record);
        self.told.push(json!({
            "event": record.seq, "ask": statement.ask, "decision": statement.decision,
            "by": record.body["by"]["name"], "key": signed.key.fingerprint(),
            "presence": verified.presence,
        }));
        Ok(())
    }

    /// What they come to, for people.
    pub(super) fn summary(&self) -> Option<String> {
        let of = |decision: Decision| {
            let told = self.told.iter();
            told.filter(|answer| answer["decision"] == decision.name())
                .count()
        };
        let (yes, no) = (of(Decision::Approve), of(Decision::Deny));
        (yes + no > 0)
            .then(|| format!("{yes} approvals and {no} refusals, each signed for what was asked"))
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}
