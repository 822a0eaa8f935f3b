//! The questions of a task to a person. They live in its supervisor, outside
//! every sandbox, and each step of one is in the record before it holds.

mod desk;
mod notice;

use std::{
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::{Value, json};
use stockade_approval::{
    Accepted, Approvers, AskId, Expired, LocalKey, Looked, Moment, Outcome, Question, Queue,
    Signed, Waiting,
};
use stockade_audit::{RecorderClient, TreeHead};
use stockade_types::{Event, EventKind, TaskId};

pub use self::desk::Desk;
use self::notice::Notices;
use crate::{
    error::SupervisorError,
    gateway::{Keys, Waiters},
    state::TaskDirectory,
    task::Plan,
};

/// Whoever wants something done that needs approval asks here, whether it is
/// the gateway or what starts commands.
pub(crate) struct Approvals {
    task: TaskId,
    /// Keys and names of approvers.
    folder: PathBuf,
    record: RecorderClient,
    waiters: Waiters,
    notices: Notices,
    /// None once the task ends.
    queue: Mutex<Option<Queue>>,
    /// Told when what commands wait for may have been answered.
    answered: Condvar,
}

impl Approvals {
    pub(crate) fn new(
        task: &TaskDirectory,
        plan: &Plan,
        keys: &Keys,
        record: RecorderClient,
        waiters: Waiters,
    ) -> Self {
        let rules = plan.approvals.clone();
        Self {
            task: plan.task.clone(),
            folder: task.approvals(),
            record,
            waiters,
            notices: Notices::new(rules.notify.clone(), keys.environment.clone()),
            queue: Mutex::new(Some(Queue::new(plan.task.clone(), rules))),
            answered: Condvar::new(),
        }
    }

    /// Asks, and waits for nobody. A granted use is taken, and in the record,
    /// when this returns; what cannot be recorded is refused.
    pub(crate) fn ask(&self, question: Question) -> Outcome {
        self.ask_of(self.lock().as_mut(), question)
    }

    /// Asks, and waits for an answer no longer than `patience`.
    pub(crate) fn ask_and_wait(&self, question: &Question, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        let mut queue = self.lock();
        loop {
            let outcome = self.ask_of(queue.as_mut(), question.clone());
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !matches!(outcome, Outcome::Pending(_)) {
                return outcome;
            }
            let waited = self.answered.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ask_of(&self, queue: Option<&mut Queue>, question: Question) -> Outcome {
        let Some(queue) = queue else {
            return Outcome::Refused("the task is ending".to_owned());
        };
        let asked = self.ask_in(queue, question);
        asked.unwrap_or_else(|error| Outcome::Refused(error.to_string()))
    }

    fn ask_in(&self, queue: &mut Queue, question: Question) -> Result<Outcome, SupervisorError> {
        let now = now();
        self.expire(queue, now)?;
        Ok(match queue.take(&question.action, question.bytes, now) {
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
            Looked::Unknown => match queue.is_full() {
                Some(reason) => Outcome::Refused(format!("nobody is asked: {reason}")),
                None => Outcome::Pending(self.open(queue, question, now)?),
            },
        })
    }

    fn open(
        &self,
        queue: &mut Queue,
        question: Question,
        now: Moment,
    ) -> Result<AskId, SupervisorError> {
        // What is approved is what stands in the record, word by word.
        self.may_be_recorded("the action", &question.action)?;
        let id = AskId::random()?;
        let body = json!({ "ask": id, "question": question, "expires": queue.expiry(now) });
        let record = self.note(EventKind::Asked, body)?;
        let key = || LocalKey::open_or_make(&self.folder).ok();
        let (action, expires) = (&question.action, queue.expiry(now));
        self.notices.tell(key, &self.task, id, action, expires);
        queue.open(id, question, record, now);
        Ok(id)
    }

    /// Takes an answer if it is an approver's and to what is asked. Of several,
    /// the first counts.
    pub(crate) fn answer(
        &self,
        signed: &Signed,
        peer: Option<u32>,
    ) -> Result<Accepted, SupervisorError> {
        let mut queue = self.lock();
        let queue = queue.as_mut().ok_or(SupervisorError::NotRunning)?;
        let now = now();
        self.expire(queue, now)?;
        let approvers = Approvers::read(&self.folder)?;
        let local = LocalKey::open_or_make(&self.folder)?;
        self.may_be_recorded("the answer", signed)?;
        let (by, accepted) = queue.judge(signed, &approvers, local.public(), now)?;
        let body = json!({ "answer": signed, "by": by, "by_uid": peer, "needs": match accepted {
            Accepted::More(people) => people,
            Accepted::Approved | Accepted::Denied => 0,
        }});
        self.note(EventKind::Answered, body)?;
        queue.settle(signed, &by, accepted, now);
        self.waiters.wake();
        self.answered.notify_all();
        Ok(accepted)
    }

    /// The questions that wait.
    pub(crate) fn waiting(&self) -> Result<Vec<Waiting>, SupervisorError> {
        let mut queue = self.lock();
        let queue = queue.as_mut().ok_or(SupervisorError::NotRunning)?;
        self.expire(queue, now())?;
        Ok(queue.waiting())
    }

    /// Answers nothing any more: what waits is refused.
    pub(crate) fn close(&self) -> Result<(), SupervisorError> {
        let Some(queue) = self.lock().take() else {
            return Ok(());
        };
        self.answered.notify_all();
        for waiting in queue.waiting() {
            let body = json!({ "ask": waiting.id, "reason": "the task ended" });
            self.note(EventKind::AskExpired, body)?;
        }
        Ok(())
    }

    fn expire(&self, queue: &mut Queue, now: Moment) -> Result<(), SupervisorError> {
        for Expired { id, approved } in queue.expire(now) {
            let reason = if approved {
                "what was approved was not all used in time"
            } else {
                "nobody answered in time"
            };
            self.note(
                EventKind::AskExpired,
                json!({ "ask": id, "reason": reason }),
            )?;
        }
        Ok(())
    }

    /// Refuses what holds a secret: without it, nobody could check a signature for it.
    fn may_be_recorded(&self, what: &str, value: &impl Serialize) -> Result<(), SupervisorError> {
        let found = self.record.secrets_in(value);
        let found = found.map_err(|error| SupervisorError::Record(error.to_string()))?;
        if found.is_empty() {
            return Ok(());
        }
        let found = found.join(", ");
        Err(SupervisorError::Refused(format!(
            "{what} holds {found}, which must not stand in the record; leave it out"
        )))
    }

    /// Records a step; the state of the record that ends with it.
    fn note(&self, kind: EventKind, body: Value) -> Result<TreeHead, SupervisorError> {
        let recorded = self.record.record(&Event::new(kind, body));
        let recorded = recorded.map_err(|error| SupervisorError::Record(error.to_string()))?;
        Ok(TreeHead {
            size: recorded.seq + 1,
            root: recorded.root,
        })
    }

    /// A thread that panicked left whole steps behind.
    fn lock(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time by both clocks.
fn now() -> Moment {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    Moment {
        steady: Instant::now(),
        // Before 1970 nothing that was approved has ended yet by this clock;
        // by the other one it does.
        wall: wall.map_or(0, |wall| wall.as_secs()),
    }
}
