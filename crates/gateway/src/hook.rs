//! Tool calls that an agent's hook tells before they happen.
//!
//! Anything inside may come here and say anything. It gets an answer and nothing
//! else: what a hook was told changes nothing of what may leave.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use stockade_types::hook::{Answer, HEAD_SIZE, Head};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout},
};

use crate::record::Record;

/// How many are read and judged at once; others wait.
const AT_ONCE: usize = 8;
/// How many a second are judged for long, and how many at once beyond that.
const A_SECOND: u32 = 20;
const BURST: u32 = 200;
/// How long one may take. The hook says no a little later.
const LONGEST: Duration = Duration::from_secs(9);

/// What is answered to a hook, once that is known.
pub type Advised<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Who says what an agent's hook is to answer.
pub trait Adviser: Send + Sync {
    /// The answer to `event` of the agent of this name. Both are as they came.
    fn advise(&self, agent: String, event: Vec<u8>) -> Advised<'_>;
}

/// The hooks of one task.
pub(crate) struct Hooks {
    adviser: Arc<dyn Adviser>,
    places: Semaphore,
    rate: Rate,
}

impl Hooks {
    pub(crate) fn new(adviser: Arc<dyn Adviser>) -> Self {
        Self {
            adviser,
            places: Semaphore::new(AT_ONCE),
            rate: Rate::default(),
        }
    }

    /// Answers one hook. Where that fails, the hook says no by itself.
    pub(crate) async fn serve(&self, stream: TcpStream, record: &Record) {
        drop(timeout(LONGEST, self.answer(stream, record)).await);
    }

    async fn answer(&self, mut stream: TcpStream, record: &Record) -> io::Result<()> {
        let mut head = [0; HEAD_SIZE];
        stream.read_exact(&mut head).await?;
        let head = Head::decode(head).ok_or(io::ErrorKind::InvalidData)?;
        // Before there is room for the event, of which each may be large.
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let (mut agent, mut event) = (vec![0; head.name], vec![0; head.event]);
        stream.read_exact(&mut agent).await?;
        stream.read_exact(&mut event).await?;
        let agent = String::from_utf8(agent).map_err(|_| io::ErrorKind::InvalidData)?;
        let answer = if self.rate.is_kept(Instant::now()) {
            self.adviser.advise(agent, event).await
        } else {
            let reason = format!(
                "more than {A_SECOND} tool calls a second are told; wait, then make fewer at once."
            );
            let body = json!({ "rule": "hook.rate", "verdict": "deny", "reason": reason });
            record.denied(body, false).await;
            Answer::refused(format!("Stockade (hook.rate): {reason}"))
        };
        stream.write_all(&answer.encode()).await?;
        stream.shutdown().await
    }
}

/// How many may come, as the time at which none would be owed.
#[derive(Default)]
struct Rate(Mutex<Option<Instant>>);

impl Rate {
    /// Whether one more may come `now`, which is then counted.
    fn is_kept(&self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / A_SECOND;
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = owed.map_or(now, |until| until.max(now)) + each;
        let kept = next <= now + each * BURST;
        if kept {
            *owed = Some(next);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_heard_and_then_so_many_a_second() {
        let rate = Rate::default();
        let start = Instant::now();
        let heard = |count: u32, after: Duration| {
            let mut kept = 0;
            for _ in 0..count {
                kept += u32::from(rate.is_kept(start + after));
            }
            kept
        };
        assert_eq!(heard(BURST * 2, Duration::ZERO), BURST);
        assert_eq!(heard(A_SECOND * 2, Duration::from_secs(1)), A_SECOND);
        assert_eq!(heard(BURST * 2, Duration::from_hours(1)), BURST);
    }
}
