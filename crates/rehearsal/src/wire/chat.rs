//! OpenAI Chat Completions: <https://platform.openai.com/docs/api-reference/chat>.

use serde_json::{Value, json};

use super::{Event, pieces};
use crate::conversation::{Api, ModelRequest, Reply, call_id, elements, text_of};

pub(crate) fn read(body: &Value) -> ModelRequest {
    let model = body["model"].as_str().unwrap_or_default();
    let stream = body["stream"].as_bool().unwrap_or(false);
    let mut request = ModelRequest::new(Api::OpenAiChat, model, stream);
    for tool in elements(&body["tools"]) {
        if let Some(name) = tool["function"]["name"].as_str() {
            request
                .tools
                .insert(name.to_owned(), tool["function"]["parameters"].clone());
        }
    }
    for message in elements(&body["messages"]) {
        let text = text_of(&message["content"]);
        match message["role"].as_str() {
            Some("assistant") => {
                request.history.assistant(None);
                for call in elements(&message["tool_calls"]) {
                    request.history.assistant(call["id"].as_str());
                }
            }
            Some("tool") => request.history.result(text, false),
            _ => {
                request.history.other();
                request.add_prompt(&text);
            }
        }
    }
    let format = &body["response_format"];
    request.answer_schema = match format["type"].as_str() {
        Some("json_schema") => Some(format["json_schema"]["schema"].clone()),
        Some("json_object") => Some(json!({"type": "object"})),
        _ => None,
    };
    request.reports_usage = body["stream_options"]["include_usage"]
        .as_bool()
        .unwrap_or(false);
    request
}

pub(crate) fn complete(request: &ModelRequest, reply: &Reply) -> Value {
    let content = Some(&reply.text).filter(|text| !text.is_empty());
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if let Some(call) = tool_call(reply) {
        message["tool_calls"] = json!([call]);
    }
    json!({
        "id": id(reply), "object": "chat.completion", "created": 0, "model": request.model,
        "choices": [{
            "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(reply),
        }],
        "usage": usage(reply),
    })
}

pub(crate) fn stream(request: &ModelRequest, reply: &Reply) -> Vec<Event> {
    let chunk = |choices: Value, usage: Value| {
        Event::unnamed(&json!({
            "id": id(reply), "object": "chat.completion.chunk", "created": 0,
            "model": request.model, "choices": choices, "usage": usage,
        }))
    };
    let delta = |delta: Value, finish: Option<&str>| {
        chunk(
            json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
            Value::Null,
        )
    };
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}), None)];
    events.extend(
        pieces(&reply.text)
            .into_iter()
            .map(|text| delta(json!({"content": text}), None)),
    );
    if let Some(mut call) = tool_call(reply) {
        let arguments = call["function"]["arguments"].take();
        call["index"] = json!(0);
        call["function"]["arguments"] = json!("");
        events.push(delta(json!({"tool_calls": [call]}), None));
        for piece in pieces(arguments.as_str().unwrap_or_default()) {
            let part = json!({"index": 0, "function": {"arguments": piece}});
            events.push(delta(json!({"tool_calls": [part]}), None));
        }
    }
    events.push(delta(json!({}), Some(finish_reason(reply))));
    if request.reports_usage {
        events.push(chunk(json!([]), usage(reply)));
    }
    events.push(Event {
        name: None,
        data: "[DONE]".to_owned(),
    });
    events
}

fn id(reply: &Reply) -> String {
    format!("chatcmpl-rehearsal-{:08x}", reply.serial)
}

fn finish_reason(reply: &Reply) -> &'static str {
    if reply.call.is_some() {
        "tool_calls"
    } else {
        "stop"
    }
}

fn tool_call(reply: &Reply) -> Option<Value> {
    let call = reply.call.as_ref()?;
    Some(json!({
        "id": call_id("call_", reply.turn, reply.serial), "type": "function",
        "function": {"name": call.name, "arguments": call.arguments.to_string()},
    }))
}

fn usage(reply: &Reply) -> Value {
    let usage = &reply.usage;
    json!({
        "prompt_tokens": usage.all_input(),
        "completion_tokens": usage.all_output(),
        "total_tokens": usage.total(),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}
