//! Anthropic Messages: <https://docs.anthropic.com/en/api/messages>.

use serde_json::{Value, json};

use super::{Event, pieces};
use crate::conversation::{Api, ModelRequest, Reply, call_id, elements, text_of};

pub(crate) fn read(body: &Value) -> ModelRequest {
    let model = body["model"].as_str().unwrap_or_default();
    let stream = body["stream"].as_bool().unwrap_or(false);
    let mut request = ModelRequest::new(Api::AnthropicMessages, model, stream);
    for tool in elements(&body["tools"]) {
        if let Some(name) = tool["name"].as_str() {
            request
                .tools
                .insert(name.to_owned(), tool["input_schema"].clone());
        }
    }
    request.add_prompt(&text_of(&body["system"]));
    for message in elements(&body["messages"]) {
        let content = &message["content"];
        if message["role"] == "assistant" {
            request.history.assistant(None);
            for part in elements(content)
                .iter()
                .filter(|part| part["type"] == "tool_use")
            {
                request.history.assistant(part["id"].as_str());
            }
            continue;
        }
        request.history.other();
        if let Some(text) = content.as_str() {
            request.add_prompt(text);
        }
        for part in elements(content) {
            if part["type"] == "tool_result" {
                let failed = part["is_error"].as_bool().unwrap_or(false);
                request.history.result(text_of(&part["content"]), failed);
            } else if let Some(text) = part["text"].as_str() {
                request.add_prompt(text);
            }
        }
    }
    let formats = [&body["output_config"]["format"], &body["output_format"]];
    request.answer_schema = formats
        .iter()
        .find(|format| format["type"] == "json_schema")
        .map(|format| format["schema"].clone());
    request
}

pub(crate) fn complete(request: &ModelRequest, reply: &Reply) -> Value {
    json!({
        "id": message_id(reply), "type": "message", "role": "assistant", "model": request.model,
        "content": content(reply), "stop_reason": stop_reason(reply), "stop_sequence": null,
        "usage": usage(reply),
    })
}

pub(crate) fn stream(request: &ModelRequest, reply: &Reply) -> Vec<Event> {
    let mut message = complete(request, reply);
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let mut events = vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "ping"}),
    ];
    for (index, block) in content(reply).into_iter().enumerate() {
        let (opening, deltas) = opened(block);
        events
            .push(json!({"type": "content_block_start", "index": index, "content_block": opening}));
        events.extend(
            deltas.into_iter().map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(reply), "stop_sequence": null},
        "usage": usage(reply),
    }));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(Event::typed).collect()
}

/// A block as it begins in a stream, and the deltas that make it whole.
fn opened(mut block: Value) -> (Value, Vec<Value>) {
    if block["type"] == "text" {
        let text = block["text"].take();
        let deltas = pieces(text.as_str().unwrap_or_default());
        let deltas = deltas
            .into_iter()
            .map(|text| json!({"type": "text_delta", "text": text}));
        block["text"] = json!("");
        return (block, deltas.collect());
    }
    let input = block["input"].take().to_string();
    block["input"] = json!({});
    let deltas = pieces(&input).into_iter();
    (
        block,
        deltas
            .map(|json| json!({"type": "input_json_delta", "partial_json": json}))
            .collect(),
    )
}

fn message_id(reply: &Reply) -> String {
    format!("msg_rehearsal_{:08x}", reply.serial)
}

fn stop_reason(reply: &Reply) -> &'static str {
    if reply.call.is_some() {
        "tool_use"
    } else {
        "end_turn"
    }
}

fn content(reply: &Reply) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !reply.text.is_empty() {
        blocks.push(json!({"type": "text", "text": reply.text}));
    }
    if let Some(call) = &reply.call {
        let id = call_id("toolu_", reply.turn, reply.serial);
        blocks.push(
            json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments}),
        );
    }
    blocks
}

fn usage(reply: &Reply) -> Value {
    let usage = &reply.usage;
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": usage.all_output(),
        "service_tier": "standard",
    })
}
