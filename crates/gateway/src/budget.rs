use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes one task may still send. They are taken before anything is
/// sent, so that concurrent requests cannot overshoot.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    taken: AtomicU64,
    limit: u64,
}

/// The limit, which is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted(pub(crate) u64);

impl ByteBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            taken: AtomicU64::new(0),
            limit,
        }
    }

    /// Takes `bytes`, or nothing at all.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), Exhausted> {
        let next = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map(drop)
            .map_err(|_| Exhausted(self.limit))
    }

    /// Gives back what was taken and is not sent.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn many_at_once_never_take_more_than_the_limit() {
        let budget = ByteBudget::new(100);
        let granted: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..50).filter(|_| budget.take(1).is_ok()).count()))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(granted, 100);
    }

    #[test]
    fn an_overflow_is_a_refusal_and_what_is_given_back_can_be_taken_again() {
        let budget = ByteBudget::new(10);
        assert_eq!(budget.take(10), Ok(()));
        assert_eq!(budget.take(1), Err(Exhausted(10)));
        assert_eq!(budget.take(u64::MAX), Err(Exhausted(10)));
        budget.give_back(10);
        assert_eq!(budget.take(10), Ok(()));
    }
}
