//! What the server says: answers to what was asked, and news.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Firewall, PROMPTS_CHANGED, Purpose, RESOURCES_CHANGED, Seen, Step, TOOLS_CHANGED};
use crate::{
    catalogue::items_of,
    item::{ItemKind, short},
    message::{INTERNAL, Id, Outcome, RpcError},
    result::{self, Treated},
    scan::{self, Weight},
};

/// The longest news of a server, in bytes.
const NEWS_MAX: usize = 16 * 1024;
/// Resources that a client can have seen.
const RESOURCES_MAX: usize = 16 * 1024;
/// Messages of one prompt.
const MESSAGES_MAX: usize = 64;
/// The code by which a server asks the person to open an address (2025-11-25).
const URL_ELICITATION: i64 = -32042;
/// The longest words of an error.
const WORDS_MAX: usize = 4 * 1024;

impl Firewall {
    pub(super) fn server_answers(&mut self, id: &Id, outcome: Outcome, step: &mut Step) {
        let number = match id {
            Id::Number(number) => u64::try_from(*number).ok(),
            Id::Text(_) => None,
        };
        match number.and_then(|number| self.pending.remove(&number)) {
            None => step.drop_of(true, "an answer to nothing that was asked"),
            Some(Purpose::Cancelled | Purpose::Listening) => {}
            Some(Purpose::Opening(era)) => self.opened(era, outcome, step),
            Some(Purpose::Page) => self.page(outcome, step),
            Some(Purpose::Client {
                id, method, tool, ..
            }) => {
                let outcome = match outcome {
                    Outcome::Result(result) => self.result(method, tool.as_deref(), result, step),
                    Outcome::Error(error) => self.error(error),
                };
                self.reply(&id, outcome, step);
            }
        }
    }

    fn result(
        &mut self,
        method: &str,
        tool: Option<&str>,
        mut result: Map<String, Value>,
        step: &mut Step,
    ) -> Outcome {
        let asks = result
            .get("inputRequests")
            .is_some_and(|asked| *asked != json!({}));
        let waits = result
            .get("resultType")
            .is_some_and(|kind| kind == "input_required");
        if asks || waits && self.client == Some(crate::Era::Legacy) {
            let reason = "the server asks the person or the model for something";
            step.seen.push(Seen::Refused {
                what: short(tool.unwrap_or(method)),
                rule: "C07".into(),
                reason: reason.to_owned(),
            });
            return match tool {
                Some(_) => Outcome::Result(result::refusal("C07", reason)),
                None => Outcome::Error(RpcError::new(INTERNAL, reason)),
            };
        }
        self.others(method, &mut result, step);
        match method {
            "tools/call" => {
                Outcome::Result(self.tool_result(tool.unwrap_or_default(), result, step))
            }
            "resources/list" => {
                result.retain(|name, _| matches!(&**name, "resources" | "nextCursor"));
                self.resources_listed(&mut result, step);
                Outcome::Result(result)
            }
            "logging/setLevel" => Outcome::Result(Map::new()),
            "prompts/get" => {
                let mut messages = result.get_mut("messages").and_then(Value::as_array_mut);
                if let Some(messages) = &mut messages {
                    messages.truncate(MESSAGES_MAX);
                }
                for message in messages.into_iter().flatten() {
                    self.contents(message.get_mut("content"), method, step);
                }
                Outcome::Result(result)
            }
            "resources/read" => {
                self.contents(result.get_mut("contents"), method, step);
                result.insert("ttlMs".to_owned(), 0.into());
                result.insert("cacheScope".to_owned(), "private".into());
                Outcome::Result(result)
            }
            _ => Outcome::Result(result),
        }
    }

    fn tool_result(
        &self,
        tool: &str,
        mut result: Map<String, Value>,
        step: &mut Step,
    ) -> Map<String, Value> {
        let check = self.offer.as_ref().and_then(|offer| offer.tool(tool));
        let check = check.map(crate::Tool::arguments);
        let failed = result.get("isError") == Some(&Value::Bool(true));
        if let Some(structured) = result.get("structuredContent")
            && let Err(treated) = self
                .results
                .structured(structured, check.filter(|_| !failed))
        {
            let refusal = result::refusal(treated.rule, &treated.what);
            note(tool, [treated], step);
            return refusal;
        }
        self.contents(result.get_mut("content"), tool, step);
        result
    }

    /// Treats members of a result that have no place of their own in its method.
    fn others(&self, method: &str, result: &mut Map<String, Value>, step: &mut Step) {
        const KNOWN: [&str; 6] = [
            "content",
            "structuredContent",
            "messages",
            "contents",
            "resources",
            "resultType",
        ];
        for (name, member) in result {
            if !KNOWN.contains(&&**name) {
                self.contents(Some(member), method, step);
            }
        }
    }

    /// Treats what a result says, be it one part or several.
    fn contents(&self, content: Option<&mut Value>, of: &str, step: &mut Step) {
        let treated = match content {
            Some(Value::Array(parts)) => self.results.content(parts, &self.mark),
            Some(part) => {
                let mut parts = vec![part.take()];
                let treated = self.results.content(&mut parts, &self.mark);
                *part = parts.into_iter().next().unwrap_or_default();
                treated
            }
            None => return,
        };
        note(of, treated, step);
    }

    /// Leaves out resources whose descriptions speak to the model, and notes the others.
    fn resources_listed(&mut self, result: &mut Map<String, Value>, step: &mut Step) {
        let listed = match result.get_mut("resources").map(Value::take) {
            Some(Value::Array(listed)) => listed,
            _ => Vec::new(),
        };
        let mut shown = Vec::new();
        for item in items_of(
            ItemKind::ResourceTemplate,
            listed.into_iter().map(as_template).collect(),
        )
        .unwrap_or_default()
        {
            let found = scan::scan(&item);
            let worst = scan::heaviest(&found);
            if let Some(finding) = worst.filter(|finding| finding.weight == Weight::Block) {
                step.seen.push(Seen::Withheld {
                    kind: item.kind,
                    name: short(&item.name),
                    rule: finding.rule.into(),
                    reason: finding.detail.clone(),
                });
                continue;
            }
            if self.resources.len() < RESOURCES_MAX {
                self.resources.insert(item.name);
            }
            let mut body = Arc::unwrap_or_clone(item.body);
            if let Some(body) = body.as_object_mut() {
                body.shift_remove("uriTemplate");
            }
            shown.push(body);
        }
        result.insert("resources".to_owned(), Value::Array(shown));
        result.insert("ttlMs".to_owned(), 0.into());
        result.insert("cacheScope".to_owned(), "private".into());
    }

    /// An error's words are read by the model too, and one kind of error asks the person
    /// to open an address.
    fn error(&self, mut error: RpcError) -> Outcome {
        if error.code == URL_ELICITATION {
            let reason = "the server asks the person for something";
            return Outcome::Error(RpcError::new(INTERNAL, reason));
        }
        let end = error.message.floor_char_boundary(WORDS_MAX);
        let mut words = vec![json!(&error.message[..end])];
        let data = error
            .data
            .filter(|data| data.to_string().len() <= WORDS_MAX);
        words.extend(data);
        self.results.content(&mut words, &self.mark);
        let mut words = words.into_iter();
        let message = words.next().unwrap_or_default();
        message
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut error.message);
        error.data = words.next();
        Outcome::Error(error)
    }

    pub(super) fn server_tells(
        &mut self,
        method: &str,
        params: Map<String, Value>,
        step: &mut Step,
    ) {
        match method {
            TOOLS_CHANGED => self.list_changed(TOOLS_CHANGED, step),
            PROMPTS_CHANGED => self.list_changed(PROMPTS_CHANGED, step),
            RESOURCES_CHANGED => self.list_changed(RESOURCES_CHANGED, step),
            "notifications/progress" if self.is_awaited(params.get("progressToken")) => {
                self.news(method, params, step);
            }
            "notifications/message" => self.news(method, params, step),
            "notifications/subscriptions/acknowledged" | "notifications/cancelled" => {}
            _ => step.drop_of(
                true,
                format!("a notification that is not passed on: {}", short(method)),
            ),
        }
    }

    /// Passes news on, treated as results are.
    fn news(&self, method: &str, params: Map<String, Value>, step: &mut Step) {
        let mut parts = vec![Value::Object(params)];
        self.results.content(&mut parts, &self.mark);
        match parts.into_iter().next() {
            Some(Value::Object(params)) if json!(params).to_string().len() <= NEWS_MAX => {
                step.tell_client(method, params);
            }
            _ => step.drop_of(true, "news that are too long"),
        }
    }

    fn is_awaited(&self, token: Option<&Value>) -> bool {
        let awaits = |purpose: &Purpose| matches!(purpose, Purpose::Client { progress: Some(progress), .. } if Some(progress) == token);
        self.pending.values().any(awaits)
    }
}

/// A resource as if it were a family of one.
fn as_template(mut resource: Value) -> Value {
    if let (Some(uri), Some(members)) = (resource.get("uri").cloned(), resource.as_object_mut()) {
        members.insert("uriTemplate".to_owned(), uri);
    }
    resource
}

fn note(tool: &str, treated: impl IntoIterator<Item = Treated>, step: &mut Step) {
    step.seen.extend(
        treated
            .into_iter()
            .map(|Treated { rule, what }| Seen::Treated {
                tool: short(tool),
                rule: rule.into(),
                what,
            }),
    );
}
