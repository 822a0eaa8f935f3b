use std::time::{Duration, Instant};

/// One moment, by two clocks: one that nobody can set, and the time of day,
/// which goes on while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock that only goes on.
    pub steady: Instant,
    /// Seconds since 1970, UTC.
    pub wall: u64,
}

/// A moment after which something is over, by whichever clock says so first:
/// setting the time of day back makes nothing last longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    steady: Instant,
    pub(crate) wall: u64,
}

impl Deadline {
    /// So long after `now`.
    pub(crate) fn after(now: Moment, lasting: Duration) -> Self {
        Self::until(now, now.wall.saturating_add(lasting.as_secs()))
    }

    /// At a time of day.
    pub(crate) fn until(now: Moment, wall: u64) -> Self {
        let left = Duration::from_secs(wall.saturating_sub(now.wall));
        Self {
            // One that cannot be expressed is never reached: it is over now.
            steady: now.steady.checked_add(left).unwrap_or(now.steady),
            wall,
        }
    }

    pub(crate) fn has_passed(&self, now: Moment) -> bool {
        now.steady >= self.steady || now.wall >= self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g4_a_deadline_passes_by_either_clock_and_one_set_back_does_not_lengthen_it() {
        let start = Moment {
            steady: Instant::now(),
            wall: 1_000_000,
        };
        let at = |steady: u64, wall: u64| Moment {
            steady: start.steady + Duration::from_secs(steady),
            wall,
        };
        let deadline = Deadline::after(start, Duration::from_mins(1));
        assert!(!deadline.has_passed(at(59, 1_000_059)));
        assert!(deadline.has_passed(at(60, 1_000_060)));
        // An hour back; a machine that slept.
        assert!(deadline.has_passed(at(60, 996_460)));
        assert!(deadline.has_passed(at(1, 1_000_060)));
    }
}
