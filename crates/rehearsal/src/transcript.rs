//! What arrived at the model server and what it answered.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

pub use crate::{
    canary::{Canary, CanaryError, CanaryHit},
    conversation::{Api, ToolResult, Usage},
};

/// The most exchanges that are kept; later ones are only counted.
pub const EXCHANGES_MAX: usize = 20_000;
/// The most bytes kept of one tool result.
pub const RESULT_BYTES_MAX: usize = 32 << 10;

/// Which key a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyCheck {
    /// The expected one, and no other.
    Accepted,
    /// Another, or another beside it.
    Wrong,
    /// None.
    Missing,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// A turn of the agent.
    Turn,
    /// A request beside the conversation: a title, a classifier.
    Side,
    /// A question for the number of tokens.
    Count,
    /// A list of models.
    Models,
    /// A look whether the server is there.
    Probe,
    /// A try to open a WebSocket, answered 426.
    Upgrade,
    /// Refused: wrong key, too large, not understood, no such path.
    Refused,
}

/// How an action of the script came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The script's turn, from 0.
    pub turn: usize,
    /// What the turn was for.
    pub label: Option<String>,
    /// What was not as the script expects; empty if all was.
    pub failures: Vec<String>,
}

/// One request and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// The request's number, from 0.
    pub sequence: u64,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What it was for.
    pub kind: ExchangeKind,
    /// The API, if the path is one of its.
    pub api: Option<Api>,
    /// Which key it carried.
    pub key: KeyCheck,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The model asked for.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The tools that the client offered.
    pub tools: Vec<String>,
    /// The script's turn that was played.
    pub turn: Option<usize>,
    /// The tool that the answer calls.
    pub called: Option<String>,
    /// The tool results that came with the request, cut to
    /// [`RESULT_BYTES_MAX`].
    pub tool_results: Vec<ToolResult>,
    /// How the previous turn's action came out.
    pub outcome: Option<Outcome>,
    /// The canaries that arrived.
    pub canaries: Vec<CanaryHit>,
    /// The usage reported.
    pub usage: Option<Usage>,
}

/// The exchanges of a server, shared between it and whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    exchanges: Vec<Exchange>,
    count: u64,
    record: Option<Box<dyn Write + Send>>,
    record_error: Option<io::ErrorKind>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Inner")
            .field("exchanges", &self.exchanges)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Transcript {
    /// A transcript that also writes each exchange to `record`, one line of
    /// JSON each, flushed.
    pub fn with_record(record: Box<dyn Write + Send>) -> Self {
        let inner = Inner {
            record: Some(record),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is a single push: a panic elsewhere leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, mut exchange: Exchange) {
        for result in &mut exchange.tool_results {
            result
                .text
                .truncate(result.text.floor_char_boundary(RESULT_BYTES_MAX));
        }
        let mut inner = self.lock();
        exchange.sequence = inner.count;
        inner.count += 1;
        if let Some(record) = &mut inner.record {
            let written = serde_json::to_writer(&mut *record, &exchange)
                .map_err(io::Error::from)
                .and_then(|()| record.write_all(b"\n"))
                .and_then(|()| record.flush());
            if let Err(error) = written {
                inner.record_error.get_or_insert(error.kind());
            }
        }
        if inner.exchanges.len() < EXCHANGES_MAX {
            inner.exchanges.push(exchange);
        }
    }

    /// The exchanges so far, the first [`EXCHANGES_MAX`] of them.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.lock().exchanges.clone()
    }

    /// How many requests arrived, kept or not.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// Why lines are missing from the record, if any are.
    pub fn record_error(&self) -> Option<io::ErrorKind> {
        self.lock().record_error
    }

    /// How the script's actions came out: the last word on each turn, in the
    /// order of the script. A turn whose result never came back is absent.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut outcomes = std::collections::BTreeMap::new();
        for outcome in self
            .lock()
            .exchanges
            .iter()
            .filter_map(|exchange| exchange.outcome.clone())
        {
            outcomes.insert(outcome.turn, outcome);
        }
        outcomes.into_values().collect()
    }

    /// The outcomes that were not as the script expects.
    pub fn failed_outcomes(&self) -> Vec<Outcome> {
        self.outcomes()
            .into_iter()
            .filter(|outcome| !outcome.failures.is_empty())
            .collect()
    }

    /// Every canary that arrived.
    pub fn canary_hits(&self) -> Vec<CanaryHit> {
        self.lock()
            .exchanges
            .iter()
            .flat_map(|exchange| exchange.canaries.clone())
            .collect()
    }
}
