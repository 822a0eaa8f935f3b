//! How the firewall learns what the server is: by asking as the modern era does, or by
//! the legacy handshake; whichever it answers.

use serde_json::{Map, Value, json};

use super::{
    CHANGES, CLIENT_CAPABILITIES, CLIENT_INFO, Firewall, LOG_LEVEL, Purpose, SERVER_INFO, Seen,
    Step, VERSION,
};
use crate::{
    catalogue::Catalogue,
    item::{ItemKind, short},
    message::{INTERNAL, Outcome, RpcError},
    version::{Era, LEGACY, MODERN, NEWEST_LEGACY},
};

/// Where the opening stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Not begun; the era may be known.
    Closed(Option<Era>),
    /// The server was asked in this era last; whether the other one was tried too.
    Asked { era: Era, last: bool },
    /// Done.
    Open(Era),
    /// It speaks neither.
    Failed,
}

impl Opening {
    pub(super) fn new(era: Option<Era>) -> Self {
        Self::Closed(era)
    }

    pub(super) fn open(self) -> Option<Era> {
        match self {
            Self::Open(era) => Some(era),
            _ => None,
        }
    }
}

fn other(era: Era) -> Era {
    match era {
        Era::Legacy => Era::Modern,
        Era::Modern => Era::Legacy,
    }
}

impl Firewall {
    /// Begins to open the server, if nobody has.
    pub(super) fn open_server(&mut self, step: &mut Step) {
        if let Opening::Closed(known) = self.opening {
            // Servers of one era often end when they are asked in the other.
            let era = known.or(self.client).unwrap_or(Era::Modern);
            self.ask_in(era, false, step);
        }
    }

    fn ask_in(&mut self, era: Era, last: bool, step: &mut Step) {
        self.opening = Opening::Asked { era, last };
        let (method, params) = match era {
            Era::Modern => ("server/discover", self.in_era(Map::new(), Era::Modern)),
            Era::Legacy => ("initialize", initialize()),
        };
        self.ask_server(method, params, Purpose::Opening(era), step);
    }

    /// The server did not answer for a while. Servers of the legacy era may pass over
    /// what they do not know: it is asked in the other era too, and whatever it answers
    /// counts.
    pub fn opening_takes_long(&mut self, step: &mut Step) {
        if let Opening::Asked { era, last: false } = self.opening {
            self.ask_in(other(era), true, step);
        }
    }

    /// The server did not answer at all.
    pub fn opening_is_over(&mut self, step: &mut Step) {
        if let Opening::Asked { .. } = self.opening {
            self.forget_opening();
            self.failed("it does not answer", step);
        }
    }

    /// The server ended. Whether it should be started again: it may have ended because
    /// it was asked in the wrong era. `step` is then for the new one.
    pub fn server_ended(&mut self, step: &mut Step) -> bool {
        if let Opening::Asked { era, last: false } = self.opening {
            self.forget_opening();
            self.ask_in(other(era), true, step);
            return true;
        }
        self.opening = Opening::Failed;
        self.pending.clear();
        self.listing = None;
        let waiting: Vec<_> = self.in_flight.keys().cloned().collect();
        for id in waiting {
            let error = RpcError::new(INTERNAL, "the MCP server ended");
            self.reply(&id, Outcome::Error(error), step);
        }
        self.waiting.clear();
        false
    }

    fn forget_opening(&mut self) {
        self.pending
            .retain(|_, purpose| !matches!(purpose, Purpose::Opening(_)));
    }

    pub(super) fn opened(&mut self, era: Era, outcome: Outcome, step: &mut Step) {
        if !matches!(self.opening, Opening::Asked { .. }) {
            // It was asked twice, and has answered once.
            return;
        }
        match outcome {
            Outcome::Result(result) => match described(era, &result) {
                Some(server) => self.is_open(era, server, step),
                None => self.failed_in(era, "it does not say what it is", step),
            },
            Outcome::Error(error) => self.failed_in(era, &short(&error.message), step),
        }
    }

    fn is_open(&mut self, era: Era, server: Catalogue, step: &mut Step) {
        self.opening = Opening::Open(era);
        let info = server.only(ItemKind::Server);
        let name = info.and_then(|info| info["name"].as_str());
        step.seen.push(Seen::Opened {
            era,
            server: short(name.unwrap_or("a server without a name")),
        });
        self.server = server;
        match era {
            Era::Legacy => step.tell_server("notifications/initialized", Map::new()),
            Era::Modern => self.listen(step),
        }
        self.list(step);
    }

    fn failed_in(&mut self, era: Era, why: &str, step: &mut Step) {
        if let Opening::Asked { last: false, .. } = self.opening {
            return self.ask_in(other(era), true, step);
        }
        let mut pending = self.pending.values();
        if !pending.any(|purpose| matches!(purpose, Purpose::Opening(_))) {
            self.failed(why, step);
        }
    }

    fn failed(&mut self, why: &str, step: &mut Step) {
        self.opening = Opening::Failed;
        let why = format!("the MCP server does not open: {why}");
        step.drop_of(true, why.clone());
        for request in std::mem::take(&mut self.waiting) {
            let error = RpcError::new(INTERNAL, why.clone());
            self.reply(&request.id, Outcome::Error(error), step);
        }
    }

    /// Has a modern server tell when its lists change.
    fn listen(&mut self, step: &mut Step) {
        let mut wanted = Map::new();
        for (name, _, capability) in CHANGES {
            if self.can(capability)["listChanged"] == true {
                wanted.insert(name.to_owned(), true.into());
            }
        }
        if !wanted.is_empty() {
            let mut params = Map::new();
            params.insert("notifications".to_owned(), Value::Object(wanted));
            let params = self.in_era(params, Era::Modern);
            self.ask_server("subscriptions/listen", params, Purpose::Listening, step);
        }
    }

    /// What the server says of `capability`.
    pub(super) fn can(&self, capability: &str) -> &Value {
        const NOTHING: &Value = &Value::Null;
        let capabilities = self.server.only(ItemKind::Capabilities);
        capabilities
            .and_then(|all| all.get(capability))
            .unwrap_or(NOTHING)
    }

    /// What a request says of itself to a server of `era`.
    pub(super) fn in_era(&self, mut params: Map<String, Value>, era: Era) -> Map<String, Value> {
        let mut meta = match params.shift_remove("_meta") {
            Some(Value::Object(meta)) => meta,
            _ => Map::new(),
        };
        let level = meta
            .get(LOG_LEVEL)
            .cloned()
            .or_else(|| self.log_level.clone());
        meta.retain(|name, _| !name.starts_with(super::PROTOCOL));
        if era == Era::Modern {
            meta.insert(VERSION.to_owned(), MODERN.into());
            meta.insert(CLIENT_INFO.to_owned(), client_info());
            // What a server would ask of a client is refused anyway.
            meta.insert(CLIENT_CAPABILITIES.to_owned(), json!({}));
            if let Some(level) = level {
                meta.insert(LOG_LEVEL.to_owned(), level);
            }
        }
        if !meta.is_empty() {
            params.insert("_meta".to_owned(), Value::Object(meta));
        }
        params
    }
}

/// The same for every client: a server that offers different things to different
/// clients learns nothing.
fn client_info() -> Value {
    json!({ "name": "stockade", "version": env!("CARGO_PKG_VERSION") })
}

fn initialize() -> Map<String, Value> {
    let mut params = Map::new();
    params.insert("protocolVersion".to_owned(), NEWEST_LEGACY.into());
    params.insert("capabilities".to_owned(), json!({}));
    params.insert("clientInfo".to_owned(), client_info());
    params
}

/// What a server says of itself, if it speaks a version of `era`.
fn described(era: Era, result: &Map<String, Value>) -> Option<Catalogue> {
    let (speaks, info) = match era {
        Era::Modern => {
            let versions = result.get("supportedVersions")?.as_array()?;
            let info = result.get("_meta").and_then(|meta| meta.get(SERVER_INFO));
            (versions.iter().any(|version| version == MODERN), info)
        }
        Era::Legacy => {
            let version = result.get("protocolVersion")?.as_str()?;
            (LEGACY.contains(&version), result.get("serverInfo"))
        }
    };
    let capabilities = result.get("capabilities").filter(|all| all.is_object())?;
    let instructions = result.get("instructions").and_then(Value::as_str);
    let info = info.cloned().unwrap_or_else(|| json!({}));
    speaks.then(|| Catalogue::of_server(&info, capabilities, instructions))
}
