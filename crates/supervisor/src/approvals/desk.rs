//! Questions about the work of a task that does not run, such as a push. No
//! process has them in memory: its record is read again each time, so that there
//! is nothing beside it that could say something else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    time::Duration,
};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stockade_approval::{
    Accepted, Action, Approvers, AskId, LocalKey, Looked, Moment, Outcome, Question, Queue, Rules,
    Signed, Waiting,
};
use stockade_audit::{Record, RecordKind, TreeHead};
use stockade_types::{Event, EventKind};

use super::now;
use crate::{
    error::SupervisorError,
    recorder,
    redactions::Redactions,
    state::{TaskDirectory, read_json, write_json},
};

/// Of each question that was asked here, the state of the record that ends with
/// it. Only a note: an answer is signed for it, and the record's tree has it.
const HEADS: &str = "questions.json";
/// Held while a question is asked or answered.
const LOCK: &str = "questions.lock";

/// The questions of one task that does not run, while nobody else asks or answers.
#[derive(Debug)]
pub struct Desk {
    task: TaskDirectory,
    redactions: Redactions,
    rules: Rules,
    queue: Queue,
    heads: BTreeMap<AskId, TreeHead>,
    asked: BTreeMap<AskId, Question>,
    /// Their numbers, the last one last.
    order: Vec<AskId>,
    _lock: File,
}

impl Desk {
    /// Whether anything was ever asked of `task` here.
    pub fn is_there(task: &TaskDirectory) -> bool {
        task.join(HEADS).exists()
    }

    /// That of `task`, as its record tells; `rules` say how questions are put.
    /// What `redactions` know stays out of it.
    pub fn open(
        task: &TaskDirectory,
        rules: Rules,
        redactions: Redactions,
    ) -> Result<Self, SupervisorError> {
        let path = task.join(LOCK);
        let lock = File::create(&path).map_err(SupervisorError::state(&path))?;
        let held = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
        held.map_err(|error| SupervisorError::state(&path)(error.into()))?;
        let heads = if Self::is_there(task) {
            read_json(&task.join(HEADS))?
        } else {
            BTreeMap::new()
        };
        let mut desk = Self {
            queue: Queue::new(task.id().clone(), rules.clone()),
            task: task.clone(),
            redactions,
            rules,
            heads,
            asked: BTreeMap::new(),
            order: Vec::new(),
            _lock: lock,
        };
        // Without it nothing was asked here, whatever the task asked when it ran.
        if !desk.heads.is_empty() {
            desk.read()?;
        }
        Ok(desk)
    }

    /// Every action that was asked about here, the newest first.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let ids = self.order.iter().rev();
        ids.filter_map(|id| Some(&self.asked.get(id)?.action))
    }

    /// What waits for an answer or, once approved, for its use.
    pub fn waiting(&mut self) -> Vec<Waiting> {
        self.queue.expire(now());
        self.queue.waiting()
    }

    /// Asks, and waits for nobody. A granted use is taken, and in the record, when
    /// this returns.
    pub fn ask(&mut self, question: Question) -> Result<Outcome, SupervisorError> {
        let now = now();
        self.queue.expire(now);
        Ok(
            match self.queue.take(&question.action, question.bytes, now) {
                Looked::Granted(id) => {
                    let body = json!({ "ask": id, "bytes": question.bytes });
                    self.note(EventKind::ApprovalUsed, body)?;
                    Outcome::Granted(id)
                }
                Looked::Denied(reason) if reason.is_empty() => {
                    Outcome::Refused("a person was asked and said no".to_owned())
                }
                Looked::Denied(reason) => {
                    Outcome::Refused(format!("a person was asked and said no: {reason}"))
                }
                Looked::Waiting(id) => Outcome::Pending(id),
                Looked::Unknown => match self.queue.is_full() {
                    Some(reason) => Outcome::Refused(format!("nobody is asked: {reason}")),
                    None => Outcome::Pending(self.put(question, now)?),
                },
            },
        )
    }

    fn put(&mut self, question: Question, now: Moment) -> Result<AskId, SupervisorError> {
        let id = AskId::random()?;
        let expires = self.queue.expiry(now);
        let body = json!({ "ask": id, "question": question, "expires": expires });
        let record = self.note(EventKind::Asked, body)?;
        self.heads.insert(id, record);
        write_json(&self.task.join(HEADS), &self.heads)?;
        self.asked.insert(id, question.clone());
        self.order.push(id);
        self.queue.open(id, question, record, now);
        Ok(id)
    }

    /// Takes an answer if it is an approver's and to what is asked. Of several, the
    /// first counts.
    pub fn answer(&mut self, signed: &Signed) -> Result<Accepted, SupervisorError> {
        let now = now();
        self.queue.expire(now);
        let (approvers, local) = self.approvers()?;
        let (by, accepted) = self.queue.judge(signed, &approvers, local.public(), now)?;
        let uid = rustix::process::getuid().as_raw();
        let body = json!({ "answer": signed, "by": by, "by_uid": uid, "needs": match accepted {
            Accepted::More(people) => people,
            Accepted::Approved | Accepted::Denied => 0,
        }});
        self.note(EventKind::Answered, body)?;
        self.queue.settle(signed, &by, accepted, now);
        Ok(accepted)
    }

    fn approvers(&self) -> Result<(Approvers, LocalKey), SupervisorError> {
        let folder = self.task.approvals();
        Ok((Approvers::read(&folder)?, LocalKey::open_or_make(&folder)?))
    }

    fn note(&self, kind: EventKind, body: Value) -> Result<TreeHead, SupervisorError> {
        recorder::append(&self.task, &Event::new(kind, body), &self.redactions)
    }

    /// Goes through the record. What cannot be read is no approval.
    fn read(&mut self) -> Result<(), SupervisorError> {
        let failed = |error: stockade_audit::ReadError| SupervisorError::Record(error.to_string());
        let (approvers, local) = self.approvers()?;
        let now = now();
        // A no holds as long as its question would have waited: whoever pushes is a
        // person, who may ask again later.
        let mut past = BTreeSet::new();
        for record in stockade_audit::read(&self.task.record()).map_err(failed)? {
            let record = record.map_err(failed)?;
            let RecordKind::Event(kind) = record.kind else {
                continue;
            };
            match kind {
                EventKind::Asked => past.extend(self.was_asked(&record, now)),
                EventKind::Answered => self.was_answered(&record, &approvers, &local, &past, now),
                EventKind::ApprovalUsed => self.was_used(&record, now),
                _ => {}
            }
        }
        Ok(())
    }

    /// A question of the record; its number, if its time is up.
    fn was_asked(&mut self, record: &Record, now: Moment) -> Option<AskId> {
        let id: AskId = field(&record.body, "ask")?;
        let question: Question = field(&record.body, "question")?;
        let expires: u64 = field(&record.body, "expires")?;
        // Those of the task while it ran ended with its supervisor.
        let head = *self
            .heads
            .get(&id)
            .filter(|head| head.size == record.seq + 1)?;
        let asked = expires.saturating_sub(self.rules.wait_seconds);
        self.asked.insert(id, question.clone());
        self.order.push(id);
        self.queue.open(id, question, head, at(asked, now));
        (expires <= now.wall).then_some(id)
    }

    fn was_answered(
        &mut self,
        record: &Record,
        approvers: &Approvers,
        local: &LocalKey,
        past: &BTreeSet<AskId>,
        now: Moment,
    ) {
        let Some(signed) = field::<Signed>(&record.body, "answer") else {
            return;
        };
        if signed.statement.scope.is_none() && past.contains(&signed.statement.ask) {
            return;
        }
        let then = at(when(record), now);
        // Whoever is no approver any more has approved nothing.
        let judged = self.queue.judge(&signed, approvers, local.public(), then);
        if let Ok((by, accepted)) = judged {
            self.queue.settle(&signed, &by, accepted, then);
        }
    }

    fn was_used(&mut self, record: &Record, now: Moment) {
        let id = field::<AskId>(&record.body, "ask");
        if let Some(question) = id.and_then(|id| self.asked.get(&id)) {
            let then = at(when(record), now);
            self.queue.take(&question.action, question.bytes, then);
        }
    }
}

fn field<T: DeserializeOwned>(body: &Value, name: &str) -> Option<T> {
    T::deserialize(body.get(name)?).ok()
}

/// When a record was written, in seconds since 1970.
fn when(record: &Record) -> u64 {
    u64::try_from(record.at.unix_timestamp()).unwrap_or_default()
}

/// A moment of which only the time of day is known, as it is seen `now`.
fn at(wall: u64, now: Moment) -> Moment {
    let ago = Duration::from_secs(now.wall.saturating_sub(wall));
    Moment {
        // Before the machine was started nothing has passed by this clock.
        steady: now.steady.checked_sub(ago).unwrap_or(now.steady),
        wall,
    }
}
