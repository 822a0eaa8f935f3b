use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use http::HeaderMap;
use serde_json::Value;

use super::list;
use crate::{
    meter::{ModelCall, ToolCall},
    record::bounded,
    settings::ModelApi,
};

/// Tool calls of a request's history that are told, the last ones.
const CALLS_MAX: usize = 64;
/// Tiers that are told.
const TIERS_MAX: usize = 8;
/// Headers in which Bedrock takes a tier.
const TIER_HEADERS: [&str; 2] = [
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-performanceconfig-latency",
];

/// What the price of a request depends on, read from its canonical path and a
/// body that [`super::inspect`] let through.
pub(crate) fn read(api: ModelApi, path: &str, headers: &HeaderMap, body: &[u8]) -> ModelCall {
    let mut request: Value = serde_json::from_slice(body).unwrap_or_default();
    // However a client orders fields, the same call is the same.
    request.sort_all_objects();
    let number = |pointer: &str| request.pointer(pointer).and_then(Value::as_u64);
    let model = match api {
        ModelApi::Gemini => path
            .rsplit('/')
            .next()
            .and_then(|name| name.split(':').next()),
        ModelApi::Bedrock => path.split('/').nth(2),
        _ => request.get("model").and_then(Value::as_str),
    };
    let limits = [
        "/max_tokens",
        "/max_output_tokens",
        "/max_completion_tokens",
        "/generationConfig/maxOutputTokens",
        "/generation_config/max_output_tokens",
        "/inferenceConfig/maxTokens",
        "/inferenceConfig/max_new_tokens",
        "/additionalModelRequestFields/max_tokens",
        "/max_gen_len",
        "/max_tokens_to_sample",
    ];
    let answers = ["/n", "/generationConfig/candidateCount"];
    let mut found = Found {
        names_media: api == ModelApi::Bedrock,
        ..Found::default()
    };
    found.look(&request);
    let kept = [
        "previous_response_id",
        "conversation",
        "cachedContent",
        "prompt",
    ];
    let refers = kept
        .iter()
        .any(|key| request.get(key).is_some_and(|value| !value.is_null()));
    let tiers = ["service_tier", "serviceTier", "speed", "inference_geo"]
        .iter()
        .filter_map(|key| request.get(key)?.as_str());
    let placed = ["/serviceTier/type", "/performanceConfig/latency"]
        .iter()
        .filter_map(|pointer| request.pointer(pointer)?.as_str());
    let headed = TIER_HEADERS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok());
    let tiers = tiers.chain(placed).chain(headed).take(TIERS_MAX);
    let mut calls = match api {
        ModelApi::Anthropic => anthropic(&request),
        ModelApi::OpenAi => open_ai(&request),
        ModelApi::Gemini => gemini(&request),
        ModelApi::Bedrock => bedrock(&request),
    };
    let calls = calls.split_off(calls.len().saturating_sub(CALLS_MAX));
    ModelCall {
        api,
        model: bounded(model.unwrap_or_default()),
        input_bytes: body.len() as u64,
        whole_context: found.media || refers,
        hour_cache: found.hour_cache,
        // The largest of several: it is not known which one counts.
        output_limit: limits.iter().filter_map(|limit| number(limit)).max(),
        answers: answers
            .iter()
            .filter_map(|at| number(at))
            .max()
            .unwrap_or(1),
        tiers: tiers.map(bounded).collect(),
        turn: is_turn(&request),
        calls,
    }
}

/// What stands anywhere in a request.
#[derive(Default)]
struct Found {
    media: bool,
    hour_cache: bool,
    /// Whether the API calls media by the name of a field.
    names_media: bool,
}

impl Found {
    /// Depth is bounded by the parser.
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(fields) => {
                let kind = fields.get("type").and_then(Value::as_str);
                self.media |= matches!(
                    kind,
                    Some(
                        "image"
                            | "document"
                            | "file"
                            | "image_url"
                            | "input_image"
                            | "input_file"
                            | "input_audio"
                    )
                );
                for (key, value) in fields {
                    self.media |= matches!(key.as_str(), "inlineData" | "inline_data");
                    let named = ["image", "document", "video", "audio"].contains(&key.as_str());
                    self.media |= self.names_media && named && value.is_object();
                    self.hour_cache |= key == "ttl" && value != "5m";
                    self.look(value);
                }
            }
            _ => {}
        }
    }
}

/// Whether the model may act on `request`.
fn is_turn(request: &Value) -> bool {
    let offers = |tools: Option<&Value>| match tools {
        Some(Value::Array(tools)) => !tools.is_empty(),
        Some(Value::Object(_)) => true,
        _ => false,
    };
    let answered = |item: &Value| matches!(item["role"].as_str(), Some("assistant" | "model"));
    offers(request.get("tools"))
        || offers(request.pointer("/toolConfig/tools"))
        || request
            .get("previous_response_id")
            .is_some_and(Value::is_string)
        || ["messages", "input", "contents"]
            .iter()
            .any(|key| list(request, key).any(answered))
}

/// Equal for equal content: fields of an object have one order here.
fn digest(parts: &[&Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        part.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// Calls in order, whose results come later.
#[derive(Default)]
struct History {
    calls: Vec<ToolCall>,
    by_id: HashMap<String, usize>,
}

impl History {
    fn call(&mut self, id: Option<&Value>, name: &Value, arguments: &Value) {
        if let Some(id) = id.and_then(Value::as_str) {
            self.by_id.insert(id.to_owned(), self.calls.len());
        }
        self.calls.push(ToolCall {
            tool: digest(&[name]),
            call: digest(&[name, arguments]),
            result: 0,
            failed: false,
        });
    }

    fn result(&mut self, id: Option<&Value>, result: &Value, failed: bool) {
        let index = id.and_then(Value::as_str).and_then(|id| self.by_id.get(id));
        if let Some(call) = index.and_then(|index| self.calls.get_mut(*index)) {
            call.result = digest(&[result]);
            call.failed = failed;
        }
    }

    /// A person spoke: what came before is another matter.
    fn person(&mut self) {
        self.calls.clear();
        self.by_id.clear();
    }
}

fn anthropic(request: &Value) -> Vec<ToolCall> {
    let mut history = History::default();
    for message in list(request, "messages") {
        let is = |part: &&Value, kind: &str| part["type"] == kind;
        for part in list(message, "content").filter(|part| is(part, "tool_use")) {
            history.call(part.get("id"), &part["name"], &part["input"]);
        }
        let mut results = list(message, "content")
            .filter(|part| is(part, "tool_result"))
            .peekable();
        if message["role"] == "user" && results.peek().is_none() {
            history.person();
        }
        for part in results {
            let failed = part["is_error"] == true;
            history.result(part.get("tool_use_id"), &part["content"], failed);
        }
    }
    history.calls
}

fn open_ai(request: &Value) -> Vec<ToolCall> {
    let mut history = History::default();
    for item in list(request, "input").chain(list(request, "messages")) {
        match item["type"].as_str() {
            Some("function_call" | "custom_tool_call" | "local_shell_call") => {
                let asked = ["arguments", "input", "action"];
                let asked = asked.iter().find_map(|key| item.get(key));
                history.call(
                    item.get("call_id"),
                    &item["name"],
                    asked.unwrap_or(&Value::Null),
                );
            }
            Some(
                "function_call_output" | "custom_tool_call_output" | "local_shell_call_output",
            ) => {
                history.result(item.get("call_id"), &item["output"], false);
            }
            _ => match item["role"].as_str() {
                Some("user") => history.person(),
                Some("tool") => {
                    history.result(item.get("tool_call_id"), &item["content"], false);
                }
                _ => {
                    for call in list(item, "tool_calls") {
                        let function = &call["function"];
                        history.call(call.get("id"), &function["name"], &function["arguments"]);
                    }
                }
            },
        }
    }
    history.calls
}

fn gemini(request: &Value) -> Vec<ToolCall> {
    let mut history = History::default();
    for content in list(request, "contents") {
        let mut answers = false;
        for part in list(content, "parts") {
            if let Some(call) = part.get("functionCall") {
                // Calls have no number here; a name's last one is answered.
                history.call(call.get("name"), &call["name"], &call["args"]);
            }
            if let Some(result) = part.get("functionResponse") {
                answers = true;
                history.result(result.get("name"), &result["response"], false);
            }
        }
        if content["role"] == "user" && !answers {
            history.person();
        }
    }
    history.calls
}

/// `Converse`, or `InvokeModel` with a model of Anthropic's.
fn bedrock(request: &Value) -> Vec<ToolCall> {
    let mut history = History::default();
    for message in list(request, "messages") {
        let mut answers = false;
        for part in list(message, "content") {
            if let Some(call) = part.get("toolUse") {
                history.call(call.get("toolUseId"), &call["name"], &call["input"]);
            }
            if let Some(result) = part.get("toolResult") {
                answers = true;
                let failed = result["status"] == "error";
                history.result(result.get("toolUseId"), &result["content"], failed);
            }
            answers |= part["type"] == "tool_result";
        }
        if message["role"] == "user" && !answers {
            history.person();
        }
    }
    if history.calls.is_empty() {
        history.calls = anthropic(request);
    }
    history.calls
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(api: ModelApi, body: &Value) -> ModelCall {
        let path = match api {
            ModelApi::Bedrock => "/model/us.anthropic.claude-v1:0/converse",
            _ => "/v1beta/models/gemini-2.5-pro:generateContent",
        };
        read(api, path, &HeaderMap::new(), body.to_string().as_bytes())
    }

    #[test]
    fn what_bedrock_is_asked_is_read_of_both_of_its_forms() {
        let converse = json!({
            "inferenceConfig": { "maxTokens": 9 }, "serviceTier": { "type": "priority" },
            "toolConfig": { "tools": [{ "toolSpec": { "name": "bash" } }] },
            "messages": [
                { "role": "user", "content": [{ "image": { "format": "png", "source": { "bytes": "aa" } } }] },
                { "role": "assistant", "content": [{ "toolUse": { "toolUseId": "1", "name": "bash", "input": {} } }] },
                { "role": "user", "content": [{ "toolResult": { "toolUseId": "1", "status": "error",
                    "content": [{ "text": "x" }] } }] }] });
        let read = call(ModelApi::Bedrock, &converse);
        assert_eq!(read.model, "us.anthropic.claude-v1:0");
        assert_eq!((read.output_limit, read.turn), (Some(9), true));
        assert!(read.whole_context && read.tiers == ["priority"]);
        assert!(read.calls.len() == 1 && read.calls[0].failed);
        let invoke = json!({ "max_tokens": 9, "messages": [
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "1", "name": "Bash", "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "1", "content": "x" }] }] });
        let read = call(ModelApi::Bedrock, &invoke);
        assert_eq!((read.output_limit, read.calls.len()), (Some(9), 1));
        assert!(!read.whole_context);
    }

    #[test]
    fn a_turn_is_what_the_model_may_act_on() {
        for (turn, body) in [
            (
                true,
                json!({ "tools": [{ "name": "Bash" }], "messages": [] }),
            ),
            (
                true,
                json!({ "messages": [{ "role": "assistant", "content": "x" }] }),
            ),
            (true, json!({ "contents": [{ "role": "model" }] })),
            (true, json!({ "previous_response_id": "r" })),
            (
                false,
                json!({ "tools": [], "messages": [{ "role": "user", "content": "title" }] }),
            ),
        ] {
            assert_eq!(call(ModelApi::Anthropic, &body).turn, turn, "{body}");
        }
    }

    #[test]
    fn model_limits_and_tiers_are_read_of_each_api() {
        let read = call(
            ModelApi::Anthropic,
            &json!({ "model": "m", "max_tokens": 9, "speed": "fast",
                "system": [{ "type": "text", "cache_control": { "ttl": "1h" } }] }),
        );
        assert_eq!((read.model.as_str(), read.output_limit), ("m", Some(9)));
        assert!(read.hour_cache && !read.whole_context && read.tiers == ["fast"]);
        let read = call(
            ModelApi::Gemini,
            &json!({ "generationConfig": { "candidateCount": 3 } }),
        );
        assert_eq!((read.model.as_str(), read.answers), ("gemini-2.5-pro", 3));
        for body in [
            json!({ "model": "m", "previous_response_id": "r" }),
            json!({ "model": "m", "input": [{ "content": [{ "type": "input_image" }] }] }),
        ] {
            assert!(call(ModelApi::OpenAi, &body).whole_context, "{body}");
        }
    }

    #[test]
    fn calls_since_a_person_spoke_are_told_with_their_results() {
        let turn = |id: &str, failed: bool| {
            [
                json!({ "role": "assistant", "content":
                    [{ "type": "tool_use", "id": id, "name": "Bash", "input": { "a": 1, "b": 2 } }] }),
                json!({ "role": "user", "content":
                    [{ "type": "tool_result", "tool_use_id": id, "content": "x", "is_error": failed }] }),
            ]
        };
        let prompt = json!({ "role": "user", "content": "go on" });
        let messages = |from: usize| {
            let all = [
                vec![prompt.clone()],
                turn("1", false).to_vec(),
                vec![prompt.clone()],
                turn("2", true).to_vec(),
                turn("3", true).to_vec(),
            ];
            json!({ "messages": all[from..].concat() })
        };
        let calls = call(ModelApi::Anthropic, &messages(0)).calls;
        assert_eq!(calls.len(), 2);
        assert!(calls[0] == calls[1] && calls[0].failed && calls[0].result != 0);
    }

    #[test]
    fn calls_are_the_same_in_responses_and_in_chat() {
        let responses = json!({ "input": [
            { "type": "function_call", "call_id": "1", "name": "sh", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "1", "output": "no" }] });
        let chat = json!({ "messages": [
            { "role": "assistant", "tool_calls":
                [{ "id": "1", "function": { "name": "sh", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "1", "content": "no" }] });
        let of = |body| call(ModelApi::OpenAi, body).calls;
        assert_eq!(of(&responses), of(&chat));
        assert_eq!(of(&chat).len(), 1);
        let gemini = json!({ "contents": [
            { "role": "model", "parts": [{ "functionCall": { "name": "sh", "args": {} } }] },
            { "role": "user", "parts": [{ "functionResponse": { "name": "sh", "response": {} } }] }] });
        assert_eq!(call(ModelApi::Gemini, &gemini).calls.len(), 1);
    }

    #[test]
    fn the_same_call_is_the_same_however_its_fields_are_ordered() {
        let of = |input: &str| {
            let body = format!(
                r#"{{"messages":[{{"role":"assistant","content":
                    [{{"type":"tool_use","id":"1","name":"Bash","input":{input}}}]}}]}}"#
            );
            let headers = HeaderMap::new();
            read(
                ModelApi::Anthropic,
                "/v1/messages",
                &headers,
                body.as_bytes(),
            )
            .calls
        };
        let one = of(r#"{"a":1,"b":{"c":2,"d":3}}"#);
        assert_eq!(one.len(), 1);
        assert_eq!(one, of(r#"{"b":{"d":3,"c":2},"a":1}"#));
        assert_ne!(one, of(r#"{"b":{"d":3,"c":2},"a":2}"#));
    }

    #[test]
    fn a_long_history_is_told_by_its_end() {
        let input: Vec<_> = (0..200)
            .map(|number| json!({ "type": "function_call", "call_id": "", "name": number }))
            .collect();
        let calls = call(ModelApi::OpenAi, &json!({ "input": input })).calls;
        assert_eq!(calls.len(), CALLS_MAX);
    }
}
