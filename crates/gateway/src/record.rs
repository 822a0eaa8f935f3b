use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};
use stockade_types::{Event, EventKind};
use tokio::sync::mpsc;

use crate::meter::{Asked, Meter, Settlement, Spent};

/// The record could not be written; what it was for must not happen.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be written: {0}")]
pub struct SinkError(pub String);

/// Where events go.
pub trait EventSink: Send + Sync {
    /// Records `event`; the future resolves when it is durable.
    fn record(
        &self,
        event: Event,
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + '_>>;

    /// Has `event` recorded after those before it; nobody waits for that.
    fn hand_over(&self, event: Event);
}

/// Ordinary refusals recorded one by one; what follows is only counted, so
/// that a loop inside cannot fill the log. Alarms have a count of their own, so
/// that ordinary refusals cannot hide them.
const DENIALS_MAX: u32 = 4096;
const ALARMS_MAX: u32 = 256;
/// Characters kept of any text that came from inside.
const TEXT_MAX: usize = 256;

/// `text` as it may enter the record: bounded, without control characters.
pub(crate) fn bounded(text: &str) -> String {
    bounded_to(text, TEXT_MAX)
}

/// The same with another bound.
pub(crate) fn bounded_to(text: &str, most: usize) -> String {
    let mut result = String::new();
    for character in text.chars() {
        if result.len() >= most {
            result.push('…');
            break;
        }
        if character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            result.extend(character.escape_unicode());
        } else {
            result.push(character);
        }
    }
    result
}

/// A request that is over: what to write, and what to settle first.
pub(crate) struct Ended {
    body: Option<Value>,
    settle: Option<(u64, Settlement)>,
}

/// What is reserved for a request. Dropped before the request was sent, it is
/// given back.
pub(crate) struct Reserved {
    number: u64,
    /// What became of it.
    pub(crate) spent: Spent,
    /// What its reply asked for.
    pub(crate) asked: Asked,
    outcomes: Option<mpsc::UnboundedSender<Ended>>,
}

impl Reserved {
    fn settle(mut self) -> (u64, Settlement) {
        self.outcomes = None;
        (self.number, self.ended())
    }

    fn ended(&self) -> Settlement {
        Settlement {
            spent: self.spent,
            asked: self.asked,
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(outcomes) = self.outcomes.take() {
            let settle = Some((self.number, self.ended()));
            drop(outcomes.send(Ended { body: None, settle }));
        }
    }
}

/// The record as the gateway writes it.
#[derive(Clone)]
pub(crate) struct Record {
    sink: Arc<dyn EventSink>,
    denials: Arc<AtomicU32>,
    alarms: Arc<AtomicU32>,
    outcomes: mpsc::UnboundedSender<Ended>,
}

impl Record {
    /// A record, and the stream of outcomes that [`write_outcomes`] empties.
    pub(crate) fn new(sink: Arc<dyn EventSink>) -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (outcomes, receiver) = mpsc::unbounded_channel();
        (
            Self {
                sink,
                denials: Arc::default(),
                alarms: Arc::default(),
                outcomes,
            },
            receiver,
        )
    }

    /// An outward request that was allowed; durable when this returns.
    pub(crate) async fn request(&self, body: Value) -> Result<(), SinkError> {
        self.sink
            .record(Event::new(EventKind::NetworkRequest, body))
            .await
    }

    /// A placeholder is about to be replaced; durable when this returns.
    pub(crate) async fn secret_used(&self, name: &str, host: &str) -> Result<(), SinkError> {
        let body = json!({ "secret": bounded(name), "host": bounded(host) });
        self.sink
            .record(Event::new(EventKind::SecretUsed, body))
            .await
    }

    /// A refusal. Failing to record one does not turn it into a permission.
    pub(crate) async fn denied(&self, mut body: Value, alarm: bool) {
        let (counter, limit) = if alarm {
            (&self.alarms, ALARMS_MAX)
        } else {
            (&self.denials, DENIALS_MAX)
        };
        let before = counter.fetch_add(1, Ordering::Relaxed);
        if before > limit {
            // Wrapping would start the count over.
            counter.store(limit + 1, Ordering::Relaxed);
            return;
        }
        if before == limit {
            body = json!({ "rule": "record.denials-limit",
                "reason": "further refusals of this kind are not recorded one by one" });
        }
        if alarm {
            body["alarm"] = Value::Bool(true);
        }
        drop(self.sink.record(Event::new(EventKind::Denied, body)).await);
    }

    /// The outcome of a request; settled and written soon, in order.
    pub(crate) fn outcome(&self, body: Value, reserved: Option<Reserved>) {
        let settle = reserved.map(Reserved::settle);
        // The receiver ends only when the gateway does.
        drop(self.outcomes.send(Ended {
            body: Some(body),
            settle,
        }));
    }

    /// A request for which so much is reserved.
    pub(crate) fn reserved(&self, number: u64) -> Reserved {
        Reserved {
            number,
            spent: Spent::Nothing,
            asked: Asked::default(),
            outcomes: Some(self.outcomes.clone()),
        }
    }
}

/// Writes outcomes until every [`Record`] is gone.
pub(crate) async fn write_outcomes(
    sink: Arc<dyn EventSink>,
    meter: Arc<dyn Meter>,
    mut outcomes: mpsc::UnboundedReceiver<Ended>,
) {
    while let Some(Ended { body, settle }) = outcomes.recv().await {
        let bill = match settle {
            Some((number, ended)) => meter.settle(number, ended).await,
            None => None,
        };
        let Some(mut body) = body else { continue };
        if let Some(bill) = bill {
            body["cost"] = json!(bill.cost);
            body["cost_estimated"] = json!(bill.estimated);
        }
        // The intent is already in the record; a missing outcome shows there.
        sink.hand_over(Event::new(EventKind::NetworkOutcome, body));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Memory(Mutex<Vec<Event>>);

    impl EventSink for Memory {
        fn record(
            &self,
            event: Event,
        ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + '_>> {
            self.hand_over(event);
            Box::pin(async { Ok(()) })
        }

        fn hand_over(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn text_from_inside_is_bounded_and_cannot_drive_a_terminal() {
        assert_eq!(bounded("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
        assert!(bounded(&"x".repeat(10_000)).len() <= TEXT_MAX + 3);
    }

    #[tokio::test]
    async fn a_loop_of_refusals_is_counted_and_does_not_hide_an_alarm() {
        let memory = Arc::new(Memory::default());
        let (record, _outcomes) = Record::new(memory.clone());
        for _ in 0..DENIALS_MAX + 50 {
            record.denied(json!({}), false).await;
        }
        for _ in 0..ALARMS_MAX + 50 {
            record.denied(json!({}), true).await;
        }
        let events = memory.0.lock().unwrap();
        assert_eq!(
            events.len(),
            usize::try_from(DENIALS_MAX + ALARMS_MAX).unwrap() + 2
        );
        assert_eq!(events.last().unwrap().body["alarm"], true);
    }
}
