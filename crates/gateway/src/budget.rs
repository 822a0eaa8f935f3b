use std::sync::atomic::{AtomicU64, Ordering};

/// What one task may still send. Both counts only grow, and are taken before
/// anything is sent, so that concurrent requests cannot overshoot.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: AtomicU64,
    request_limit: Option<u64>,
    bytes: AtomicU64,
    byte_limit: u64,
}

/// A limit that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// Of metered requests, this many.
    Requests(u64),
    /// Of bytes outward, this many.
    Bytes(u64),
}

impl Budget {
    pub(crate) fn new(request_limit: Option<u64>, byte_limit: u64) -> Self {
        Self {
            requests: AtomicU64::new(0),
            request_limit,
            bytes: AtomicU64::new(0),
            byte_limit,
        }
    }

    /// Takes one request of `bytes` out of the budget, or nothing at all.
    pub(crate) fn take(&self, metered: bool, bytes: u64) -> Result<(), Exhausted> {
        take(&self.bytes, bytes, self.byte_limit)
            .map_err(|()| Exhausted::Bytes(self.byte_limit))?;
        let Some(limit) = self.request_limit.filter(|_| metered) else {
            return Ok(());
        };
        take(&self.requests, 1, limit).map_err(|()| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            Exhausted::Requests(limit)
        })
    }
}

fn take(counter: &AtomicU64, amount: u64, limit: u64) -> Result<(), ()> {
    let next = |used: u64| used.checked_add(amount).filter(|sum| *sum <= limit);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        .map(drop)
        .map_err(drop)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn many_at_once_never_take_more_than_the_limit() {
        let budget = Budget::new(Some(100), u64::MAX);
        let granted: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..50).filter(|_| budget.take(true, 1).is_ok()).count()))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(granted, 100);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn free_requests_count_bytes_only_and_an_overflow_is_a_refusal() {
        let budget = Budget::new(Some(0), 10);
        assert_eq!(budget.take(true, 1), Err(Exhausted::Requests(0)));
        assert_eq!(budget.take(false, 10), Ok(()));
        assert_eq!(budget.take(false, 1), Err(Exhausted::Bytes(10)));
        assert_eq!(budget.take(false, u64::MAX), Err(Exhausted::Bytes(10)));
    }
}
