//! Several processes spend out of one ledger, and some of them are killed.
#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]
#![expect(
    clippy::disallowed_methods,
    reason = "the processes are what is tested"
)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
};

use stockade_budget::{Group, Ledger, Scope, Unit};
use stockade_types::{Money, TaskId};

const LIMIT: &str = "$1";

/// One process, and what it said.
struct Spending {
    child: Child,
    steps: BufReader<ChildStdout>,
    /// What providers would have charged it.
    cost: u64,
    closed: bool,
}

impl Spending {
    fn start(folder: &Path, number: u64, steps: u64) -> Self {
        let mut child = Command::new(example())
            .arg(folder)
            .args([number, number, steps].map(|argument| argument.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let steps = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            steps,
            cost: 0,
            closed: false,
        }
    }

    /// Waits until it has as many requests under way as it can, and says how
    /// many.
    fn held(&mut self) -> u64 {
        loop {
            let mut line = String::new();
            assert!(self.steps.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some(held) = line.strip_prefix("held ") {
                return held.trim().parse().unwrap();
            }
        }
    }

    fn go_on(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Follows it for so many steps, or to its end.
    fn follow(&mut self, steps: usize) {
        for _ in 0..steps {
            let mut line = String::new();
            if self.steps.read_line(&mut line).unwrap() == 0 {
                return;
            }
            if let Some(cost) = line.strip_prefix("cost ") {
                self.cost += cost.trim().parse::<u64>().unwrap();
            }
            self.closed = line.trim() == "closed";
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it said before it died counts.
        self.follow(usize::MAX);
    }
}

/// `examples/spend.rs`, built beside the tests.
fn example() -> PathBuf {
    let folder = std::env::current_exe().unwrap();
    let folder = folder.parent().unwrap().parent().unwrap();
    folder.join("examples/spend")
}

fn limit() -> u64 {
    LIMIT.parse::<Money>().unwrap().picos()
}

/// What is spent and held of all tasks together.
fn used(ledger: &Ledger) -> (u64, u64) {
    let balance = ledger.balance(Scope::User, "", Unit::Cost).unwrap();
    assert_eq!(balance.cap, Some(limit()));
    (balance.spent, balance.held)
}

#[test]
fn g7_eight_processes_with_500_requests_under_way_never_pass_the_cap_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<_> = (0..8)
        .map(|number| Spending::start(folder.path(), number, u64::MAX))
        .collect();
    // A dollar is for 500 of them. What a slice keeps for its task is not
    // there for another, so a few less may be under way, and never more.
    let held: u64 = all.iter_mut().map(Spending::held).sum();
    assert!((450..=500).contains(&held), "{held} under way");
    let balance = used(&Ledger::open(folder.path()).unwrap());
    assert!(balance.0 == 0 && balance.1 <= limit(), "{balance:?}");
    thread::scope(|scope| {
        for spending in &mut all {
            spending.go_on();
            scope.spawn(|| spending.follow(usize::MAX));
        }
    });
    for spending in &mut all {
        assert!(spending.child.wait().unwrap().success() && spending.closed);
    }
    let ledger = Ledger::open(folder.path()).unwrap();
    let cost: u64 = all.iter().map(|spending| spending.cost).sum();
    assert_eq!(used(&ledger), (cost, 0), "booked is what was charged");
    assert!(cost <= limit() && cost > limit() / 100 * 99, "{cost}");
    let lines = ledger.report(Group::Task, None).unwrap();
    assert_eq!(lines.len(), 8);
    let reported: u64 = lines.iter().map(|line| line.cost.picos()).sum();
    assert_eq!(reported, cost);
}

#[test]
fn g7_processes_killed_at_any_step_never_leave_less_booked_than_was_charged() {
    let folder = tempfile::tempdir().unwrap();
    let mut cost = 0;
    for round in 0..24 {
        let mut killed = Spending::start(folder.path(), 2 * round, u64::MAX);
        let mut other = Spending::start(folder.path(), 2 * round + 1, 12);
        killed.go_on();
        other.go_on();
        killed.follow(usize::try_from(round * round % 97).unwrap() + 1);
        killed.kill();
        other.follow(usize::MAX);
        assert!(other.child.wait().unwrap().success());
        cost += killed.cost + other.cost;
        // Opening it settles what the dead one held.
        let (spent, held) = used(&Ledger::open(folder.path()).unwrap());
        assert_eq!(held, 0);
        assert!(cost <= spent, "round {round}: {spent} of {cost} booked");
        assert!(spent <= limit(), "round {round}: {spent}");
    }
    assert!(cost > 0, "nobody spent anything");
}

#[test]
fn g7_a_living_process_keeps_what_it_holds_while_others_settle_the_dead() {
    let folder = tempfile::tempdir().unwrap();
    let mut alive = Spending::start(folder.path(), 1, u64::MAX);
    let mut dead = Spending::start(folder.path(), 2, u64::MAX);
    let held_by = |ledger: &Ledger, number| {
        let task = TaskId::from_random(number);
        let balance = ledger.balance(Scope::Task, task.as_str(), Unit::Cost);
        balance.unwrap().held
    };
    assert!(alive.held() > 0 && dead.held() > 0);
    dead.kill();
    let ledger = Ledger::open(folder.path()).unwrap();
    let held = held_by(&ledger, 1);
    assert_eq!(held_by(&ledger, 2), 0);
    let (spent, all_held) = used(&ledger);
    assert!(held > 0 && all_held == held, "{held} of {all_held}");
    assert!(spent + all_held <= limit());
    alive.kill();
    Ledger::open(folder.path()).unwrap();
    assert_eq!(used(&ledger).1, 0);
}
