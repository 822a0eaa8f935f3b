use std::time::{Duration, Instant};

use stockade_approval::{
    Accepted, Action, AnswerError, Approvers, AskId, Authority, Decision, LocalKey, Looked, Moment,
    NAMESPACE, Question, Queue, Rules, Scope, Signed, Statement, Waiting,
};
use stockade_audit::{Hash, TreeHead};
use stockade_types::TaskId;
use tempfile::TempDir;

use crate::device::Device;

/// A queue with its approvers, at a time that tests move.
struct Desk {
    queue: Queue,
    approvers: Approvers,
    local: LocalKey,
    start: Instant,
    /// Seconds since the start, by both clocks.
    now: u64,
    _folder: TempDir,
}

const WALL: u64 = 1_700_000_000;

fn task() -> TaskId {
    TaskId::from_random(1)
}

fn get() -> Action {
    request("GET")
}

fn request(method: &str) -> Action {
    Action::Request {
        method: method.to_owned(),
        scheme: "https".to_owned(),
        host: "a.test".parse().unwrap(),
        port: 443,
        path: None,
    }
}

impl Desk {
    fn new(people: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = Rules {
            people,
            ..Rules::default()
        };
        Self {
            queue: Queue::new(task(), rules),
            approvers: Approvers::default(),
            local: LocalKey::open_or_make(folder.path()).unwrap(),
            start: Instant::now(),
            now: 0,
            _folder: folder,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            steady: self.start + Duration::from_secs(self.now),
            wall: WALL + self.now,
        }
    }

    /// Asks about an action; the question that waits.
    fn ask(&mut self, action: Action) -> Waiting {
        assert_eq!(self.take(&action), Looked::Unknown);
        let id = AskId::random().unwrap();
        let question = Question {
            action,
            bytes: 100,
            said: None,
            because: None,
        };
        let record = TreeHead {
            size: 5,
            root: Hash::of(b"x"),
        };
        let now = self.moment();
        self.queue.open(id, question, record, now);
        let waiting = self.queue.waiting();
        waiting.into_iter().find(|one| one.id == id).unwrap()
    }

    fn take(&mut self, action: &Action) -> Looked {
        let now = self.moment();
        self.queue.take(action, 100, now)
    }

    fn scope(&self, uses: Option<u32>) -> Scope {
        Scope {
            uses,
            bytes: 1000,
            until: WALL + self.now + 600,
        }
    }

    fn approval(&self, waiting: &Waiting, uses: Option<u32>) -> Statement {
        waiting.statement(task(), Decision::Approve, Some(self.scope(uses)), None)
    }

    fn denial(waiting: &Waiting) -> Statement {
        let reason = Some("not that".to_owned());
        waiting.statement(task(), Decision::Deny, None, reason)
    }

    fn sign(&self, statement: Statement) -> Signed {
        let signature = self.local.sign(NAMESPACE, statement.text().as_bytes());
        Signed {
            statement,
            key: self.local.public().clone(),
            signature,
        }
    }

    fn answer(&mut self, signed: &Signed) -> Result<(Authority, Accepted), AnswerError> {
        let now = self.moment();
        let local = self.local.public();
        let judged = self.queue.judge(signed, &self.approvers, local, now)?;
        self.queue.settle(signed, &judged.0, judged.1, now);
        Ok(judged)
    }

    fn enrol(&mut self, name: &str, device: &Device) {
        let file = "/k.pub".into();
        self.approvers.add(name, device.public(), file).unwrap();
    }
}

#[test]
fn g4_what_was_approved_once_happens_once() {
    let mut desk = Desk::new(1);
    let waiting = desk.ask(get());
    assert_eq!(desk.take(&get()), Looked::Waiting(waiting.id));
    let yes = desk.sign(desk.approval(&waiting, Some(1)));
    let (authority, accepted) = desk.answer(&yes).unwrap();
    assert_eq!(accepted, Accepted::Approved);
    assert_eq!(authority.name, "local process");
    assert_eq!(desk.take(&get()), Looked::Granted(waiting.id));
    assert_eq!(desk.take(&get()), Looked::Unknown);
    // The same signature once more.
    assert_eq!(
        desk.answer(&yes).unwrap_err(),
        AnswerError::Unknown(waiting.id)
    );
}

#[test]
fn g4_three_uses_are_three_and_the_bytes_of_all_of_them_are_counted() {
    let mut desk = Desk::new(1);
    let waiting = desk.ask(get());
    desk.answer(&desk.sign(desk.approval(&waiting, Some(3))))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(desk.take(&get()), Looked::Granted(waiting.id));
    }
    assert_eq!(desk.take(&get()), Looked::Unknown);

    let waiting = desk.ask(get());
    desk.answer(&desk.sign(desk.approval(&waiting, None)))
        .unwrap();
    for _ in 0..10 {
        assert_eq!(desk.take(&get()), Looked::Granted(waiting.id));
    }
    assert_eq!(
        desk.take(&get()),
        Looked::Unknown,
        "of 1000 bytes none are left"
    );
}

#[test]
fn g4_an_answer_to_one_question_answers_no_other_and_no_other_action() {
    let mut desk = Desk::new(1);
    let waiting = desk.ask(get());
    let head = desk.ask(request("HEAD"));
    let good = desk.approval(&waiting, Some(1));
    type Change<'a> = &'a dyn Fn(&mut Statement);
    let changes: [Change<'_>; 5] = [
        &|statement| statement.ask = head.id,
        &|statement| statement.action = request("HEAD").digest(&task()),
        &|statement| statement.task = TaskId::from_random(2),
        &|statement| statement.record.size += 1,
        &|statement| statement.expires += 1,
    ];
    for change in changes {
        let mut statement = good.clone();
        change(&mut statement);
        let refused = desk.answer(&desk.sign(statement)).unwrap_err();
        assert_eq!(refused, AnswerError::Other);
    }
    // One byte of what was signed.
    let mut widened = desk.sign(good.clone());
    widened.statement.scope = Some(desk.scope(Some(2)));
    let refused = desk.answer(&widened).unwrap_err();
    assert!(matches!(refused, AnswerError::Signature(_)), "{refused}");
    assert!(desk.answer(&desk.sign(good)).is_ok());
    assert_eq!(desk.take(&request("HEAD")), Looked::Waiting(head.id));
}

#[test]
fn g4_of_two_answers_one_counts_and_a_no_takes_back_what_was_not_used() {
    let mut desk = Desk::new(1);
    let waiting = desk.ask(get());
    let yes = desk.sign(desk.approval(&waiting, Some(2)));
    desk.answer(&yes).unwrap();
    assert_eq!(
        desk.answer(&yes).unwrap_err(),
        AnswerError::Approved(waiting.id)
    );
    assert_eq!(desk.take(&get()), Looked::Granted(waiting.id));
    desk.answer(&desk.sign(Desk::denial(&waiting))).unwrap();
    assert_eq!(desk.take(&get()), Looked::Denied("not that".to_owned()));
    // A no is the last word on an action for as long as the task runs.
    assert_eq!(
        desk.answer(&yes).unwrap_err(),
        AnswerError::Unknown(waiting.id)
    );
    desk.now += 10_000;
    let now = desk.moment();
    assert_eq!(desk.queue.expire(now), []);
    assert_eq!(desk.take(&get()), Looked::Denied("not that".to_owned()));
}

#[test]
fn g4_without_an_answer_in_time_there_is_none_and_an_approval_ends_unused() {
    let mut desk = Desk::new(1);
    let waiting = desk.ask(get());
    let yes = desk.sign(desk.approval(&waiting, Some(1)));
    desk.now += 15 * 60;
    assert_eq!(
        desk.answer(&yes).unwrap_err(),
        AnswerError::Unknown(waiting.id)
    );
    let now = desk.moment();
    let expired = desk.queue.expire(now);
    assert_eq!((expired[0].id, expired[0].approved), (waiting.id, false));
    assert!(desk.queue.waiting().is_empty());

    let waiting = desk.ask(get());
    desk.answer(&desk.sign(desk.approval(&waiting, Some(1))))
        .unwrap();
    desk.now += 600;
    assert_eq!(desk.take(&get()), Looked::Unknown);
    let now = desk.moment();
    let expired = desk.queue.expire(now);
    assert_eq!((expired[0].id, expired[0].approved), (waiting.id, true));
}

#[test]
fn g4_what_cannot_be_taken_back_needs_somebody_who_touches_a_key() {
    let mut desk = Desk::new(1);
    let device = Device::new(3);
    let waiting = desk.ask(request("POST"));
    let by_process = desk.answer(&desk.sign(desk.approval(&waiting, Some(1))));
    let refused = by_process.unwrap_err();
    assert_eq!(refused, AnswerError::Presence("local process".to_owned()));
    desk.enrol("ann", &device);
    let untouched = device.sign(desk.approval(&waiting, Some(1)), false);
    let refused = desk.answer(&untouched).unwrap_err();
    assert_eq!(refused, AnswerError::Presence("ann".to_owned()));
    // By time alone such a thing is not approved even so.
    let endless = device.sign(desk.approval(&waiting, None), true);
    assert!(matches!(desk.answer(&endless), Err(AnswerError::Scope(_))));
    let touched = device.sign(desk.approval(&waiting, Some(1)), true);
    let (authority, accepted) = desk.answer(&touched).unwrap();
    assert_eq!((authority.presence, accepted), (true, Accepted::Approved));
}

#[test]
fn g4_two_people_are_two_and_the_narrower_of_what_they_say_holds() {
    let mut desk = Desk::new(2);
    let (one, other, third) = (Device::new(1), Device::new(2), Device::new(3));
    desk.enrol("ann", &one);
    desk.enrol("ann", &other);
    desk.enrol("bob", &third);
    let waiting = desk.ask(request("POST"));
    assert_eq!(waiting.people, (2, 0));
    let by = |device: &Device, desk: &Desk, uses| device.sign(desk.approval(&waiting, uses), true);
    let first = desk.answer(&by(&one, &desk, Some(5))).unwrap();
    assert_eq!(first.1, Accepted::More(1));
    assert_eq!(desk.take(&request("POST")), Looked::Waiting(waiting.id));
    let same = desk.answer(&by(&other, &desk, Some(5))).unwrap_err();
    assert_eq!(same, AnswerError::SamePerson("ann".to_owned(), 2));
    let second = desk.answer(&by(&third, &desk, Some(1))).unwrap();
    assert_eq!(second.1, Accepted::Approved);
    assert_eq!(desk.take(&request("POST")), Looked::Granted(waiting.id));
    assert_eq!(desk.take(&request("POST")), Looked::Unknown);
    // One is enough for what leaves nothing anywhere.
    assert_eq!(desk.ask(get()).people, (1, 0));
}

#[test]
fn g4_an_agent_that_asks_without_end_is_not_heard_without_end() {
    let mut desk = Desk::new(1);
    for number in 0..32 {
        assert_eq!(desk.queue.is_full(), None);
        let action = Action::Request {
            method: "GET".to_owned(),
            scheme: "https".to_owned(),
            host: format!("n{number}.test").parse().unwrap(),
            port: 443,
            path: None,
        };
        desk.ask(action);
    }
    assert!(desk.queue.is_full().unwrap().contains("32 questions"));
    desk.now += 15 * 60;
    let now = desk.moment();
    assert_eq!(desk.queue.expire(now).len(), 32);
    assert_eq!(desk.queue.is_full(), None);
}
