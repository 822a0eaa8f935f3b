//! What is said to a server, and what it answers: one POST for each message.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header as names};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::{sync::mpsc::Sender, task::AbortHandle, time::timeout};

use crate::{
    MESSAGE_MAX,
    endpoint::{BridgeError, Endpoint},
    events::Events,
    message::{Sent, header, line},
};

/// How long a server may take until it begins to answer.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long it may take to hear that a session ends.
const GOODBYE: Duration = Duration::from_secs(2);

const VERSION: &str = "mcp-protocol-version";
const SESSION: &str = "mcp-session-id";

/// A conversation with one server.
pub(crate) struct Session {
    endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What a legacy server calls the session.
    id: Option<String>,
    /// The version that a legacy server chose.
    version: Option<String>,
    /// Requests that are waited for, by their keys.
    asked: HashMap<String, AbortHandle>,
}

impl Session {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `task` waits for the answer to the request `key`.
    pub(crate) fn began(&self, key: String, task: AbortHandle) {
        let mut state = self.state();
        state.asked.retain(|_, task| !task.is_finished());
        state.asked.insert(key, task);
    }

    /// Hangs up on the request `key`; a modern server takes that for a cancellation.
    pub(crate) fn cancel(&self, key: &str) {
        if let Some(task) = self.state().asked.remove(key) {
            task.abort();
        }
    }

    /// Asks, and says whatever the server answers; an error if it does not.
    pub(crate) async fn ask(&self, sent: Sent, say: &Sender<Vec<u8>>) {
        match self.exchange(&sent, say).await {
            Ok(true) => {}
            Ok(false) => drop(say.send(sent.failed("the server did not answer")).await),
            Err(error) => drop(say.send(sent.failed(&error.to_string())).await),
        }
    }

    /// Tells news. A modern server gets none.
    pub(crate) async fn tell(&self, mut sent: Sent) {
        if self.state().version.is_some() {
            let body = std::mem::take(&mut sent.body);
            let _ = timeout(PATIENCE, self.post(&sent, body)).await;
        }
    }

    /// Says what a legacy server tells unasked, if it does, for as long as it does.
    pub(crate) async fn listen(&self, say: &Sender<Vec<u8>>) {
        let headers = self.headers();
        let heard = self.endpoint.send(Method::GET, &headers, Vec::new()).await;
        if let Ok(response) = heard
            && response.status() == StatusCode::OK
            && is(&response, "text/event-stream")
        {
            let _ = self.events(response, None, say).await;
        }
    }

    /// Ends the session of a legacy server.
    pub(crate) async fn end(&self) {
        if self.state().id.is_some() {
            let headers = self.headers();
            let goodbye = self.endpoint.send(Method::DELETE, &headers, Vec::new());
            let _ = timeout(GOODBYE, goodbye).await;
        }
    }

    /// What a legacy server wants to hear with each request.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let id = state.id.clone().map(|id| (SESSION, id));
        let version = state.version.clone().map(|version| (VERSION, version));
        id.into_iter().chain(version).collect()
    }

    async fn post(&self, sent: &Sent, body: Vec<u8>) -> Result<Response<Incoming>, BridgeError> {
        let headers = match &sent.version {
            None => self.headers(),
            Some(version) => {
                let name = sent.name.as_deref();
                let name = name.map(|name| ("mcp-name", header(name)));
                let own = [
                    (VERSION, header(version)),
                    ("mcp-method", header(&sent.method)),
                ];
                own.into_iter().chain(name).collect()
            }
        };
        self.endpoint.send(Method::POST, &headers, body).await
    }

    /// Whether the server answered `sent`, once it says no more.
    async fn exchange(&self, sent: &Sent, say: &Sender<Vec<u8>>) -> Result<bool, BridgeError> {
        let silent = |_| BridgeError::Answer("the server does not answer".to_owned());
        let posted = timeout(PATIENCE, self.post(sent, sent.body.clone()));
        let response = posted.await.map_err(silent)??;
        if sent.method == "initialize" {
            let id = response.headers().get(SESSION);
            self.state().id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        }
        let status = response.status();
        if !status.is_success() {
            let error = refused(status, response).await;
            let answer = match error {
                Ok(error) => sent.answered_by(&error),
                Err(why) => sent.failed(&why),
            };
            return Ok(say.send(answer).await.is_ok());
        }
        if is(&response, "text/event-stream") {
            return self.events(response, Some(sent), say).await;
        }
        let body = whole(response).await?;
        if body.is_empty() {
            return Ok(false);
        }
        self.learn(sent, &body);
        Ok(say.send(line(&body)).await.is_ok())
    }

    /// Says each event; whether one of them was the answer to `sent`.
    async fn events(
        &self,
        mut response: Response<Incoming>,
        sent: Option<&Sent>,
        say: &Sender<Vec<u8>>,
    ) -> Result<bool, BridgeError> {
        let mut events = Events::default();
        let mut answered = false;
        while let Some(frame) = response.body_mut().frame().await {
            let Ok(piece) = frame?.into_data() else {
                continue;
            };
            let mut ended = Vec::new();
            let read = events.push(&piece, |data| ended.push(data));
            for data in ended {
                if let Some(sent) = sent.filter(|sent| answers(&data, sent)) {
                    answered = true;
                    self.learn(sent, &data);
                }
                // An empty event is there to keep the connection.
                if !data.is_empty() && say.send(line(&data)).await.is_err() {
                    return Ok(true);
                }
            }
            read.map_err(|error| BridgeError::Answer(error.to_string()))?;
        }
        Ok(answered)
    }

    /// Remembers which version a legacy server chose.
    fn learn(&self, sent: &Sent, answer: &[u8]) {
        if sent.method == "initialize"
            && let Ok(answer) = serde_json::from_slice::<Value>(answer)
        {
            let version = answer["result"]["protocolVersion"].as_str();
            self.state().version = version.map(header);
        }
    }
}

/// Whether `data` is the answer to `sent`.
fn answers(data: &[u8], sent: &Sent) -> bool {
    let message: Value = serde_json::from_slice(data).unwrap_or_default();
    message.get("method").is_none() && message.get("id") == sent.id.as_ref()
}

fn is(response: &Response<Incoming>, kind: &str) -> bool {
    let found = response.headers().get(names::CONTENT_TYPE);
    let found = found
        .and_then(|found| found.to_str().ok())
        .unwrap_or_default();
    found
        .split(';')
        .next()
        .is_some_and(|found| found.trim().eq_ignore_ascii_case(kind))
}

/// The whole body of an answer.
async fn whole(response: Response<Incoming>) -> Result<Bytes, BridgeError> {
    let body = Limited::new(response.into_body(), MESSAGE_MAX)
        .collect()
        .await;
    let body =
        body.map_err(|error| BridgeError::Answer(format!("its answer ends early: {error}")))?;
    Ok(body.to_bytes())
}

/// The error that a server sent with a status that is none of success; what that means,
/// if it sent none.
async fn refused(status: StatusCode, response: Response<Incoming>) -> Result<Value, String> {
    let body = whole(response).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = body.get("error").cloned();
    error
        .filter(|error| error["code"].is_i64() && error["message"].is_string())
        .ok_or_else(|| match status {
            // As a gateway says what it does not let pass.
            _ if body["rule"].is_string() && body["reason"].is_string() => {
                let text = |name: &str| body[name].as_str().unwrap_or_default();
                format!("{}: {}", text("rule"), text("reason"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("the server wants to know who asks (HTTP {status}): give it a header, with a secret in it")
            }
            StatusCode::NOT_FOUND => "there is no such MCP server (HTTP 404)".to_owned(),
            _ if status.is_redirection() => {
                format!("the server is elsewhere (HTTP {status}); name its own address")
            }
            _ => format!("the server answered HTTP {status}"),
        })
}
