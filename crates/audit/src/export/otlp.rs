//! Traces as OpenTelemetry's exporter for files writes them: a line is one message
//! of OTLP in JSON. A task is a trace, its commands and requests are spans with the
//! names of the conventions for generative AI, all else are events of the task's
//! span.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stockade_types::{EventKind, canonical_json};

use super::{kind, words};
use crate::{
    hash::Hash,
    record::{Record, RecordKind},
};

/// The version of the conventions that names are taken from.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.0";
/// How many spans a line has at most.
const SPANS_MAX: usize = 256;
/// How many spans wait for their end; the oldest is let go without.
const OPEN_MAX: usize = 4096;
/// How many events the task's span has at most; collectors refuse what is longer.
const EVENTS_MAX: usize = 4096;

/// Kinds of spans.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// The status of a span that failed.
const FAILED: u8 = 2;

/// Names of providers, by the hosts of their models.
const PROVIDERS: [(&str, &str); 5] = [
    ("api.anthropic.com", "anthropic"),
    ("api.openai.com", "openai"),
    ("chatgpt.com", "openai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("openrouter.ai", "openrouter"),
];

/// The spans of one log.
#[derive(Debug)]
pub(super) struct Spans {
    machine: String,
    log: String,
    trace: String,
    /// The task's own, once something of it was wanted.
    root: Option<Root>,
    agent: Option<String>,
    model: Option<String>,
    /// Those that have begun, by what tells them apart.
    open: BTreeMap<(Opened, u64), Span>,
    done: Vec<Value>,
}

/// What a span that waits for its end is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Opened {
    Command,
    Request,
}

#[derive(Debug)]
struct Root {
    from: i128,
    to: i128,
    ended: bool,
    events: Vec<Value>,
    left_out: usize,
}

#[derive(Debug)]
struct Span {
    seq: u64,
    from: i128,
    name: String,
    kind: u8,
    attributes: Vec<Value>,
}

impl Spans {
    pub(super) fn new(machine: &str, log: &str) -> Self {
        Self {
            trace: number(&format!("trace {machine}/{log}"), 32),
            machine: machine.to_owned(),
            log: log.to_owned(),
            root: None,
            agent: None,
            model: None,
            open: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// Takes the next record.
    pub(super) fn add(&mut self, record: &Record, wanted: bool) {
        let body = &record.body;
        if record.kind == RecordKind::Event(EventKind::TaskStarted) {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            self.agent = text(&body["contract"]["agent"]["name"]);
            self.model = text(&body["task"]["model"]);
        }
        if !wanted {
            return;
        }
        let at = record.at.unix_timestamp_nanos();
        let root = self.root.get_or_insert(Root {
            from: at,
            to: at,
            ended: false,
            events: Vec::new(),
            left_out: 0,
        });
        // Somebody may have set the clock back.
        (root.from, root.to) = (root.from.min(at), root.to.max(at));
        root.ended = record.kind == RecordKind::Event(EventKind::TaskEnded);
        match record.kind {
            RecordKind::Event(EventKind::ExecStarted) if body["exec"].is_u64() => {
                self.begin(Opened::Command, &body["exec"], command(record));
            }
            RecordKind::Event(EventKind::ExecEnded) if body["exec"].is_u64() => {
                self.end(Opened::Command, &body["exec"], record);
            }
            RecordKind::Event(EventKind::NetworkRequest) if body["request"].is_u64() => {
                let span = self.request(record);
                self.begin(Opened::Request, &body["request"], span);
            }
            RecordKind::Event(EventKind::NetworkOutcome) if body["request"].is_u64() => {
                self.end(Opened::Request, &body["request"], record);
            }
            _ => self.event(record, at),
        }
    }

    fn begin(&mut self, opened: Opened, number: &Value, span: Span) {
        let key = (opened, number.as_u64().unwrap_or_default());
        // A task that goes on counts from the beginning again.
        if let Some(before) = self.open.insert(key, span) {
            self.close(before, None);
        }
        if self.open.len() > OPEN_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, span)| span.seq)
        {
            let oldest = *oldest.0;
            if let Some(span) = self.open.remove(&oldest) {
                self.close(span, None);
            }
        }
    }

    fn end(&mut self, opened: Opened, number: &Value, record: &Record) {
        let key = (opened, number.as_u64().unwrap_or_default());
        match self.open.remove(&key) {
            Some(span) => self.close(span, Some(record)),
            // Of the main command, or of something that was not wanted.
            None => self.event(record, record.at.unix_timestamp_nanos()),
        }
    }

    /// A span with its end, or with none: then it ends where it began.
    fn close(&mut self, mut span: Span, ended: Option<&Record>) {
        let to = ended.map_or(span.from, |record| record.at.unix_timestamp_nanos());
        let mut failed = None;
        if let Some(record) = ended {
            let body = &record.body;
            span.attributes
                .push(text("stockade.record.end", &record.seq.to_string()));
            span.attributes.extend(outcome(body));
            failed = body["exit"]
                .as_i64()
                .filter(|exit| *exit != 0)
                .map(|exit| exit.to_string());
            let status = body["status"].as_u64().filter(|status| *status >= 400);
            failed = failed.or_else(|| status.map(|status| status.to_string()));
            failed = failed.or_else(|| body["error"].is_string().then(|| "_OTHER".to_owned()));
        } else {
            span.attributes.push(text("stockade.outcome", "missing"));
        }
        if let Some(failed) = &failed {
            span.attributes.push(text("error.type", failed));
        }
        self.done.push(json!({
            "traceId": self.trace,
            "spanId": self.span(span.seq),
            "parentSpanId": self.root_span(),
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": span.from.to_string(),
            "endTimeUnixNano": to.max(span.from).to_string(),
            "attributes": span.attributes,
            "status": if failed.is_some() { json!({ "code": FAILED }) } else { json!({}) },
        }));
    }

    fn event(&mut self, record: &Record, at: i128) {
        let Some(root) = &mut self.root else { return };
        if root.events.len() >= EVENTS_MAX {
            root.left_out += 1;
            return;
        }
        let attributes = [
            text("stockade.record", &record.seq.to_string()),
            text("stockade.body", &canonical_json(&record.body)),
        ];
        root.events.push(json!({
            "timeUnixNano": at.to_string(),
            "name": format!("stockade.{}", kind(record).unwrap_or_default()),
            "attributes": attributes,
        }));
    }

    /// A request that leaves: to a model, as the gateway's rule says, or to another host.
    fn request(&self, record: &Record) -> Span {
        let body = &record.body;
        let said = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (host, method) = (said("host"), said("method"));
        let mut attributes = vec![
            text("stockade.record", &record.seq.to_string()),
            text("server.address", &host),
        ];
        attributes.extend(body["port"].as_i64().map(|port| whole("server.port", port)));
        let name = if body["rule"] == "network.model" {
            let provider = PROVIDERS.iter().find(|(of, _)| *of == host);
            let provider = provider.map_or(host.as_str(), |(_, name)| name);
            attributes.push(text("gen_ai.operation.name", "chat"));
            attributes.push(text("gen_ai.provider.name", provider));
            let model = self.model.as_deref();
            attributes.extend(model.map(|model| text("gen_ai.request.model", model)));
            attributes.push(text("gen_ai.conversation.id", &self.log));
            model.map_or_else(|| "chat".to_owned(), |model| format!("chat {model}"))
        } else {
            attributes.push(text("http.request.method", &method));
            attributes.push(text("url.path", &said("path")));
            method
        };
        Span {
            seq: record.seq,
            from: record.at.unix_timestamp_nanos(),
            name,
            kind: CLIENT,
            attributes,
        }
    }

    /// A line, once there are enough spans for one.
    pub(super) fn full_line(&mut self) -> Option<String> {
        (self.done.len() >= SPANS_MAX).then(|| {
            let spans = std::mem::take(&mut self.done);
            self.line(&spans)
        })
    }

    /// The rest, with the span of the task itself.
    pub(super) fn finish(mut self) -> Option<String> {
        for span in std::mem::take(&mut self.open).into_values() {
            self.close(span, None);
        }
        let root = self.root.take()?;
        let agent = self.agent.as_deref();
        let mut attributes = vec![
            text("gen_ai.operation.name", "invoke_agent"),
            text("gen_ai.conversation.id", &self.log),
            json!({ "key": "stockade.ended", "value": { "boolValue": root.ended } }),
        ];
        attributes.extend(agent.map(|agent| text("gen_ai.agent.name", agent)));
        let model = self.model.as_deref();
        attributes.extend(model.map(|model| text("gen_ai.request.model", model)));
        let name = agent.map_or_else(
            || "invoke_agent".to_owned(),
            |agent| format!("invoke_agent {agent}"),
        );
        let span = json!({
            "traceId": self.trace,
            "spanId": self.root_span(),
            "name": name,
            "kind": INTERNAL,
            "startTimeUnixNano": root.from.to_string(),
            "endTimeUnixNano": root.to.to_string(),
            "attributes": attributes,
            "events": root.events,
            "droppedEventsCount": root.left_out,
            "status": {},
        });
        self.done.push(span);
        Some(self.line(&self.done))
    }

    fn line(&self, spans: &[Value]) -> String {
        let resource = [
            text("service.name", "stockade"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("stockade.log", &format!("{}/{}", self.machine, self.log)),
        ];
        canonical_json(&json!({ "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{
                "scope": { "name": "stockade", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
                "schemaUrl": SCHEMA,
            }],
            "schemaUrl": SCHEMA,
        }] }))
    }

    fn root_span(&self) -> String {
        number(&format!("task {}/{}", self.machine, self.log), 16)
    }

    /// The same record has the same span in every export.
    fn span(&self, seq: u64) -> String {
        number(&format!("span {}/{}/{seq}", self.machine, self.log), 16)
    }
}

/// A command of a client, which is what an agent's tools are to its sandbox.
fn command(record: &Record) -> Span {
    let body = &record.body;
    let words = words(body).unwrap_or_default();
    let program = words.first().and_then(|program| program.rsplit('/').next());
    let program = program
        .filter(|program| !program.is_empty())
        .unwrap_or("command");
    let values: Vec<Value> = words
        .iter()
        .map(|word| json!({ "stringValue": word }))
        .collect();
    Span {
        seq: record.seq,
        from: record.at.unix_timestamp_nanos(),
        name: format!("execute_tool {program}"),
        kind: INTERNAL,
        attributes: vec![
            text("stockade.record", &record.seq.to_string()),
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", program),
            json!({ "key": "process.command_args", "value": { "arrayValue": { "values": values } } }),
        ],
    }
}

/// What the end of a command or request says.
fn outcome(body: &Value) -> Vec<Value> {
    let usage = &body["usage"];
    let tokens = |names: &[&str]| {
        let counts = names.iter().filter_map(|name| usage[*name].as_i64());
        counts.fold(0_i64, i64::saturating_add)
    };
    let mut attributes = Vec::new();
    for (name, value) in [
        ("process.exit.code", body["exit"].as_i64()),
        ("http.response.status_code", body["status"].as_i64()),
    ] {
        attributes.extend(value.map(|value| whole(name, value)));
    }
    if usage.is_object() {
        let cached = ["cache_write", "cache_write_hour"];
        let input = ["input", "cache_read", "cache_write", "cache_write_hour"];
        attributes.extend([
            whole("gen_ai.usage.input_tokens", tokens(&input)),
            whole("gen_ai.usage.output_tokens", tokens(&["output"])),
            whole(
                "gen_ai.usage.cache_read.input_tokens",
                tokens(&["cache_read"]),
            ),
            whole("gen_ai.usage.cache_creation.input_tokens", tokens(&cached)),
        ]);
    }
    if let Some(cost) = body["cost"].as_str() {
        attributes.push(text("stockade.cost", cost));
    }
    attributes
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// OTLP spells whole numbers as texts, for they have 64 bits.
fn whole(key: &str, value: i64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// So many hexadecimal digits that `of` always has.
fn number(of: &str, digits: usize) -> String {
    let mut number = Hash::of(of.as_bytes()).to_string();
    number.truncate(digits);
    number
}

#[cfg(test)]
mod tests;
