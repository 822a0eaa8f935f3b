use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stockade_audit::TreeHead;
use stockade_types::TaskId;

use crate::{
    action::{Action, ActionDigest},
    answer::{Authority, Signed},
    approvers::Approvers,
    ask::{AskId, Question},
    deadline::{Deadline, Moment},
    error::AnswerError,
    scope::{LASTING_MAX, Scope},
    ssh::PublicKey,
    statement::{Decision, REASON_MAX, Statement},
};

/// Questions of one task that wait at once.
const WAITING_MAX: usize = 32;
/// Questions of one task that are remembered: waiting, approved and denied.
const KEPT_MAX: usize = 1024;

/// The most people that can be asked to approve one thing.
const PEOPLE_MAX: u8 = 16;

/// How questions are put, as the user configured it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// For how many seconds a question waits; without an answer it is refused.
    pub wait_seconds: u64,
    /// How many people must approve what leaves the machine and cannot be taken
    /// back.
    pub people: u8,
    /// How a person is told that a question waits: a text for a shell, which gets
    /// the question, signed, as its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            wait_seconds: 15 * 60,
            people: 1,
            notify: None,
        }
    }
}

/// The questions of one task and what became of them.
///
/// Each method is told the time and does one step; its owner calls one at a
/// time. What is over is forgotten, so that no answer to it is one any more;
/// only a no is remembered as long as the task runs.
#[derive(Debug)]
pub struct Queue {
    task: TaskId,
    rules: Rules,
    entries: BTreeMap<AskId, Entry>,
    /// The question about each action, the last one.
    by_action: HashMap<ActionDigest, AskId>,
}

#[derive(Debug)]
struct Entry {
    question: Question,
    action: ActionDigest,
    deadline: Deadline,
    record: TreeHead,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting {
        /// Who has approved so far.
        people: BTreeSet<String>,
        /// What all of them allow.
        scope: Option<Scope>,
    },
    Approved(Allowance),
    Denied(String),
}

/// What is left of an approval.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    uses: Option<u32>,
    bytes: u64,
    deadline: Deadline,
}

/// A question that waits for an answer or, once it is approved, for its use, as
/// an approver sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its number.
    pub id: AskId,
    /// What is asked.
    pub question: Question,
    /// Until when it waits, in seconds since 1970.
    pub expires: u64,
    /// The state of the record that ends with it.
    pub record: TreeHead,
    /// How many people must approve it, and how many have.
    pub people: (u8, u8),
    /// Whether it is approved and not used up: a no takes that back.
    pub approved: bool,
}

/// What is known of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Approved, and one use of that is taken.
    Granted(AskId),
    /// Denied, for this reason.
    Denied(String),
    /// Somebody has been asked.
    Waiting(AskId),
    /// Nobody has been asked, or what was approved is used up.
    Unknown,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The action may happen now.
    Approved,
    /// So many people still have to approve it.
    More(u8),
    /// The action must not happen.
    Denied,
}

/// A question or an approval whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Which.
    pub id: AskId,
    /// Whether it had been approved.
    pub approved: bool,
}

impl Rules {
    /// Why questions cannot be put so, if they cannot.
    pub fn objection(&self) -> Option<&'static str> {
        if !(10..=LASTING_MAX).contains(&self.wait_seconds) {
            Some("wait_seconds is from 10 to 604800, seven days")
        } else if !(1..=PEOPLE_MAX).contains(&self.people) {
            Some("people is from 1 to 16")
        } else {
            None
        }
    }
}

impl Queue {
    /// The questions of `task`: none yet.
    pub fn new(task: TaskId, rules: Rules) -> Self {
        Self {
            task,
            rules,
            entries: BTreeMap::new(),
            by_action: HashMap::new(),
        }
    }

    /// What is known of `action`, by which `bytes` would leave. If it is
    /// approved, one use and the bytes are taken: whoever looks next finds less.
    pub fn take(&mut self, action: &Action, bytes: u64, now: Moment) -> Looked {
        let digest = action.digest(&self.task);
        let Some(id) = self.by_action.get(&digest).copied() else {
            return Looked::Unknown;
        };
        let Some(entry) = self.entries.get_mut(&id) else {
            return Looked::Unknown;
        };
        match &mut entry.state {
            State::Denied(reason) => Looked::Denied(reason.clone()),
            State::Waiting { .. } if entry.deadline.has_passed(now) => Looked::Unknown,
            State::Waiting { .. } => Looked::Waiting(id),
            State::Approved(left) => match left.take(bytes, now) {
                Some(true) => {
                    self.forget(id);
                    Looked::Granted(id)
                }
                Some(false) => Looked::Granted(id),
                None => Looked::Unknown,
            },
        }
    }

    /// Why no more can be asked now, if so.
    pub fn is_full(&self) -> Option<&'static str> {
        let is_waiting = |entry: &&Entry| matches!(entry.state, State::Waiting { .. });
        if self.entries.values().filter(is_waiting).count() >= WAITING_MAX {
            Some("32 questions of this task wait for a person already")
        } else if self.entries.len() >= KEPT_MAX {
            Some("a person has been asked 1024 things by this task")
        } else {
            None
        }
    }

    /// When a question that is asked `now` would expire, in seconds since 1970.
    pub fn expiry(&self, now: Moment) -> u64 {
        now.wall.saturating_add(self.rules.wait_seconds)
    }

    /// Lets a question wait, which the record has as its last entry at `record`.
    /// What was approved of the same action before is over.
    pub fn open(&mut self, id: AskId, question: Question, record: TreeHead, now: Moment) {
        let action = question.action.digest(&self.task);
        if let Some(before) = self.by_action.insert(action, id) {
            self.entries.remove(&before);
        }
        let entry = Entry {
            question,
            action,
            deadline: Deadline::after(now, Duration::from_secs(self.rules.wait_seconds)),
            record,
            state: State::Waiting {
                people: BTreeSet::new(),
                scope: None,
            },
        };
        self.entries.insert(id, entry);
    }

    /// Checks an answer in full, and says whose it is and what it would come to;
    /// [`Self::settle`] makes it hold.
    pub fn judge(
        &self,
        signed: &Signed,
        approvers: &Approvers,
        local: &PublicKey,
        now: Moment,
    ) -> Result<(Authority, Accepted), AnswerError> {
        let statement = &signed.statement;
        let id = statement.ask;
        let entry = self.entries.get(&id).ok_or(AnswerError::Unknown(id))?;
        let people = match &entry.state {
            State::Waiting { people, .. } if !entry.deadline.has_passed(now) => people,
            // Before it is used, an approval can be taken back.
            State::Approved(left) if statement.decision == Decision::Deny => {
                if left.deadline.has_passed(now) {
                    return Err(AnswerError::Unknown(id));
                }
                &BTreeSet::new()
            }
            State::Approved(_) => return Err(AnswerError::Approved(id)),
            State::Waiting { .. } | State::Denied(_) => return Err(AnswerError::Unknown(id)),
        };
        if !statement.is_about_same(&self.asked(id, entry)) {
            return Err(AnswerError::Other);
        }
        let reason = statement.reason.as_deref().unwrap_or_default();
        let fits = statement.scope.is_some() == (statement.decision == Decision::Approve);
        if !fits || reason.len() > REASON_MAX {
            return Err(AnswerError::Shape);
        }
        let authority = approvers.authority(signed, local)?;
        let Some(scope) = statement.scope else {
            return Ok((authority, Accepted::Denied));
        };
        let grave = entry.question.action.is_grave();
        if let Some(objection) = scope.objection(grave, now.wall) {
            return Err(AnswerError::Scope(objection));
        }
        if grave && !authority.presence {
            return Err(AnswerError::Presence(authority.name));
        }
        let needed = self.needed(&entry.question.action);
        if people.contains(&authority.name) {
            return Err(AnswerError::SamePerson(authority.name, needed));
        }
        let have = u8::try_from(people.len() + 1).unwrap_or(u8::MAX);
        let accepted = match needed.saturating_sub(have) {
            0 => Accepted::Approved,
            more => Accepted::More(more),
        };
        Ok((authority, accepted))
    }

    /// Makes an answer hold that was just judged and is in the record.
    pub fn settle(
        &mut self,
        signed: &Signed,
        authority: &Authority,
        judged: Accepted,
        now: Moment,
    ) {
        let statement = &signed.statement;
        let Some(entry) = self.entries.get_mut(&statement.ask) else {
            return;
        };
        let Some(scope) = statement.scope else {
            let reason = statement.reason.clone().unwrap_or_default();
            entry.state = State::Denied(reason);
            return;
        };
        let State::Waiting { people, scope: all } = &mut entry.state else {
            return;
        };
        people.insert(authority.name.clone());
        let narrowest = all.map_or(scope, |all| all.narrowest(scope));
        *all = Some(narrowest);
        if judged == Accepted::Approved {
            entry.state = State::Approved(Allowance {
                uses: narrowest.uses,
                bytes: narrowest.bytes,
                deadline: Deadline::until(now, narrowest.until),
            });
        }
    }

    /// Forgets what nobody answered in time, and what was approved and not used
    /// in time; tells it.
    pub fn expire(&mut self, now: Moment) -> Vec<Expired> {
        let expired = self.entries.iter().filter_map(|(id, entry)| {
            let (deadline, approved) = match &entry.state {
                State::Waiting { .. } => (&entry.deadline, false),
                State::Approved(left) => (&left.deadline, true),
                State::Denied(_) => return None,
            };
            let id = *id;
            deadline.has_passed(now).then_some(Expired { id, approved })
        });
        let expired: Vec<_> = expired.collect();
        for Expired { id, .. } in &expired {
            self.forget(*id);
        }
        expired
    }

    /// What waits, the oldest answer due first.
    pub fn waiting(&self) -> Vec<Waiting> {
        let waiting = self.entries.iter().filter_map(|(id, entry)| {
            let needed = self.needed(&entry.question.action);
            let (have, approved) = match &entry.state {
                State::Waiting { people, .. } => (people.len(), false),
                State::Approved(_) => (usize::from(needed), true),
                State::Denied(_) => return None,
            };
            Some(Waiting {
                id: *id,
                question: entry.question.clone(),
                expires: entry.deadline.wall,
                record: entry.record,
                people: (needed, u8::try_from(have).unwrap_or(u8::MAX)),
                approved,
            })
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|waiting| waiting.expires);
        waiting
    }

    fn needed(&self, action: &Action) -> u8 {
        let people = action.people();
        if action.is_grave() {
            people.max(self.rules.people)
        } else {
            people
        }
    }

    /// A statement about this question, as far as the question says.
    fn asked(&self, id: AskId, entry: &Entry) -> Statement {
        Statement {
            task: self.task.clone(),
            ask: id,
            action: entry.action,
            decision: Decision::Deny,
            scope: None,
            reason: None,
            expires: entry.deadline.wall,
            record: entry.record,
        }
    }

    fn forget(&mut self, id: AskId) {
        if let Some(entry) = self.entries.remove(&id)
            && self.by_action.get(&entry.action) == Some(&id)
        {
            self.by_action.remove(&entry.action);
        }
    }
}

impl Waiting {
    /// The statement by which `task`'s question would be answered so.
    pub fn statement(
        &self,
        task: TaskId,
        decision: Decision,
        scope: Option<Scope>,
        reason: Option<String>,
    ) -> Statement {
        Statement {
            ask: self.id,
            action: self.question.action.digest(&task),
            task,
            decision,
            scope,
            reason,
            expires: self.expires,
            record: self.record,
        }
    }
}

impl Allowance {
    /// Takes one use and `bytes`: whether that was the last one, or nothing if
    /// there is not so much left.
    fn take(&mut self, bytes: u64, now: Moment) -> Option<bool> {
        if self.deadline.has_passed(now) {
            return None;
        }
        let uses = match self.uses {
            Some(uses) => Some(uses.checked_sub(1)?),
            None => None,
        };
        self.bytes = self.bytes.checked_sub(bytes)?;
        self.uses = uses;
        Some(uses == Some(0))
    }
}
