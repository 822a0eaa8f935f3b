//! Loops that cost money and get nowhere, seen in what an agent did since a
//! person last spoke. A new prompt begins anew: nothing has to be reset.

use std::{collections::VecDeque, fmt, time::Duration};

/// The same call with the same result, so often in a row.
const IDENTICAL_MAX: usize = 6;
/// The same call whatever its result: a person would look at a wait as well.
const REPEATED_MAX: usize = 40;
/// The same few calls in turn, with the same results.
const CYCLE_MAX: usize = 4;
const CYCLES_MAX: usize = 6;
/// One tool that fails in the same way, whatever it is asked.
const FAILURES_MAX: usize = 8;

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

/// How many tokens a minute are spent.
#[derive(Debug)]
pub struct Velocity {
    limit: u64,
    spent: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl Velocity {
    /// A breaker for more than `limit` tokens a minute.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            spent: VecDeque::new(),
            sum: 0,
        }
    }

    /// Adds what was spent at `now`, on a clock that does not go back.
    pub fn add(&mut self, now: Duration, tokens: u64) {
        self.spent.push_back((now, tokens));
        self.sum = self.sum.saturating_add(tokens);
    }

    /// The tokens of the last minute, if they are too many.
    pub fn tripped(&mut self, now: Duration) -> Option<u64> {
        let minute_ago = now.saturating_sub(Duration::from_mins(1));
        while let Some((at, tokens)) = self.spent.front().copied() {
            if at >= minute_ago {
                break;
            }
            self.spent.pop_front();
            self.sum = self.sum.saturating_sub(tokens);
        }
        (self.sum > self.limit).then_some(self.sum)
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
    fn what_was_spent_more_than_a_minute_ago_does_not_count() {
        let mut velocity = Velocity::new(100);
        let at = Duration::from_secs;
        velocity.add(at(0), 80);
        velocity.add(at(59), 80);
        assert_eq!(velocity.tripped(at(59)), Some(160));
        assert_eq!(velocity.tripped(at(61)), None);
    }

    proptest! {
        #[test]
        fn work_that_never_repeats_itself_never_trips(length in 0..200_u64) {
            let calls: Vec<_> = (0..length).map(|number| seen(number, number)).collect();
            prop_assert_eq!(judge(&calls), None);
        }
    }
}
