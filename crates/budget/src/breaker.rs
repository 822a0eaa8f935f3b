//! What an agent does that costs money and gets nowhere: loops, seen in what it
//! did since a person last spoke, too much of anything at once, and turns in
//! which nothing changes. A new prompt begins anew, and so does a person's word.

mod velocity;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::velocity::{Pace, Velocity};

/// The same call with the same result, so often in a row.
const IDENTICAL_MAX: usize = 6;
/// The same call whatever its result: a person would look at a wait as well.
const REPEATED_MAX: usize = 40;
/// The same few calls in turn, with the same results.
const CYCLE_MAX: usize = 4;
const CYCLES_MAX: usize = 6;
/// One tool that fails in the same way, whatever it is asked.
const FAILURES_MAX: usize = 8;

/// When an agent that gets nowhere is stopped: the table `[budget.breakers]` of
/// the user's configuration. `0` turns one off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breakers {
    /// Tokens a minute, input and output, cached ones too.
    pub tokens_a_minute: u64,
    /// How many times the tokens that the task's minutes had on the average.
    pub times_the_average: u64,
    /// Model requests a minute.
    pub requests_a_minute: u64,
    /// Turns in a row in which no file of the workspace changes.
    pub turns_without_progress: u64,
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            tokens_a_minute: 10_000_000,
            times_the_average: 10,
            requests_a_minute: 240,
            turns_without_progress: 200,
        }
    }
}

/// One tool call of an agent with its result, by digests: equal ones mean
/// equal content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The tool.
    pub tool: u64,
    /// The tool and all that it was asked.
    pub call: u64,
    /// The result.
    pub result: u64,
    /// Whether the agent was told that it failed.
    pub failed: bool,
}

/// Why an agent should not go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tripped {
    /// The same call with the same result, in a row.
    Identical(usize),
    /// The same call, in a row.
    Repeated(usize),
    /// The same calls in turn, with the same results: how many, how often.
    Cycle(usize, usize),
    /// One tool failed in the same way, in a row.
    Failing(usize),
    /// So many of something within a minute.
    Velocity(u64, &'static str),
    /// So many of something within a minute, and how many are usual.
    Sudden(u64, u64, &'static str),
    /// So many turns in which nothing changed.
    NoProgress(u64),
}

impl fmt::Display for Tripped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical(times) => {
                write!(
                    formatter,
                    "the same tool call gave the same result {times} times in a row"
                )
            }
            Self::Repeated(times) => {
                write!(
                    formatter,
                    "the same tool call was made {times} times in a row"
                )
            }
            Self::Cycle(length, times) => write!(
                formatter,
                "the same {length} tool calls gave the same results {times} times in turn"
            ),
            Self::Failing(times) => {
                write!(
                    formatter,
                    "one tool failed in the same way {times} times in a row"
                )
            }
            Self::Velocity(count, what) => {
                write!(formatter, "it took {count} {what} within a minute")
            }
            Self::Sudden(count, average, what) => write!(
                formatter,
                "it took {count} {what} within a minute, and {average} on the average before"
            ),
            Self::NoProgress(turns) => write!(
                formatter,
                "no file of its workspace has changed for {turns} turns"
            ),
        }
    }
}

/// Whether `calls`, the last one last, end in a loop.
pub fn judge(calls: &[Seen]) -> Option<Tripped> {
    let identical = run(calls, |one, other| {
        (one.call, one.result) == (other.call, other.result)
    });
    if identical >= IDENTICAL_MAX {
        return Some(Tripped::Identical(identical));
    }
    let repeated = run(calls, |one, other| one.call == other.call);
    if repeated >= REPEATED_MAX {
        return Some(Tripped::Repeated(repeated));
    }
    for length in 2..=CYCLE_MAX {
        let times = cycles(calls, length);
        if times >= CYCLES_MAX {
            return Some(Tripped::Cycle(length, times));
        }
    }
    let failing = run(calls, |one, other| {
        one.failed && other.failed && (one.tool, one.result) == (other.tool, other.result)
    });
    (failing >= FAILURES_MAX).then_some(Tripped::Failing(failing))
}

/// How many of the last calls are like the very last.
fn run(calls: &[Seen], alike: impl Fn(&Seen, &Seen) -> bool) -> usize {
    let Some(last) = calls.last() else { return 0 };
    calls
        .iter()
        .rev()
        .take_while(|call| alike(call, last))
        .count()
}

/// How often the last `length` calls were made one after another.
fn cycles(calls: &[Seen], length: usize) -> usize {
    let mut rounds = calls.rchunks_exact(length);
    let Some(last) = rounds.next() else { return 0 };
    let alike = |round: &&[Seen]| {
        round
            .iter()
            .zip(last)
            .all(|(one, other)| (one.call, one.result) == (other.call, other.result))
    };
    1 + rounds.take_while(alike).count()
}

/// Loops of which a person has said that the agent may go on: they are not
/// counted until it does something else.
#[derive(Debug, Default)]
pub struct Excused(Vec<u64>);

impl Excused {
    /// Excuses what `calls` end in.
    pub fn excuse(&mut self, calls: &[Seen]) {
        self.0 = calls
            .iter()
            .rev()
            .take(CYCLE_MAX)
            .map(|seen| seen.call)
            .collect();
    }

    /// [`judge`], but for what is excused.
    pub fn judge(&mut self, calls: &[Seen]) -> Option<Tripped> {
        match calls.last() {
            Some(last) if self.0.contains(&last.call) => return None,
            Some(_) => self.0.clear(),
            None => {}
        }
        judge(calls)
    }
}

/// How many turns there were since something changed.
#[derive(Debug)]
pub struct Progress {
    limit: u64,
    turns: u64,
    seen: Option<u64>,
}

impl Progress {
    /// A breaker for `limit` turns in which nothing changes; `0` breaks never.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            turns: 0,
            seen: None,
        }
    }

    /// Counts a turn. `look` tells what there is now, equal for equal; it is
    /// asked at the first turn and when so many have passed, since it may take
    /// its time; what cannot be told has changed.
    pub fn turn(&mut self, look: impl FnOnce() -> Option<u64>) -> Option<Tripped> {
        if self.limit == 0 {
            return None;
        }
        self.turns = self.turns.saturating_add(1);
        if self.turns == 1 {
            self.seen = look();
            return None;
        }
        if self.turns <= self.limit {
            return None;
        }
        let now = look();
        if now.is_none() || now != self.seen {
            self.seen = now;
            self.turns = 0;
            return None;
        }
        Some(Tripped::NoProgress(self.turns - 1))
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.turns = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(call: u64, result: u64) -> Seen {
        Seen {
            tool: 1,
            call,
            result,
            failed: false,
        }
    }

    #[test]
    fn the_same_call_with_the_same_result_trips_at_the_sixth() {
        let calls = [seen(1, 1); 6];
        assert_eq!(judge(&calls[..5]), None);
        assert_eq!(judge(&calls), Some(Tripped::Identical(6)));
    }

    #[test]
    fn a_call_whose_result_changes_is_a_wait_for_a_good_while() {
        let calls: Vec<_> = (0..40).map(|result| seen(1, result)).collect();
        assert_eq!(judge(&calls[..39]), None);
        assert_eq!(judge(&calls), Some(Tripped::Repeated(40)));
    }

    #[test]
    fn calls_in_turn_trip_and_another_one_ends_the_loop() {
        let mut calls: Vec<_> = (0..18).map(|number| seen(number % 3, 0)).collect();
        assert_eq!(judge(&calls), Some(Tripped::Cycle(3, 6)));
        calls.push(seen(9, 0));
        assert_eq!(judge(&calls), None);
    }

    #[test]
    fn a_tool_that_fails_in_the_same_way_trips_and_one_that_works_does_not() {
        let failing = |failed| -> Vec<_> {
            (0..8)
                .map(|call| Seen {
                    failed,
                    ..seen(call, 0)
                })
                .collect()
        };
        assert_eq!(judge(&failing(true)), Some(Tripped::Failing(8)));
        assert_eq!(judge(&failing(false)), None);
    }

    #[test]
    fn turns_without_a_change_trip_and_a_change_or_a_person_begins_anew() {
        let mut progress = Progress::new(5);
        let mut turns = |look: Option<u64>, count| (0..count).find_map(|_| progress.turn(|| look));
        assert_eq!(turns(Some(1), 5), None);
        assert_eq!(turns(Some(1), 1), Some(Tripped::NoProgress(5)));
        assert_eq!(turns(Some(2), 6), None, "something changed");
        assert!(turns(Some(2), 6).is_some());
        progress.reset();
        assert_eq!((0..5).find_map(|_| progress.turn(|| Some(2))), None);
        assert_eq!(progress.turn(|| None), None, "nobody can tell");
    }

    #[test]
    fn an_excused_loop_is_not_counted_until_something_else_was_done() {
        let mut excused = Excused::default();
        let mut calls = vec![seen(1, 1); 6];
        assert!(excused.judge(&calls).is_some());
        excused.excuse(&calls);
        calls.push(seen(1, 1));
        assert_eq!(excused.judge(&calls), None);
        calls.push(seen(2, 2));
        assert_eq!(excused.judge(&calls), None);
        calls.extend([seen(1, 1); 6]);
        assert!(excused.judge(&calls).is_some());
    }

    proptest! {
        #[test]
        fn work_that_never_repeats_itself_never_trips(length in 0..200_u64) {
            let calls: Vec<_> = (0..length).map(|number| seen(number, number)).collect();
            prop_assert_eq!(judge(&calls), None);
        }
    }
}
