//! What the client asks for, once the server is ready.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    CHANGES, Firewall, PROMPTS_CHANGED, Purpose, RESOURCES_CHANGED, Request, SUBSCRIPTION, Seen,
    Step, Subscription, TOOLS_CHANGED, VERSION,
};
use crate::{
    arguments::check_values,
    item::{ItemKind, short},
    message::{
        INVALID_PARAMS, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Outcome, RpcError,
        UNSUPPORTED_VERSION,
    },
    result,
    version::{Era, MODERN, legacy_for},
};

/// Subscriptions of one client.
const SUBSCRIPTIONS_MAX: usize = 16;

impl Firewall {
    /// Learns or checks the client's era by its `request`.
    pub(super) fn speaks(&mut self, request: &Request) -> Result<(), RpcError> {
        let version = request
            .params
            .get("_meta")
            .and_then(|meta| meta.get(VERSION));
        let modern = version.is_some() || request.method == "server/discover";
        if !modern {
            if request.method == "initialize" {
                if self.client == Some(Era::Legacy) {
                    return Err(RpcError::new(INVALID_REQUEST, "it is initialized already"));
                }
                self.client = Some(Era::Legacy);
            }
            return match self.client {
                Some(Era::Legacy) => Ok(()),
                _ if request.method == "ping" => Ok(()),
                _ => Err(RpcError::new(
                    INVALID_PARAMS,
                    format!(
                        "the request has no `{VERSION}` in `_meta`, and no `initialize` came before it"
                    ),
                )),
            };
        }
        if version.and_then(Value::as_str) != Some(MODERN) {
            return Err(RpcError {
                code: UNSUPPORTED_VERSION,
                message: "Unsupported protocol version".to_owned(),
                data: Some(json!({ "supported": [MODERN], "requested": version })),
            });
        }
        // A client of both eras that asked in the one may go on in the other.
        self.client = Some(Era::Modern);
        Ok(())
    }

    /// Serves what waited, as far as the server is ready.
    pub(super) fn serve_waiting(&mut self, step: &mut Step) {
        if self.era().is_none() {
            return;
        }
        for request in std::mem::take(&mut self.waiting) {
            let needs = Self::needs(&request.method);
            let has_waited = request.has_waited && self.listing.is_none();
            if has_waited || self.is_ready(needs, step) {
                self.serve(request, step);
            } else {
                self.waiting.push(request);
            }
        }
    }

    /// What of the offer `method` goes by.
    fn needs(method: &str) -> Needs {
        match method {
            "tools/list" => Needs::List(ItemKind::Tool),
            "prompts/list" => Needs::List(ItemKind::Prompt),
            "resources/templates/list" => Needs::List(ItemKind::ResourceTemplate),
            "tools/call"
            | "prompts/get"
            | "resources/read"
            | "completion/complete"
            | "initialize"
            | "server/discover" => Needs::Offer,
            _ => Needs::Nothing,
        }
    }

    /// Whether that is there and true; begins to fetch it otherwise.
    fn is_ready(&mut self, needs: Needs, step: &mut Step) -> bool {
        let is_old = match needs {
            Needs::Nothing => return true,
            Needs::Offer => self.stale,
            // What was shown once may have changed since.
            Needs::List(kind) => self.stale || self.served.contains(&kind),
        };
        if self.listing.is_none() && (is_old || self.offer.is_none()) {
            self.list(step);
        }
        self.listing.is_none() && self.offer.is_some()
    }

    fn serve(&mut self, request: Request, step: &mut Step) {
        let Request {
            id, method, params, ..
        } = request;
        if !self.in_flight.contains_key(&id) {
            return;
        }
        match &*method {
            "initialize" => {
                let result = self.initialized(&params);
                self.reply(&id, Outcome::Result(result), step);
            }
            "server/discover" => {
                let result = self.discovered();
                self.reply(&id, Outcome::Result(result), step);
            }
            "tools/list" => self.show(&id, ItemKind::Tool, step),
            "prompts/list" => self.show(&id, ItemKind::Prompt, step),
            "resources/templates/list" => self.show(&id, ItemKind::ResourceTemplate, step),
            "tools/call" => self.call(&id, params, step),
            "prompts/get" => self.get_prompt(&id, params, step),
            "resources/list" => {
                self.told.remove(RESOURCES_CHANGED);
                self.pass(id, "resources/list", params, None, step);
            }
            "resources/read" => self.read_resource(id, params, step),
            "completion/complete" => self.complete(&id, params, step),
            "subscriptions/listen" => self.subscribe(id, &params, step),
            "logging/setLevel" => self.set_level(id, params, step),
            _ => {
                let reason = format!("Stockade passes no `{}` on", short(&method));
                self.refuse(&id, METHOD_NOT_FOUND, "C01", &short(&method), reason, step);
            }
        }
    }

    fn refuse(
        &mut self,
        id: &Id,
        code: i64,
        rule: &'static str,
        what: &str,
        reason: String,
        step: &mut Step,
    ) {
        self.reply(
            id,
            Outcome::Error(RpcError::new(code, reason.clone())),
            step,
        );
        let what = what.to_owned();
        step.seen.push(Seen::Refused {
            what,
            rule: rule.into(),
            reason,
        });
    }

    /// What the server can do, of what is passed on.
    fn capabilities(&self) -> Value {
        let mut shown = Map::new();
        for (_, _, name) in CHANGES {
            let capability = self.can(name);
            if !capability.is_null() {
                let told = capability["listChanged"] == true;
                shown.insert(
                    name.to_owned(),
                    if told {
                        json!({ "listChanged": true })
                    } else {
                        json!({})
                    },
                );
            }
        }
        for name in ["completions", "logging"] {
            if !self.can(name).is_null() {
                shown.insert(name.to_owned(), json!({}));
            }
        }
        Value::Object(shown)
    }

    fn instructions(&self) -> Option<(String, Value)> {
        let text = self.offer.as_ref()?.instructions.as_deref()?;
        Some(("instructions".to_owned(), text.into()))
    }

    fn initialized(&self, params: &Map<String, Value>) -> Map<String, Value> {
        let wanted = params.get("protocolVersion").and_then(Value::as_str);
        let mut result = Map::new();
        result.insert(
            "protocolVersion".to_owned(),
            legacy_for(wanted.unwrap_or_default()).into(),
        );
        result.insert("capabilities".to_owned(), self.capabilities());
        result.insert("serverInfo".to_owned(), self.shown_server());
        result.extend(self.instructions());
        result
    }

    fn discovered(&self) -> Map<String, Value> {
        let mut result = Map::new();
        result.insert("supportedVersions".to_owned(), json!([MODERN]));
        result.insert("capabilities".to_owned(), self.capabilities());
        result.extend(self.instructions());
        with_cache(&mut result);
        result
    }

    fn show(&mut self, id: &Id, kind: ItemKind, step: &mut Step) {
        let Some(offer) = &self.offer else { return };
        let own = |bodies: &[Arc<Value>]| bodies.iter().map(|body| (**body).clone()).collect();
        let (key, change, list): (_, _, Vec<Value>) = match kind {
            ItemKind::Prompt => ("prompts", PROMPTS_CHANGED, own(&offer.prompts)),
            ItemKind::ResourceTemplate => (
                "resourceTemplates",
                RESOURCES_CHANGED,
                own(&offer.templates),
            ),
            _ => {
                let tools = offer.tools().map(|tool| (*tool.body).clone());
                ("tools", TOOLS_CHANGED, tools.collect())
            }
        };
        self.served.insert(kind);
        self.told.remove(change);
        let mut result = Map::new();
        result.insert(key.to_owned(), Value::Array(list));
        with_cache(&mut result);
        self.reply(id, Outcome::Result(result), step);
    }

    fn call(&mut self, id: &Id, mut params: Map<String, Value>, step: &mut Step) {
        let name = params
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let Some(offer) = &self.offer else { return };
        let Some(tool) = offer.tool(&name) else {
            let held = offer.why_withheld(ItemKind::Tool, &name);
            let Some(held) = held else {
                let reason = format!("Unknown tool: {}", short(&name));
                return self.refuse(id, INVALID_PARAMS, "C01", &tool_of(&name), reason, step);
            };
            let reason = format!("the tool `{}` is withheld: {}", short(&name), held.public());
            let rule = held.rule();
            return self.refuse_call(id, &name, rule, &reason, step);
        };
        // Only a server that asks for something gets an answer, and none may.
        params.shift_remove("inputResponses");
        let arguments = params.remove("arguments").unwrap_or_else(|| json!({}));
        let checked = tool.arguments().check(&arguments, &self.keys);
        if let Err(refusal) = checked.and_then(|()| check_values(&params, &self.keys)) {
            return self.refuse_call(id, &name, refusal.rule, &refusal.reason, step);
        }
        params.insert("arguments".to_owned(), arguments);
        step.seen.push(Seen::Called { tool: short(&name) });
        self.pass(id.clone(), "tools/call", params, Some(name), step);
    }

    /// Refuses a call so that the model reads why.
    fn refuse_call(
        &mut self,
        id: &Id,
        tool: &str,
        rule: &'static str,
        reason: &str,
        step: &mut Step,
    ) {
        self.reply(id, Outcome::Result(result::refusal(rule, reason)), step);
        step.seen.push(Seen::Refused {
            what: tool_of(tool),
            rule: rule.into(),
            reason: reason.to_owned(),
        });
    }

    fn get_prompt(&mut self, id: &Id, params: Map<String, Value>, step: &mut Step) {
        let name = params
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let known =
            |offer: &crate::Offer| offer.prompts.iter().any(|prompt| prompt["name"] == name);
        if self.offer.as_ref().is_some_and(known) {
            return self.pass(id.clone(), "prompts/get", params, None, step);
        }
        let what = format!("the prompt `{}`", short(name));
        self.refuse(
            id,
            INVALID_PARAMS,
            "C01",
            &what,
            format!("Unknown prompt: {}", short(name)),
            step,
        );
    }

    fn read_resource(&mut self, id: Id, params: Map<String, Value>, step: &mut Step) {
        let uri = params
            .get("uri")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let of_family = |offer: &crate::Offer| {
            let templates = offer.templates.iter();
            let mut templates = templates.filter_map(|template| template["uriTemplate"].as_str());
            templates.any(|template| is_of_family(uri, template))
        };
        if self.resources.contains(uri) || self.offer.as_ref().is_some_and(of_family) {
            return self.pass(id, "resources/read", params, None, step);
        }
        let what = format!("the resource `{}`", short(uri));
        let reason = format!("no list has the resource {}", short(uri));
        self.refuse(&id, INVALID_PARAMS, "C01", &what, reason, step);
    }

    fn complete(&mut self, id: &Id, params: Map<String, Value>, step: &mut Step) {
        let about = params.get("ref").unwrap_or(&Value::Null);
        let known = self.offer.as_ref().is_some_and(|offer| {
            let prompt = offer
                .prompts
                .iter()
                .any(|prompt| prompt["name"] == about["name"]);
            let template = offer
                .templates
                .iter()
                .any(|template| template["uriTemplate"] == about["uri"]);
            about["type"] == "ref/prompt" && prompt || about["type"] == "ref/resource" && template
        });
        if known {
            return self.pass(id.clone(), "completion/complete", params, None, step);
        }
        let reason = "it is about nothing that is shown".to_owned();
        self.refuse(id, INVALID_PARAMS, "C01", "a completion", reason, step);
    }

    fn set_level(&mut self, id: Id, params: Map<String, Value>, step: &mut Step) {
        match self.era() {
            Some(Era::Legacy) if !self.can("logging").is_null() => {
                self.pass(id, "logging/setLevel", params, None, step);
            }
            _ => {
                self.log_level = params
                    .get("level")
                    .filter(|level| level.is_string())
                    .cloned();
                self.reply(&id, Outcome::Result(Map::new()), step);
            }
        }
    }

    /// Sends the client's request on to the server.
    fn pass(
        &mut self,
        id: Id,
        method: &'static str,
        params: Map<String, Value>,
        tool: Option<String>,
        step: &mut Step,
    ) {
        let Some(era) = self.era() else { return };
        if let (None, Err(refusal)) = (&tool, check_values(&params, &self.keys)) {
            return self.refuse(
                &id,
                INVALID_PARAMS,
                refusal.rule,
                method,
                refusal.reason,
                step,
            );
        }
        let progress = params
            .get("_meta")
            .and_then(|meta| meta.get("progressToken"))
            .cloned();
        let params = self.in_era(params, era);
        let purpose = Purpose::Client {
            id: id.clone(),
            method,
            tool,
            progress,
        };
        let number = self.ask_server(method, params, purpose, step);
        self.in_flight.insert(id, Some(number));
    }

    /// Notes which changes a modern client wants to hear of; it is told at once which
    /// it will.
    fn subscribe(&mut self, id: Id, params: &Map<String, Value>, step: &mut Step) {
        if self.client != Some(Era::Modern) || self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            let reason = "no more subscriptions".to_owned();
            return self.refuse(&id, METHOD_NOT_FOUND, "C01", "a subscription", reason, step);
        }
        let wanted = params.get("notifications").unwrap_or(&Value::Null);
        let mut granted = Map::new();
        let mut kinds = BTreeSet::new();
        for (name, change, capability) in CHANGES {
            if wanted[name] == true && self.can(capability)["listChanged"] == true {
                granted.insert(name.to_owned(), true.into());
                kinds.insert(change);
            }
        }
        let mut told = Map::new();
        told.insert("_meta".to_owned(), json!({ SUBSCRIPTION: id.to_value() }));
        told.insert("notifications".to_owned(), Value::Object(granted));
        step.tell_client("notifications/subscriptions/acknowledged", told);
        self.subscriptions.push(Subscription { id, kinds });
    }

    /// Tells the client that a list has changed, as it wants to hear it.
    pub(super) fn tell_of_change(&self, change: &'static str, step: &mut Step) {
        if self.client == Some(Era::Legacy) {
            return step.tell_client(change, Map::new());
        }
        for subscription in &self.subscriptions {
            if subscription.kinds.contains(change) {
                let mut params = Map::new();
                params.insert(
                    "_meta".to_owned(),
                    json!({ SUBSCRIPTION: subscription.id.to_value() }),
                );
                step.tell_client(change, params);
            }
        }
    }
}

/// What a method goes by.
#[derive(Clone, Copy, Debug)]
enum Needs {
    Nothing,
    /// What is shown at all.
    Offer,
    /// A list that the client has not had.
    List(ItemKind),
}

fn tool_of(name: &str) -> String {
    format!("the tool `{}`", short(name))
}

/// What a modern client may keep, and for how long: nothing, since whatever it keeps
/// outlives an approval.
fn with_cache(result: &mut Map<String, Value>) {
    result.insert("ttlMs".to_owned(), 0.into());
    result.insert("cacheScope".to_owned(), "private".into());
}

/// Whether `uri` may be one of the family `template` (RFC 6570): it has the plain texts
/// of the template, in their order, and leads nowhere else.
fn is_of_family(uri: &str, template: &str) -> bool {
    let mut rest = uri;
    let mut parts = template.split('{');
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else {
        return false;
    };
    rest = after;
    for part in parts {
        let plain = part.split_once('}').map_or("", |(_, plain)| plain);
        match rest.find(plain) {
            Some(at) => rest = &rest[at + plain.len()..],
            None => return false,
        }
    }
    let lower = uri.to_ascii_lowercase();
    let leaves = uri.split(['/', '\\']).any(|part| part == "..")
        || ["%2e", "%2f", "%5c", "%25"]
            .iter()
            .any(|part| lower.contains(part));
    !leaves && (rest.is_empty() || template.ends_with('}'))
}

#[cfg(test)]
mod tests {
    use super::is_of_family;

    #[test]
    fn a_resource_is_of_the_family_whose_plain_texts_it_has() {
        assert!(is_of_family("file:///a/b.txt", "file:///{path}"));
        assert!(is_of_family("db://t/7/rows", "db://{table}/{id}/rows"));
        assert!(!is_of_family(
            "file:///a/../../etc/passwd",
            "file:///{path}"
        ));
        assert!(!is_of_family("file:///a/%2e%2E/etc", "file:///{path}"));
        assert!(!is_of_family("http://a", "file:///{path}"));
        assert!(!is_of_family(
            "db://t/7/rows/more",
            "db://{table}/{id}/rows"
        ));
        assert!(!is_of_family("db://t", "db://{table}/rows"));
    }
}
