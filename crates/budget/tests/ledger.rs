//! One ledger, seen from within one process.
#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::path::Path;

use proptest::prelude::*;
use stockade_budget::{
    Amount, BudgetError, Cap, Caps, Charge, Exhausted, Group, Ledger, Purse, Reservation,
    ReserveError, Scope, Spender, Unit,
};
use stockade_types::{Money, TaskId, Usage};

fn spender(number: u64, agent: &str) -> Spender {
    Spender {
        task: TaskId::from_random(number),
        agent: agent.to_owned(),
        repository: "here".to_owned(),
    }
}

fn cap(cost: &str) -> Cap {
    Cap {
        cost: Some(cost.parse().unwrap()),
        ..Cap::default()
    }
}

fn cost(text: &str) -> Amount {
    let picos = text.parse::<Money>().unwrap().picos();
    Amount::NONE.with(Unit::Cost, picos).with(Unit::Requests, 1)
}

fn charge(amount: Amount) -> Charge {
    Charge {
        amount,
        model: "m".into(),
        ..Charge::default()
    }
}

fn exhausted(result: Result<Reservation, ReserveError>) -> Exhausted {
    let exhausted = match result.unwrap_err() {
        ReserveError::Exhausted(exhausted) => Ok(exhausted),
        ReserveError::Ledger(error) => Err(error),
    };
    exhausted.unwrap()
}

fn task_caps(cost: &str) -> Caps {
    Caps {
        task: cap(cost),
        ..Caps::default()
    }
}

fn purse(folder: &Path, number: u64, caps: &Caps) -> Purse {
    Purse::open(folder, spender(number, "claude"), *caps).unwrap()
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_spent_and_the_cap() {
    let folder = tempfile::tempdir().unwrap();
    let mut purse = purse(folder.path(), 1, &task_caps("$2"));
    let first = purse.reserve(cost("$1.50")).unwrap();
    let refused = exhausted(purse.reserve(cost("$0.60")));
    let picos = |text: &str| text.parse::<Money>().unwrap().picos();
    assert_eq!((refused.scope, refused.unit), (Scope::Task, Unit::Cost));
    assert_eq!((refused.spent, refused.held), (0, picos("$1.50")));
    purse.settle(first, charge(cost("$0.25"))).unwrap();
    let second = purse.reserve(cost("$1.75")).unwrap();
    purse.settle(second, charge(cost("$1.75"))).unwrap();
    let sentence = exhausted(purse.reserve(cost("$0.01"))).to_string();
    assert!(
        sentence.contains("used $2.0000 of $2.0000") && sentence.contains("up to $0.0100"),
        "{sentence}"
    );
    assert_eq!(purse.spent(Unit::Requests).unwrap(), 2);
}

#[test]
fn every_scope_and_every_unit_can_be_the_one_that_is_used_up() {
    for scope in Scope::ALL {
        for unit in Unit::ALL {
            let folder = tempfile::tempdir().unwrap();
            let cap = Cap {
                cost: (unit == Unit::Cost).then(|| Money::from_picos(5)),
                tokens: (unit == Unit::Tokens).then_some(5),
                requests: (unit == Unit::Requests).then_some(5),
                turns: (unit == Unit::Turns).then_some(5),
                commands: (unit == Unit::Commands).then_some(5),
                subagents: (unit == Unit::Subagents).then_some(5),
                seconds: (unit == Unit::Seconds).then_some(5),
            };
            let mut caps = Caps::default();
            match scope {
                Scope::Task => caps.task = cap,
                Scope::Day => caps.day = cap,
                Scope::Agent => caps.agent = cap,
                Scope::Repository => caps.repository = cap,
                Scope::User => caps.user = cap,
            }
            let mut purse = purse(folder.path(), 1, &caps);
            let kept = purse.reserve(Amount::NONE.with(unit, 5)).unwrap();
            let refused = exhausted(purse.reserve(Amount::NONE.with(unit, 1)));
            assert_eq!((refused.scope, refused.unit), (scope, unit));
            drop(kept);
        }
    }
}

#[test]
fn a_ledger_of_the_first_format_is_taken_over_with_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = purse(folder.path(), 1, &Caps::default());
    let kept = first.reserve(cost("$1")).unwrap();
    first.settle(kept, charge(cost("$1"))).unwrap();
    first.close().unwrap();
    let database = rusqlite::Connection::open(folder.path().join("ledger.sqlite")).unwrap();
    for column in ["turns", "commands", "subagents"] {
        let drop = format!("ALTER TABLE charge DROP COLUMN {column}");
        database.execute_batch(&drop).unwrap();
    }
    database.pragma_update(None, "user_version", 1).unwrap();
    drop(database);
    let lines = Ledger::open(folder.path())
        .unwrap()
        .report(Group::Task, None)
        .unwrap();
    assert_eq!((lines[0].requests, lines[0].turns), (1, 0));
}

#[test]
fn a_cap_on_a_scope_is_shared_by_all_that_belong_to_it_and_by_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let caps = Caps {
        agent: cap("$1"),
        ..Caps::default()
    };
    let open = |number, agent| Purse::open(folder.path(), spender(number, agent), caps).unwrap();
    let (mut one, mut two, mut other) = (open(1, "claude"), open(2, "claude"), open(3, "codex"));
    let kept = one.reserve(cost("$1")).unwrap();
    assert_eq!(exhausted(two.reserve(cost("$1"))).scope, Scope::Agent);
    let others = other.reserve(cost("$1")).unwrap();
    other.settle(others, charge(cost("$1"))).unwrap();
    one.settle(kept, charge(cost("$0.40"))).unwrap();
    // What is not needed any more is there for others once the purse rests.
    one.rest().unwrap();
    let kept = two.reserve(cost("$0.60")).unwrap();
    drop(kept);
}

#[test]
fn a_raised_cap_holds_at_once_for_a_purse_that_is_open_and_for_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = purse(folder.path(), 1, &task_caps("$1"));
    let kept = first.reserve(cost("$1")).unwrap();
    exhausted(first.reserve(cost("$0.50")));
    let task = TaskId::from_random(1);
    let dollar = "$1".parse::<Money>().unwrap().picos();
    let mut person = Ledger::open(folder.path()).unwrap();
    let raise = |ledger: &mut Ledger, unit| ledger.raise(Scope::Task, task.as_str(), unit, dollar);
    let raised = raise(&mut person, Unit::Cost).unwrap().unwrap();
    assert_eq!(raised.cap, Some(2 * dollar));
    assert_eq!(raise(&mut person, Unit::Tokens).unwrap(), None);
    let more = first.reserve(cost("$0.50")).unwrap();
    first.settle(kept, charge(cost("$1"))).unwrap();
    first.settle(more, charge(cost("$0.50"))).unwrap();
    first.close().unwrap();
    let mut next = purse(folder.path(), 1, &task_caps("$1"));
    let kept = next.reserve(cost("$0.50")).unwrap();
    exhausted(next.reserve(cost("$0.01")));
    drop(kept);
}

#[test]
fn what_the_provider_charged_beyond_the_reserve_is_booked_and_stops_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut purse = purse(folder.path(), 1, &task_caps("$1"));
    let kept = purse.reserve(cost("$0.50")).unwrap();
    purse.settle(kept, charge(cost("$1.20"))).unwrap();
    let refused = exhausted(purse.reserve(cost("$0.01")));
    assert_eq!(refused.spent, "$1.20".parse::<Money>().unwrap().picos());
    assert_eq!(refused.held, 0);
}

#[test]
fn a_closed_purse_settles_what_was_under_way_in_full_and_says_it_is_a_guess() {
    let folder = tempfile::tempdir().unwrap();
    let mut purse = purse(folder.path(), 1, &task_caps("$1"));
    let kept = purse.reserve(cost("$0.30")).unwrap();
    drop(kept);
    purse.close().unwrap();
    let lines = Ledger::open(folder.path())
        .unwrap()
        .report(Group::Agent, None)
        .unwrap();
    assert_eq!(lines[0].cost, "$0.30".parse().unwrap());
    assert_eq!((lines[0].estimated, lines[0].requests), (lines[0].cost, 1));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("owner"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_person_is_told_once_at_50_and_once_at_80_per_cent() {
    let folder = tempfile::tempdir().unwrap();
    let mut purse = purse(folder.path(), 1, &task_caps("$1"));
    let mut told = Vec::new();
    for _ in 0..10 {
        let kept = purse.reserve(cost("$0.10")).unwrap();
        purse.settle(kept, charge(cost("$0.10"))).unwrap();
        purse.rest().unwrap();
        told.extend(purse.take_warnings().into_iter().map(|w| w.passed));
    }
    assert_eq!(told, [50, 80]);
}

#[test]
fn a_report_adds_up_by_any_column_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    for (number, agent) in [(1, "claude"), (2, "claude"), (3, "codex")] {
        let caps = Caps::default();
        let mut purse = Purse::open(folder.path(), spender(number, agent), caps).unwrap();
        let kept = purse.reserve(cost("$1")).unwrap();
        let usage = Usage {
            input: 7,
            output: 3,
            ..Usage::default()
        };
        let amount = cost("$0.000000000001");
        let charge = Charge {
            usage,
            ..charge(amount)
        };
        purse.settle(kept, charge).unwrap();
        purse.close().unwrap();
    }
    let ledger = Ledger::open(folder.path()).unwrap();
    let agents = ledger.report(Group::Agent, None).unwrap();
    assert_eq!(agents[0].name, "claude");
    assert_eq!((agents[0].requests, agents[0].usage.tokens()), (2, 20));
    assert_eq!(agents[0].cost.picos(), 2);
    assert_eq!(ledger.report(Group::Task, None).unwrap().len(), 3);
    assert_eq!(ledger.report(Group::Day, None).unwrap().len(), 1);
    assert_eq!(ledger.report(Group::Day, Some("9999")).unwrap(), []);
}

#[test]
fn a_ledger_of_a_later_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(Ledger::open(folder.path()).unwrap());
    let database = rusqlite::Connection::open(folder.path().join("ledger.sqlite")).unwrap();
    database.pragma_update(None, "user_version", 9).unwrap();
    let error = Ledger::open(folder.path()).unwrap_err();
    assert!(matches!(error, BudgetError::Format { found: 9, .. }));
}

#[test]
fn a_file_that_is_no_ledger_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("ledger.sqlite"),
        "not a database, but long",
    )
    .unwrap();
    let error = Ledger::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("ledger.sqlite"), "{error}");
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(usize, u64),
    /// Which purse, which reservation, per mille of its amount.
    Settle(usize, usize, u64),
    Rest(usize),
    /// The purse ends as by a crash, and a new one is opened.
    Crash(usize),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let purse = 0..3_usize;
    prop_oneof![
        4 => (purse.clone(), 1..400_u64).prop_map(|(purse, amount)| Step::Reserve(purse, amount)),
        4 => (purse.clone(), 0..8_usize, 0..=1000_u64).prop_map(|(p, r, m)| Step::Settle(p, r, m)),
        1 => purse.clone().prop_map(Step::Rest),
        1 => purse.clone().prop_map(Step::Crash),
        1 => purse.prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The model: what was really charged, and what is under way.
    #[test]
    fn whatever_happens_nothing_is_reserved_beyond_the_cap_and_nothing_charged_is_forgotten(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        const CAP: u64 = 1000;
        let folder = tempfile::tempdir().unwrap();
        let caps = Caps {
            day: Cap { tokens: Some(CAP), ..Cap::default() },
            ..Caps::default()
        };
        let open = |number: usize| purse(folder.path(), number as u64, &caps);
        let mut purses: Vec<Purse> = (0..3).map(open).collect();
        let mut under_way: Vec<Vec<Reservation>> = (0..3).map(|_| Vec::new()).collect();
        let (mut charged, mut lost) = (0, 0);
        for step in steps {
            match step {
                Step::Reserve(purse, tokens) => {
                    let amount = Amount::NONE.with(Unit::Tokens, tokens);
                    if let Ok(kept) = purses[purse].reserve(amount) {
                        under_way[purse].push(kept);
                    }
                }
                Step::Settle(purse, which, mille) if !under_way[purse].is_empty() => {
                    let which = which % under_way[purse].len();
                    let kept = under_way[purse].swap_remove(which);
                    let tokens = kept.amount().get(Unit::Tokens) * mille / 1000;
                    charged += tokens;
                    let amount = Amount::NONE.with(Unit::Tokens, tokens);
                    purses[purse].settle(kept, charge(amount)).unwrap();
                }
                Step::Settle(..) => {}
                Step::Rest(purse) => purses[purse].rest().unwrap(),
                Step::Crash(purse) | Step::Close(purse) => {
                    let gone = under_way[purse].drain(..);
                    lost += gone.map(|kept| kept.amount().get(Unit::Tokens)).sum::<u64>();
                    let old = std::mem::replace(&mut purses[purse], open(3 + purse));
                    if matches!(step, Step::Close(_)) {
                        old.close().unwrap();
                    } else {
                        drop(old);
                    }
                }
            }
            let now = under_way.iter().flatten().map(|kept| kept.amount().get(Unit::Tokens));
            let now: u64 = now.sum();
            prop_assert!(charged + lost + now <= CAP, "more was let through than the cap");
        }
        for purse in purses {
            purse.close().unwrap();
        }
        let ledger = Ledger::open(folder.path()).unwrap();
        let lines = ledger.report(Group::Day, None).unwrap();
        let day = lines.first().map(|line| line.name.clone()).unwrap_or_default();
        let balance = ledger.balance(Scope::Day, &day, Unit::Tokens).unwrap();
        let now: u64 = under_way.iter().flatten().map(|kept| kept.amount().get(Unit::Tokens)).sum();
        prop_assert!(balance.held == 0 && balance.spent <= CAP);
        prop_assert!(balance.spent >= charged + lost + now, "{balance:?} {charged} {lost} {now}");
    }
}
