//! Between one client and one server of MCP: what each may say to the other, in
//! whichever era each of them speaks. Pure: bytes of messages go in, messages come out.
//!
//! The server sees requests of the firewall alone, which numbers them itself; the client
//! sees what was approved ([`Offer`]) and what was asked for. Nothing that was received
//! goes on as it came: messages are read and written again.

mod answers;
mod listing;
mod opening;
mod serving;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stockade_scan::Formats;

use self::{listing::Listing, opening::Opening};
use crate::{
    catalogue::{Catalogue, Offer, Pins},
    item::{ItemKind, short},
    message::{INTERNAL, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Message, Outcome, PARSE, RpcError},
    result::ResultRules,
    version::Era,
};

/// Requests of the client that can wait for their answers at once.
const IN_FLIGHT_MAX: usize = 256;
/// Names of the protocol's own fields in `_meta` begin so.
const PROTOCOL: &str = "io.modelcontextprotocol/";
/// The version that a request is in (2026-07-28).
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Who asks.
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// What who asks can do.
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// How much a server logs.
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Who answers.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Which `subscriptions/listen` a notification is for.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
const PROMPTS_CHANGED: &str = "notifications/prompts/list_changed";
const RESOURCES_CHANGED: &str = "notifications/resources/list_changed";

/// Changes of lists: how a modern client asks to be told of them, what tells it, and the
/// capability by which a server says that it does.
const CHANGES: [(&str, &str, &str); 3] = [
    ("toolsListChanged", TOOLS_CHANGED, "tools"),
    ("promptsListChanged", PROMPTS_CHANGED, "prompts"),
    ("resourcesListChanged", RESOURCES_CHANGED, "resources"),
];

/// What the messages of one step come to.
#[derive(Debug, Default)]
pub struct Step {
    /// Lines for the client, each with its end.
    pub to_client: Vec<u8>,
    /// Lines for the server.
    pub to_server: Vec<u8>,
    /// What is to be known of it.
    pub seen: Vec<Seen>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Seen {
    /// The server speaks.
    Opened {
        /// In this era.
        era: Era,
        /// As it calls itself.
        server: String,
    },
    /// An item is not shown.
    Withheld {
        /// What kind.
        kind: ItemKind,
        /// Its name.
        name: String,
        /// The rule that says so.
        rule: Cow<'static, str>,
        /// Why.
        reason: String,
    },
    /// A tool is called.
    Called {
        /// Its name.
        tool: String,
    },
    /// A request was not passed on.
    Refused {
        /// What it asked for.
        what: String,
        /// The rule that says so.
        rule: Cow<'static, str>,
        /// Why.
        reason: String,
    },
    /// A result was changed.
    Treated {
        /// The tool that answered.
        tool: String,
        /// The rule that asked for it.
        rule: Cow<'static, str>,
        /// What was done.
        what: String,
    },
    /// A message went nowhere.
    Dropped {
        /// Whether it came from the server.
        from_server: bool,
        /// Why.
        why: String,
    },
}

/// What a request to the server is for.
#[derive(Debug)]
enum Purpose {
    /// To learn what the server is, in this era.
    Opening(Era),
    /// To hear when its lists change.
    Listening,
    /// A page of a list.
    Page,
    /// An answer that the client waits for.
    Client {
        id: Id,
        method: &'static str,
        /// The tool that is called.
        tool: Option<String>,
        /// What the client knows its progress by.
        progress: Option<Value>,
    },
    /// Nobody waits any more.
    Cancelled,
}

/// A subscription of a modern client.
#[derive(Debug)]
struct Subscription {
    id: Id,
    kinds: BTreeSet<&'static str>,
}

/// A request of the client that waits for the server to be ready.
#[derive(Debug)]
struct Request {
    id: Id,
    method: String,
    params: Map<String, Value>,
    /// Whether the lists were fetched while it waited. A server that says at every list
    /// that it has changed holds nobody up for ever.
    has_waited: bool,
}

/// The firewall between one client and one server.
#[derive(Debug)]
pub struct Firewall {
    pins: Pins,
    keys: Formats,
    results: ResultRules,
    /// Stands where a text that is data ends; nobody outside knows it.
    mark: String,
    client: Option<Era>,
    /// Requests that the client waits for.
    in_flight: BTreeMap<Id, Option<u64>>,
    subscriptions: Vec<Subscription>,
    log_level: Option<Value>,
    opening: Opening,
    /// What the server says of itself.
    server: Catalogue,
    pending: HashMap<u64, Purpose>,
    next: u64,
    waiting: Vec<Request>,
    listing: Option<Listing>,
    offer: Option<Offer>,
    /// Lists of the offer that the client has had.
    served: BTreeSet<ItemKind>,
    /// Whether the server said that it offers something else now.
    stale: bool,
    /// Changes of lists that the client was told of and has not looked at.
    told: BTreeSet<&'static str>,
    /// Resources that the client has seen in a list.
    resources: BTreeSet<String>,
    /// Tools that the policy does not let be called, and why.
    forbidden: BTreeMap<String, String>,
}

impl Firewall {
    /// One that shows what `pins` says; `era` is that of the server, where it is known.
    pub fn new(
        pins: Pins,
        era: Option<Era>,
        keys: Formats,
        results: ResultRules,
        mark: String,
    ) -> Self {
        Self {
            pins,
            keys,
            results,
            mark,
            client: None,
            in_flight: BTreeMap::new(),
            subscriptions: Vec::new(),
            log_level: None,
            opening: Opening::new(era),
            server: Catalogue::default(),
            pending: HashMap::new(),
            next: 1,
            waiting: Vec::new(),
            listing: None,
            offer: None,
            served: BTreeSet::new(),
            stale: false,
            told: BTreeSet::new(),
            resources: BTreeSet::new(),
            forbidden: BTreeMap::new(),
        }
    }

    /// Shows none of these tools, for these reasons, whatever is approved.
    #[must_use]
    pub fn without(mut self, forbidden: BTreeMap<String, String>) -> Self {
        self.forbidden = forbidden;
        self
    }

    /// Opens the server and lists all it offers, without a client.
    pub fn open(&mut self, step: &mut Step) {
        self.client.get_or_insert(Era::Modern);
        self.open_server(step);
    }

    /// What the server offers, once it has told everything.
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.offer.as_ref().map(|_| &self.server)
    }

    /// What of that is shown.
    pub fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// Whether the client waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Whether the server speaks no version of MCP.
    pub fn has_failed(&self) -> bool {
        self.opening == Opening::Failed
    }

    /// The era of the server, once that is known.
    pub fn era(&self) -> Option<Era> {
        self.opening.open()
    }

    /// Takes a line of the client.
    pub fn from_client(&mut self, line: &[u8], step: &mut Step) {
        match Message::parse(line) {
            Ok(Message::Request { id, method, params }) => {
                let request = Request {
                    id,
                    method,
                    params,
                    has_waited: false,
                };
                self.client_asks(request, step);
            }
            Ok(Message::Notification { method, params }) => {
                self.client_tells(&method, &params, step);
            }
            // Nothing was asked of it.
            Ok(Message::Response { .. }) => step.drop_of(false, "a response to nothing"),
            Err(error) => {
                let line = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": PARSE, "message": error.to_string() } });
                step.to_client.extend(line.to_string().into_bytes());
                step.to_client.push(b'\n');
                step.drop_of(false, error.to_string());
            }
        }
    }

    fn client_asks(&mut self, request: Request, step: &mut Step) {
        if self.in_flight.contains_key(&request.id) {
            // An answer would be taken for that to the first one.
            return step.drop_of(false, "an id that is still waited for");
        }
        // What was cancelled waits at the server still.
        if self.in_flight.len() >= IN_FLIGHT_MAX || self.pending.len() >= 2 * IN_FLIGHT_MAX {
            let error = RpcError::new(INVALID_REQUEST, "too many requests wait for their answers");
            return step.answer(&request.id, Outcome::Error(error));
        }
        if let Err(error) = self.speaks(&request) {
            return step.answer(&request.id, Outcome::Error(error));
        }
        self.in_flight.insert(request.id.clone(), None);
        if request.method == "ping" {
            return self.reply(&request.id, Outcome::Result(Map::new()), step);
        }
        if self.has_failed() {
            let error = RpcError::new(INTERNAL, "the MCP server does not answer");
            return self.reply(&request.id, Outcome::Error(error), step);
        }
        self.waiting.push(request);
        self.open_server(step);
        self.serve_waiting(step);
    }

    fn client_tells(&mut self, method: &str, params: &Map<String, Value>, step: &mut Step) {
        match method {
            "notifications/cancelled" => self.cancel(params, step),
            // The firewall has made its own handshake; it declared no folders.
            "notifications/initialized" | "notifications/roots/list_changed" => {}
            "notifications/progress" => step.drop_of(false, "progress of nothing"),
            _ => step.drop_of(false, "a notification that MCP does not have"),
        }
    }

    fn cancel(&mut self, params: &Map<String, Value>, step: &mut Step) {
        let asked = match params.get("requestId") {
            Some(Value::Number(number)) => number.as_i64().map(Id::Number),
            Some(Value::String(text)) => Some(Id::Text(text.clone())),
            _ => None,
        };
        let Some(id) = asked else {
            return step.drop_of(false, "a cancellation of nothing");
        };
        self.subscriptions
            .retain(|subscription| subscription.id != id);
        self.waiting.retain(|request| request.id != id);
        if let Some(Some(number)) = self.in_flight.remove(&id) {
            self.pending.insert(number, Purpose::Cancelled);
            let mut told = Map::new();
            told.insert("requestId".to_owned(), number.into());
            step.tell_server("notifications/cancelled", told);
        }
    }

    /// Takes a line of the server.
    pub fn from_server(&mut self, line: &[u8], step: &mut Step) {
        match Message::parse(line) {
            Ok(Message::Response { id, outcome }) => self.server_answers(&id, outcome, step),
            Ok(Message::Notification { method, params }) => {
                self.server_tells(&method, params, step);
            }
            Ok(Message::Request { id, method, .. }) => Self::server_asks(&id, &method, step),
            Err(error) => {
                step.drop_of(true, error.to_string());
                // Whoever waits for that answer hears at least that there is none.
                if let Some(id) = answered(line) {
                    let error = RpcError::new(INTERNAL, "the server's answer cannot be read");
                    self.server_answers(&id, Outcome::Error(error), step);
                }
            }
        }
        self.serve_waiting(step);
    }

    /// What a legacy server wants of the client or the person: it gets a no.
    fn server_asks(id: &Id, method: &str, step: &mut Step) {
        let outcome = match method {
            "ping" => Outcome::Result(Map::new()),
            "elicitation/create" => {
                let mut declined = Map::new();
                declined.insert("action".to_owned(), "decline".into());
                Outcome::Result(declined)
            }
            _ => Outcome::Error(RpcError::new(METHOD_NOT_FOUND, "not available")),
        };
        if method != "ping" {
            step.seen.push(Seen::Refused {
                what: format!("the server asked for {}", short(method)),
                rule: "C07".into(),
                reason: "a server asks nothing of the person or the model".to_owned(),
            });
        }
        let id = id.clone();
        step.to_server
            .extend(Message::Response { id, outcome }.to_line());
    }

    /// Sends a request to the server.
    fn ask_server(
        &mut self,
        method: &str,
        params: Map<String, Value>,
        purpose: Purpose,
        step: &mut Step,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        self.pending.insert(number, purpose);
        let request = Message::Request {
            id: Id::Number(i64::try_from(number).unwrap_or(i64::MAX)),
            method: method.to_owned(),
            params,
        };
        step.to_server.extend(request.to_line());
        number
    }

    /// What the client is told of the server: name and version, if it was approved.
    fn shown_server(&self) -> Value {
        let withheld = self
            .offer
            .as_ref()
            .is_none_or(|offer| offer.why_withheld(ItemKind::Server, "").is_some());
        let info = self.server.only(ItemKind::Server).filter(|_| !withheld);
        let part = |name: &str| info.and_then(|info| info[name].as_str()).map(short);
        json!({
            "name": part("name").unwrap_or_else(|| "mcp-server".to_owned()),
            "version": part("version").unwrap_or_else(|| "0".to_owned()),
        })
    }

    /// Answers the client's request `id`.
    fn reply(&mut self, id: &Id, outcome: Outcome, step: &mut Step) {
        if self.in_flight.remove(id).is_none() {
            return;
        }
        let outcome = match outcome {
            Outcome::Result(result) if self.client == Some(Era::Modern) => {
                Outcome::Result(in_modern(result, &self.shown_server()))
            }
            Outcome::Result(result) => Outcome::Result(in_legacy(result)),
            error @ Outcome::Error(_) => error,
        };
        step.answer(id, outcome);
    }
}

/// The request that a line answers which is no message.
fn answered(line: &[u8]) -> Option<Id> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let id = line.get("id").filter(|_| line.get("method").is_none())?;
    id.as_i64().map(Id::Number)
}

/// A result as modern clients read it.
fn in_modern(mut result: Map<String, Value>, server: &Value) -> Map<String, Value> {
    if !result.contains_key("resultType") {
        result.insert("resultType".to_owned(), "complete".into());
    }
    let meta = result.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.insert(SERVER_INFO.to_owned(), server.clone());
    }
    result
}

/// A result as legacy clients read it.
fn in_legacy(mut result: Map<String, Value>) -> Map<String, Value> {
    for name in ["resultType", "ttlMs", "cacheScope"] {
        result.shift_remove(name);
    }
    result
}

impl Step {
    fn answer(&mut self, id: &Id, outcome: Outcome) {
        let id = id.clone();
        self.to_client
            .extend(Message::Response { id, outcome }.to_line());
    }

    fn tell_client(&mut self, method: &str, params: Map<String, Value>) {
        let method = method.to_owned();
        self.to_client
            .extend(Message::Notification { method, params }.to_line());
    }

    fn tell_server(&mut self, method: &str, params: Map<String, Value>) {
        let method = method.to_owned();
        self.to_server
            .extend(Message::Notification { method, params }.to_line());
    }

    fn drop_of(&mut self, from_server: bool, why: impl Into<String>) {
        let why = why.into();
        self.seen.push(Seen::Dropped { from_server, why });
    }
}
