//! What a command prints, as it comes: one event after another, and the next
//! only when the client has taken the last.

use bytes::Bytes;
use hyper::{HeaderMap, Response, header};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc::{Sender, channel};

use super::{Body, Problem, problem, set};
use crate::calls::Outcome;

/// How many events wait for a client; then the command does.
const WAITING: usize = 4;

/// How an answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One document when the command has ended.
    Whole,
    /// Events as server-sent events.
    ServerSent,
    /// Events as lines of JSON.
    Lines,
}

pub(super) const SERVER_SENT: &str = "text/event-stream";
pub(super) const LINES: &str = "application/x-ndjson";

impl Form {
    /// What the client accepts.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let mut kinds = accept.unwrap_or_default().split(',').map(|kind| {
            let kind = kind.split(';').next().unwrap_or_default();
            kind.trim().to_ascii_lowercase()
        });
        kinds
            .find_map(|kind| match kind.as_str() {
                SERVER_SENT => Some(Self::ServerSent),
                LINES => Some(Self::Lines),
                "application/json" => Some(Self::Whole),
                _ => None,
            })
            .unwrap_or(Self::Whole)
    }
}

/// Something that happened to a command.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event<'a> {
    /// It printed something.
    Output {
        /// Where to.
        stream: Stream,
        /// What, cleaned.
        text: &'a str,
    },
    /// It has ended; this is the last event.
    Result {
        /// How, without what it printed.
        result: Box<Outcome>,
    },
    /// It cannot be told how it ended; this is the last event.
    Problem {
        /// Why.
        problem: problem::Document<'a>,
    },
}

/// Where a command prints.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stream {
    /// Standard output, and standard error too if they are one.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where events are put.
#[derive(Debug)]
pub(crate) struct EventSender {
    form: Form,
    sender: Sender<Bytes>,
}

impl EventSender {
    /// A way to send events in `form`, and the answer that they make up.
    pub(crate) fn new(form: Form) -> (Self, Response<Body>) {
        let (sender, pieces) = channel(WAITING);
        let mut response = Response::new(Body::Pieces(pieces));
        let kind = match form {
            Form::ServerSent => SERVER_SENT,
            Form::Lines | Form::Whole => LINES,
        };
        set(&mut response, header::CONTENT_TYPE, kind);
        set(&mut response, header::CACHE_CONTROL, "no-store");
        (Self { form, sender }, response)
    }

    /// Waits until the client is gone.
    pub(crate) async fn gone(&self) {
        self.sender.closed().await;
    }

    pub(crate) async fn output(&self, error: bool, text: &str) -> Result<(), Gone> {
        let stream = if error {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        self.send("output", &Event::Output { stream, text }).await
    }

    pub(crate) async fn result(&self, result: Outcome) -> Result<(), Gone> {
        let result = Box::new(result);
        self.send("result", &Event::Result { result }).await
    }

    pub(crate) async fn problem(&self, problem: &Problem) -> Result<(), Gone> {
        let problem = problem.document();
        self.send("problem", &Event::Problem { problem }).await
    }

    /// Waits until there is room.
    async fn send(&self, name: &str, event: &Event<'_>) -> Result<(), Gone> {
        let document = serde_json::to_string(event).unwrap_or_default();
        let text = match self.form {
            Form::ServerSent => format!("event: {name}\ndata: {document}\n\n"),
            Form::Lines | Form::Whole => format!("{document}\n"),
        };
        self.sender.send(text.into()).await.map_err(|_| Gone)
    }
}

/// The client is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_kind_that_is_accepted_decides() {
        let form = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            Form::of(&headers)
        };
        assert_eq!(Form::of(&HeaderMap::new()), Form::Whole);
        assert_eq!(form("*/*"), Form::Whole);
        assert_eq!(form("Text/Event-Stream; q=0.9, */*"), Form::ServerSent);
        assert_eq!(form("text/html, application/x-ndjson"), Form::Lines);
        assert_eq!(form("application/json, text/event-stream"), Form::Whole);
    }
}
