//! Gemini: <https://ai.google.dev/api/generate-content>.

use serde_json::{Value, json};

use super::{Event, pieces};
use crate::conversation::{Api, ModelRequest, Reply, call_id, elements, text_of};

pub(crate) fn read(body: &Value, model: &str, stream: bool) -> ModelRequest {
    let mut request = ModelRequest::new(Api::Gemini, model, stream);
    for declaration in elements(&body["tools"])
        .iter()
        .flat_map(|tool| elements(&tool["functionDeclarations"]))
    {
        if let Some(name) = declaration["name"].as_str() {
            let keys = ["parametersJsonSchema", "parameters"];
            let schema = keys.iter().find_map(|key| declaration.get(*key));
            request
                .tools
                .insert(name.to_owned(), schema.cloned().unwrap_or_default());
        }
    }
    request.add_prompt(&text_of(&body["systemInstruction"]["parts"]));
    for content in elements(&body["contents"]) {
        let parts = elements(&content["parts"]);
        if content["role"] == "model" {
            request.history.assistant(None);
            for call in parts.iter().filter_map(|part| part.get("functionCall")) {
                request.history.assistant(call["id"].as_str());
            }
            continue;
        }
        request.history.other();
        for part in parts {
            if let Some(answer) = part.get("functionResponse") {
                let response = &answer["response"];
                let error = response.get("error");
                let told = error.or_else(|| response.get("output")).unwrap_or(response);
                request.history.result(text_of(told), error.is_some());
            } else if let Some(text) = part["text"].as_str() {
                request.add_prompt(text);
            }
        }
    }
    let config = &body["generationConfig"];
    request.answer_schema = ["responseJsonSchema", "responseSchema"]
        .iter()
        .find_map(|key| config.get(*key).cloned())
        .or_else(|| {
            (config["responseMimeType"] == "application/json").then(|| json!({"type": "object"}))
        });
    request
}

pub(crate) fn complete(request: &ModelRequest, reply: &Reply) -> Value {
    let mut parts = Vec::new();
    if !reply.text.is_empty() {
        parts.push(json!({"text": reply.text}));
    }
    parts.extend(call_part(reply));
    finished(chunk(request, reply, &parts), reply)
}

pub(crate) fn stream(request: &ModelRequest, reply: &Reply) -> Vec<Event> {
    let mut parts: Vec<Value> = pieces(&reply.text)
        .into_iter()
        .map(|text| json!({ "text": text }))
        .collect();
    parts.extend(call_part(reply));
    let mut chunks: Vec<Value> = parts
        .into_iter()
        .map(|part| chunk(request, reply, &[part]))
        .collect();
    // The last one ends the answer and reports the usage.
    let last = chunks.pop().unwrap_or_else(|| chunk(request, reply, &[]));
    chunks.push(finished(last, reply));
    chunks.iter().map(Event::unnamed).collect()
}

fn chunk(request: &ModelRequest, reply: &Reply, parts: &[Value]) -> Value {
    json!({
        "candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}],
        "modelVersion": request.model,
        "responseId": format!("rehearsal_{:08x}", reply.serial),
    })
}

fn finished(mut chunk: Value, reply: &Reply) -> Value {
    let usage = &reply.usage;
    chunk["candidates"][0]["finishReason"] = json!("STOP");
    chunk["usageMetadata"] = json!({
        "promptTokenCount": usage.all_input(),
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.total(),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.all_input()}],
    });
    chunk
}

fn call_part(reply: &Reply) -> Option<Value> {
    let call = reply.call.as_ref()?;
    Some(json!({
        "functionCall": {
            "id": call_id("call_", reply.turn, reply.serial),
            "name": call.name,
            "args": call.arguments,
        },
        // Newer models refuse a history whose calls lack a signature, so
        // clients expect one.
        "thoughtSignature": "cmVoZWFyc2Fs",
    }))
}
