//! OpenAI Responses: <https://platform.openai.com/docs/api-reference/responses>.

use serde_json::{Value, json};

use super::{Event, pieces};
use crate::conversation::{Api, ModelRequest, Reply, call_id, elements, text_of};

pub(crate) fn read(body: &Value) -> ModelRequest {
    let model = body["model"].as_str().unwrap_or_default();
    let stream = body["stream"].as_bool().unwrap_or(false);
    let mut request = ModelRequest::new(Api::OpenAiResponses, model, stream);
    add_tools(&mut request, &body["tools"]);
    request.add_prompt(&text_of(&body["instructions"]));
    if let Some(text) = body["input"].as_str() {
        request.add_prompt(text);
    }
    for item in elements(&body["input"]) {
        read_item(&mut request, item);
    }
    let format = &body["text"]["format"];
    if format["type"] == "json_schema" {
        request.answer_schema = Some(format["schema"].clone());
    }
    request
}

fn read_item(request: &mut ModelRequest, item: &Value) {
    // A message may go without its type.
    let kind = item["type"].as_str().unwrap_or("message");
    match kind {
        "message" if item["role"] == "assistant" => request.history.assistant(None),
        "reasoning" => request.history.assistant(None),
        _ if kind.ends_with("_call") => request.history.assistant(item["call_id"].as_str()),
        _ if kind.ends_with("_call_output") => {
            request.history.result(text_of(&item["output"]), false);
        }
        _ => {
            request.history.other();
            // Some clients send tools in an input item.
            add_tools(request, &item["tools"]);
            request.add_prompt(&text_of(&item["content"]));
        }
    }
}

/// A namespace of tools holds them as `name__tool`.
const BETWEEN: &str = "__";

fn add_tools(request: &mut ModelRequest, tools: &Value) {
    for space in elements(tools)
        .iter()
        .filter(|tool| tool["type"] == "namespace")
    {
        let name = space["name"].as_str().unwrap_or_default();
        for tool in elements(&space["tools"]) {
            if let Some(tool_name) = tool["name"].as_str() {
                let name = format!("{name}{BETWEEN}{tool_name}");
                request.namespaced.insert(name.clone());
                request.tools.insert(name, tool["parameters"].clone());
            }
        }
    }
    for tool in elements(tools)
        .iter()
        .filter(|tool| tool["type"] == "function")
    {
        if let Some(name) = tool["name"].as_str() {
            request
                .tools
                .insert(name.to_owned(), tool["parameters"].clone());
        }
    }
}

pub(crate) fn complete(request: &ModelRequest, reply: &Reply) -> Value {
    let mut response = frame(request, reply, "completed");
    response["output"] = output(request, reply).into();
    response["usage"] = usage(reply);
    response
}

pub(crate) fn stream(request: &ModelRequest, reply: &Reply) -> Vec<Event> {
    let started = frame(request, reply, "in_progress");
    let mut events = vec![
        json!({"type": "response.created", "response": started}),
        json!({"type": "response.in_progress", "response": started}),
    ];
    for (index, item) in output(request, reply).into_iter().enumerate() {
        if item["type"] == "message" {
            message_events(&mut events, index, &item, &reply.text);
        } else {
            call_events(&mut events, index, &item);
        }
        events.push(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        );
    }
    events.push(json!({"type": "response.completed", "response": complete(request, reply)}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events.iter().map(Event::typed).collect()
}

fn message_events(events: &mut Vec<Value>, index: usize, item: &Value, text: &str) {
    let mut opening = item.clone();
    opening["status"] = json!("in_progress");
    opening["content"] = json!([]);
    events.push(
        json!({"type": "response.output_item.added", "output_index": index, "item": opening}),
    );
    let part = |kind: &str, field: &str, value: Value| json!({"type": kind, "item_id": item["id"], "output_index": index, "content_index": 0, field: value});
    let empty = json!({"type": "output_text", "text": "", "annotations": []});
    events.push(part("response.content_part.added", "part", empty));
    for piece in pieces(text) {
        events.push(part("response.output_text.delta", "delta", json!(piece)));
    }
    events.push(part("response.output_text.done", "text", json!(text)));
    events.push(part(
        "response.content_part.done",
        "part",
        item["content"][0].clone(),
    ));
}

fn call_events(events: &mut Vec<Value>, index: usize, item: &Value) {
    let mut opening = item.clone();
    opening["status"] = json!("in_progress");
    opening["arguments"] = json!("");
    events.push(
        json!({"type": "response.output_item.added", "output_index": index, "item": opening}),
    );
    let arguments = item["arguments"].as_str().unwrap_or_default();
    for piece in pieces(arguments) {
        events.push(json!({
            "type": "response.function_call_arguments.delta",
            "item_id": item["id"], "output_index": index, "delta": piece,
        }));
    }
    events.push(json!({
        "type": "response.function_call_arguments.done",
        "item_id": item["id"], "output_index": index, "arguments": arguments,
    }));
}

fn frame(request: &ModelRequest, reply: &Reply, status: &str) -> Value {
    json!({
        "id": format!("resp_rehearsal_{:08x}", reply.serial), "object": "response",
        "created_at": 0, "status": status, "model": request.model, "error": null,
        "incomplete_details": null, "instructions": null, "metadata": {}, "output": [],
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "usage": null,
    })
}

fn output(request: &ModelRequest, reply: &Reply) -> Vec<Value> {
    let mut items = Vec::new();
    if !reply.text.is_empty() {
        items.push(json!({
            "type": "message", "id": format!("msg_rehearsal_{:08x}", reply.serial),
            "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": reply.text, "annotations": []}],
        }));
    }
    if let Some(call) = &reply.call {
        let mut item = json!({
            "type": "function_call", "id": format!("fc_rehearsal_{:08x}", reply.serial),
            "status": "completed", "call_id": call_id("call_", reply.turn, reply.serial),
            "name": call.name, "arguments": call.arguments.to_string(),
        });
        if request.namespaced.contains(&call.name)
            && let Some((space, name)) = call.name.rsplit_once(BETWEEN)
        {
            item["namespace"] = json!(space);
            item["name"] = json!(name);
        }
        items.push(item);
    }
    items
}

fn usage(reply: &Reply) -> Value {
    let usage = &reply.usage;
    json!({
        "input_tokens": usage.all_input(),
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.all_output(),
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total(),
    })
}
