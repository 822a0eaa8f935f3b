//! A server of either era, and a client that talks to it through the firewall.

use serde_json::{Value, json};
use stockade_mcp::{Catalogue, Era, Firewall, Item, ItemKind, Pins, ResultRules, Seen, Step};
use stockade_scan::{Formats, TextCleaner};

/// A tool that takes anything.
pub(crate) fn tool(name: &str, description: &str) -> Value {
    json!({ "name": name, "description": description, "inputSchema": { "type": "object" } })
}

/// `params` as a modern client sends them.
pub(crate) fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}

fn info() -> Value {
    json!({ "name": "a server", "version": "1" })
}

fn capabilities() -> Value {
    json!({ "tools": { "listChanged": true }, "resources": {} })
}

/// What a server with these tools offers.
pub(crate) fn catalogue(tools: &[Value]) -> Catalogue {
    let mut catalogue = Catalogue::of_server(&info(), &capabilities(), Some("Be kind."));
    catalogue.items.extend(tools.iter().map(|body| Item {
        kind: ItemKind::Tool,
        name: body["name"].as_str().unwrap().to_owned(),
        body: body.clone().into(),
    }));
    catalogue
}

#[derive(Debug)]
pub(crate) struct Server {
    era: Era,
    pub(crate) tools: Vec<Value>,
    pub(crate) resources: Vec<Value>,
    pub(crate) templates: Vec<Value>,
    /// What calls come to.
    pub(crate) answer: Value,
    /// Shown in place of the first tool at every other list.
    pub(crate) alternates: Option<Value>,
    pub(crate) page: usize,
    pub(crate) has_no_end: bool,
    pub(crate) is_slow: bool,
    pub(crate) is_deaf: bool,
    pub(crate) changes_at_every_list: bool,
    pub(crate) keeps: bool,
    pub(crate) ends_at_the_unknown: bool,
    pub(crate) is_silent_at_the_unknown: bool,
    pub(crate) starts: usize,
    asked: Vec<Value>,
}

impl Server {
    pub(crate) fn new(era: Era, tools: &[Value]) -> Self {
        Self {
            era,
            tools: tools.to_vec(),
            resources: Vec::new(),
            templates: Vec::new(),
            answer: Value::Null,
            alternates: None,
            page: 1000,
            has_no_end: false,
            is_slow: false,
            is_deaf: false,
            changes_at_every_list: false,
            keeps: false,
            ends_at_the_unknown: false,
            is_silent_at_the_unknown: false,
            starts: 1,
            asked: Vec::new(),
        }
    }

    /// How often it was asked.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.asked
            .iter()
            .filter(|line| line["method"] == method)
            .count()
    }

    /// What it was asked last.
    pub(crate) fn last(&self, method: &str) -> &Value {
        self.asked
            .iter()
            .rfind(|line| line["method"] == method)
            .unwrap()
    }

    /// What it says to a line; nothing if it ends.
    fn hear(&mut self, line: &Value) -> Option<Vec<Value>> {
        self.asked.push(line.clone());
        if self.is_deaf {
            return Some(Vec::new());
        }
        let (Some(id), Some(method)) = (line.get("id"), line["method"].as_str()) else {
            return Some(Vec::new());
        };
        let result = match (self.era, method) {
            (Era::Legacy, "initialize") => json!({ "protocolVersion": "2025-11-25",
                "capabilities": capabilities(), "serverInfo": info(), "instructions": "Be kind." }),
            (Era::Modern, "server/discover") => json!({ "resultType": "complete",
                "supportedVersions": ["2026-07-28"], "capabilities": capabilities(),
                "_meta": { "io.modelcontextprotocol/serverInfo": info() },
                "instructions": "Be kind.", "ttlMs": 1, "cacheScope": "public" }),
            (Era::Modern, "subscriptions/listen") => return Some(Vec::new()),
            (_, "tools/list") => self.list(&line["params"]),
            (_, "resources/list") => json!({ "resources": self.resources }),
            (_, "resources/templates/list") => json!({ "resourceTemplates": self.templates }),
            (_, "resources/read") => {
                json!({ "contents": [{ "uri": line["params"]["uri"], "text": "read" }] })
            }
            (_, "tools/call") if self.is_slow => return Some(Vec::new()),
            (_, "tools/call") if self.answer["error"].is_object() => {
                return Some(vec![
                    json!({ "jsonrpc": "2.0", "id": id, "error": self.answer["error"] }),
                ]);
            }
            (_, "tools/call") if self.answer.is_object() => self.answer.clone(),
            (_, "tools/call") => {
                let text = format!("called {}", line["params"]["name"].as_str().unwrap());
                json!({ "content": [{ "type": "text", "text": text }] })
            }
            _ if self.ends_at_the_unknown => return None,
            _ if self.is_silent_at_the_unknown => return Some(Vec::new()),
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                return Some(vec![json!({ "jsonrpc": "2.0", "id": id, "error": error })]);
            }
        };
        let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        if method == "tools/list" && self.changes_at_every_list {
            let change = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
            return Some(vec![change, answer]);
        }
        Some(vec![answer])
    }

    fn list(&mut self, params: &Value) -> Value {
        let start = params["cursor"]
            .as_str()
            .map_or(0, |cursor| cursor.parse().unwrap());
        let mut tools = self.tools.clone();
        if let Some(other) = self.alternates.clone()
            && self.count("tools/list").is_multiple_of(2)
        {
            tools[0] = other;
        }
        let end = tools.len().min(start + self.page);
        let mut result = json!({ "tools": &tools[start.min(end)..end] });
        if end < tools.len() || self.has_no_end {
            result["nextCursor"] = json!(end.to_string());
        }
        if self.keeps {
            result["ttlMs"] = json!(31_536_000_000_u64);
            result["cacheScope"] = json!("public");
        }
        result
    }
}

/// A client and a server with the firewall between them.
pub(crate) struct Pair {
    firewall: Firewall,
    client: Era,
    pub(crate) server: Server,
    pub(crate) seen: Vec<Seen>,
    heard: Vec<Value>,
    next: u64,
}

impl Pair {
    pub(crate) fn new(client: Era, server: Server) -> Self {
        Self::with_pins(client, server, Pins::FirstUse(None))
    }

    pub(crate) fn with_pins(client: Era, server: Server, pins: Pins) -> Self {
        let results = ResultRules::new(TextCleaner::new([], []).unwrap());
        let keys = Formats::new().unwrap();
        Self {
            firewall: Firewall::new(pins, None, keys, results, "mark".to_owned()),
            client,
            server,
            seen: Vec::new(),
            heard: Vec::new(),
            next: 100,
        }
    }

    /// Opens as clients of its era do.
    pub(crate) fn open(&mut self) -> Value {
        match self.client {
            Era::Modern => self.ask("server/discover", json!({})),
            Era::Legacy => {
                let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {} });
                let answer = self.ask("initialize", params);
                self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
                answer
            }
        }
    }

    /// A request with an id of its own.
    pub(crate) fn request(&self, method: &str, params: Value) -> Value {
        let params = match self.client {
            Era::Modern => modern(params),
            Era::Legacy => params,
        };
        json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params })
    }

    /// The answer to a request.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = self.request(method, params);
        self.send(&request);
        let answers: Vec<_> = self
            .heard()
            .into_iter()
            .filter(|line| line["id"] == request["id"])
            .collect();
        assert_eq!(answers.len(), 1, "{method}: {answers:?}");
        answers[0].clone()
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.ask(
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        )
    }

    pub(crate) fn send(&mut self, line: &Value) {
        self.next += 1;
        self.client_line(line.to_string().as_bytes());
    }

    pub(crate) fn client_line(&mut self, line: &[u8]) {
        let mut step = Step::default();
        self.firewall.from_client(line, &mut step);
        self.take(step);
    }

    pub(crate) fn server_line(&mut self, line: &[u8]) {
        let mut step = Step::default();
        self.firewall.from_server(line, &mut step);
        self.take(step);
    }

    pub(crate) fn server_tells(&mut self, method: &str, params: &Value) {
        let line = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.server_line(line.to_string().as_bytes());
    }

    /// What the server gets when it asks something itself.
    pub(crate) fn server_asks(&mut self, method: &str) -> Value {
        let line = json!({ "jsonrpc": "2.0", "id": "mine", "method": method, "params": {} });
        let before = self.server.asked.len();
        self.server_line(line.to_string().as_bytes());
        assert_eq!(self.server.asked.len(), before + 1);
        self.server.asked.last().unwrap().clone()
    }

    pub(crate) fn server_ends(&mut self) {
        let mut step = Step::default();
        if self.firewall.server_ended(&mut step) {
            self.server.starts += 1;
        }
        self.take(step);
    }

    pub(crate) fn waits_long(&mut self) {
        let mut step = Step::default();
        self.firewall.opening_takes_long(&mut step);
        self.take(step);
    }

    pub(crate) fn waits_too_long(&mut self) {
        let mut step = Step::default();
        self.firewall.opening_is_over(&mut step);
        self.take(step);
    }

    /// What the client has heard since it was asked last.
    pub(crate) fn heard(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.heard)
    }

    fn take(&mut self, step: Step) {
        self.seen.extend(step.seen);
        self.heard.extend(lines(&step.to_client));
        for line in lines(&step.to_server) {
            match self.server.hear(&line) {
                Some(said) => {
                    for line in said {
                        self.server_line(line.to_string().as_bytes());
                    }
                }
                None => return self.server_ends(),
            }
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}
