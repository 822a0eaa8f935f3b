use std::{collections::VecDeque, time::Duration};

use super::Tripped;

const MINUTE: Duration = Duration::from_mins(1);

/// How much of something there was within a minute.
#[derive(Debug)]
pub struct Velocity {
    limit: u64,
    of: &'static str,
    spent: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl Velocity {
    /// A breaker for more than `limit` a minute of what `of` names; `0` breaks
    /// never.
    pub fn new(limit: u64, of: &'static str) -> Self {
        Self {
            limit,
            of,
            spent: VecDeque::new(),
            sum: 0,
        }
    }

    /// Adds what there was at `now`, on a clock that does not go back.
    pub fn add(&mut self, now: Duration, count: u64) {
        if self.limit > 0 {
            self.forget(now);
            self.spent.push_back((now, count));
            self.sum = self.sum.saturating_add(count);
        }
    }

    /// Whether the last minute had too much.
    pub fn judge(&mut self, now: Duration) -> Option<Tripped> {
        self.forget(now);
        (self.limit > 0 && self.sum > self.limit).then_some(Tripped::Velocity(self.sum, self.of))
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.spent.clear();
        self.sum = 0;
    }

    fn forget(&mut self, now: Duration) {
        let minute_ago = now.saturating_sub(MINUTE);
        while let Some((at, count)) = self.spent.front().copied() {
            if at >= minute_ago {
                break;
            }
            self.spent.pop_front();
            self.sum = self.sum.saturating_sub(count);
        }
    }
}

/// So many minutes with something in them tell what is usual.
const MINUTES_MIN: u32 = 5;
/// The share of what is usual that one more minute changes.
const SHARE: u64 = 8;
/// A minute with fewer is never too much.
const COUNT_MIN: u64 = 1_000_000;

/// How much of something there is in this minute, beside what this task's
/// minutes had on the average: those with anything in them, the last ones most.
#[derive(Debug)]
pub struct Pace {
    times: u64,
    of: &'static str,
    minute: u64,
    count: u64,
    average: u64,
    minutes: u32,
}

impl Pace {
    /// A breaker for more than `times` the average of what `of` names; `0`
    /// breaks never.
    pub fn new(times: u64, of: &'static str) -> Self {
        Self {
            times,
            of,
            minute: 0,
            count: 0,
            average: 0,
            minutes: 0,
        }
    }

    /// Adds what there was at `now`, on a clock that does not go back.
    pub fn add(&mut self, now: Duration, count: u64) {
        self.reach(now);
        self.count = self.count.saturating_add(count);
    }

    /// Whether this minute has too much.
    pub fn judge(&mut self, now: Duration) -> Option<Tripped> {
        self.reach(now);
        let usual = self.average.saturating_mul(self.times).max(COUNT_MIN);
        let is_known = self.times > 0 && self.minutes >= MINUTES_MIN;
        (is_known && self.count > usual).then_some(Tripped::Sudden(
            self.count,
            self.average,
            self.of,
        ))
    }

    /// A person lets it go on: such a minute is usual from now on.
    pub fn reset(&mut self) {
        self.average = self.average.max(self.count);
        self.count = 0;
    }

    fn reach(&mut self, now: Duration) {
        let minute = now.as_secs() / MINUTE.as_secs();
        if minute == self.minute {
            return;
        }
        if self.count > 0 {
            self.average = match self.minutes {
                0 => self.count,
                _ => self.average - self.average / SHARE + self.count / SHARE,
            };
            self.minutes = self.minutes.saturating_add(1);
        }
        (self.minute, self.count) = (minute, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_more_than_a_minute_ago_does_not_count() {
        let mut velocity = Velocity::new(100, "tokens");
        let at = Duration::from_secs;
        velocity.add(at(0), 80);
        velocity.add(at(59), 80);
        assert_eq!(
            velocity.judge(at(59)),
            Some(Tripped::Velocity(160, "tokens"))
        );
        assert_eq!(velocity.judge(at(61)), None);
        velocity.add(at(62), 80);
        assert!(velocity.judge(at(62)).is_some());
        velocity.reset();
        assert_eq!(velocity.judge(at(62)), None);
        let mut off = Velocity::new(0, "tokens");
        off.add(at(0), u64::MAX);
        assert_eq!(off.judge(at(0)), None);
    }

    #[test]
    fn a_minute_of_many_times_what_is_usual_trips_once_it_is_known_what_is() {
        let at = |minute: u64| MINUTE * u32::try_from(minute).unwrap();
        let mut pace = Pace::new(10, "tokens");
        pace.add(at(0), 50_000_000);
        assert_eq!(pace.judge(at(0)), None, "nothing is usual yet");
        let mut pace = Pace::new(10, "tokens");
        // Minutes without anything tell nothing.
        for minute in (0..20).step_by(2) {
            pace.add(at(minute), 200_000);
            assert_eq!(pace.judge(at(minute)), None);
        }
        pace.add(at(21), 2_000_000);
        assert_eq!(pace.judge(at(21)), None);
        pace.add(at(21), 100_000);
        let sudden = pace.judge(at(21)).unwrap();
        assert_eq!(sudden, Tripped::Sudden(2_100_000, 200_000, "tokens"));
        pace.reset();
        pace.add(at(21), 2_000_000);
        assert_eq!(pace.judge(at(21)), None, "a person let it go on");
        let mut off = Pace::new(0, "tokens");
        for minute in 0..10 {
            off.add(at(minute), 10);
        }
        off.add(at(10), u64::MAX);
        assert_eq!(off.judge(at(10)), None);
        // Little is never too much, whatever is usual.
        let mut small = Pace::new(2, "tokens");
        for minute in 0..10 {
            small.add(at(minute), 10);
        }
        small.add(at(10), 900_000);
        assert_eq!(small.judge(at(10)), None);
    }
}
