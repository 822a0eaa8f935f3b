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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use stockade_approval::{Action, LocalKey, NAMESPACE, Scope, Statement};
    use stockade_audit::{Host, Log};
    use stockade_types::Event;
    use tempfile::TempDir;

    use super::*;

    /// A record of one question and one answer, which `change` makes wrong
    /// before it is signed, and `after` afterwards.
    fn record(
        folder: &TempDir,
        change: impl FnOnce(&mut Statement),
        after: impl FnOnce(&mut Signed),
    ) -> (PathBuf, TaskId) {
        let task = TaskId::from_random(1);
        let path = folder.path().join("record");
        let host = folder.path().join("host");
        std::fs::create_dir(&host).unwrap();
        let mut log = Log::open(&path, task.as_str(), Host::open(&host).unwrap()).unwrap();
        let action = Action::Request {
            method: "GET".to_owned(),
            scheme: "https".to_owned(),
            host: "a.test".parse().unwrap(),
            port: 443,
            path: None,
        };
        let ask = AskId::random().unwrap();
        let question = Question {
            action: action.clone(),
            bytes: 1,
            said: None,
            because: None,
        };
        let body = json!({ "ask": ask, "question": question, "expires": 100 });
        let asked = log.append(&Event::new(EventKind::Asked, body)).unwrap();
        let mut statement = Statement {
            action: action.digest(&task),
            task: task.clone(),
            ask,
            decision: Decision::Approve,
            scope: Some(Scope {
                uses: Some(1),
                bytes: 1,
                until: 90,
            }),
            reason: None,
            expires: 100,
            record: TreeHead {
                size: asked.seq + 1,
                root: asked.root,
            },
        };
        change(&mut statement);
        let local = LocalKey::open_or_make(&folder.path().join("keys")).unwrap();
        let mut signed = Signed {
            signature: local.sign(NAMESPACE, statement.text().as_bytes()),
            key: local.public().clone(),
            statement,
        };
        after(&mut signed);
        let body = json!({ "answer": signed, "by": { "name": "local process" } });
        log.append(&Event::new(EventKind::Answered, body)).unwrap();
        log.bind().unwrap();
        (path, task)
    }

    #[test]
    fn g5_an_answer_that_is_not_to_the_question_before_it_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (path, task) = record(&folder, |_| (), |_| ());
        let answers = check(&path, &task).unwrap();
        assert_eq!((answers.heads.len(), answers.told.len()), (1, 1));
        assert!(answers.summary().unwrap().starts_with("1 approvals and 0"));
        // In another task's record it says nothing.
        assert!(check(&path, &TaskId::from_random(2)).is_err());

        type Change = fn(&mut Statement);
        let changes: [Change; 4] = [
            |statement| statement.task = TaskId::from_random(2),
            |statement| statement.ask = AskId::random().unwrap(),
            |statement| statement.expires += 1,
            |statement| statement.record.size += 1,
        ];
        for change in changes {
            let folder = tempfile::tempdir().unwrap();
            let (path, task) = record(&folder, change, |_| ());
            let reason = check(&path, &task).unwrap_err();
            assert!(reason.contains("another question"), "{reason}");
        }
        let folder = tempfile::tempdir().unwrap();
        let widen = |signed: &mut Signed| signed.statement.decision = Decision::Deny;
        let (path, task) = record(&folder, |_| (), widen);
        let reason = check(&path, &task).unwrap_err();
        assert!(reason.contains("does not fit"), "{reason}");
    }
}
