use serde_json::Value;
use stockade_types::StrictJson;

use crate::{reply::Refusal, settings::ModelApi};

/// Refuses a model request that would make the provider reach the network on
/// the agent's behalf: hosted search, fetch and code, remote MCP servers,
/// content named by URL or file id, background runs. What the provider does
/// passes no gateway of ours.
///
/// Tool types that are not known to run at the client are refused; unknown
/// fields pass unless they hold a URL or a file reference, so that an agent's
/// next release still works.
pub(crate) fn inspect(api: ModelApi, body: &[u8]) -> Result<(), Refusal> {
    let StrictJson(request) = serde_json::from_slice(body).map_err(|source| {
        let reason = format!("its body is not unambiguous JSON: {source}.");
        Refusal::malformed("model.malformed", reason)
    })?;
    let Value::Object(fields) = &request else {
        return Err(Refusal::malformed(
            "model.malformed",
            "its body is not a JSON object.",
        ));
    };
    check_tools(api, request.get("tools"))?;
    if api == ModelApi::Bedrock {
        check_bedrock(&request)?;
    }
    for field in [
        "mcp_servers",
        "container",
        "web_search_options",
        "background",
    ] {
        let empty = match fields.get(field) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        if !empty {
            return Err(provider_fetch(&format!("the field `{field}`")));
        }
    }
    check_references(api, "", &request)
}

fn provider_fetch(what: &str) -> Refusal {
    // 400 and not 403: agents show this message at once instead of retrying.
    let reason = format!(
        "{what} would let the model's provider reach the network or run code for the agent, outside \
         this sandbox. Use the agent's own tools instead."
    );
    Refusal::malformed("net.provider_fetch", reason)
}

fn check_tools(api: ModelApi, tools: Option<&Value>) -> Result<(), Refusal> {
    let Some(tools) = tools.filter(|tools| !tools.is_null()) else {
        return Ok(());
    };
    // Gemini takes a single tool without a list around it.
    let tools = tools
        .as_array()
        .map_or(std::slice::from_ref(tools), Vec::as_slice);
    for tool in tools {
        let unknown = match api {
            // Models of Anthropic's, as `InvokeModel` takes them.
            ModelApi::Anthropic | ModelApi::Bedrock => anthropic_tool(tool),
            ModelApi::OpenAi => open_ai_tool(tool)?,
            ModelApi::Gemini => gemini_tool(tool),
        };
        if let Some(name) = unknown {
            return Err(provider_fetch(&format!(
                "the tool type `{}`",
                crate::record::bounded(&name)
            )));
        }
    }
    Ok(())
}

/// What `Converse` and Amazon's own models take beside that: each tool is one
/// of the client's, and what is handed to the model as it is, is looked into.
fn check_bedrock(request: &Value) -> Result<(), Refusal> {
    let tools = request
        .pointer("/toolConfig/tools")
        .map_or(&[][..], |tools| {
            tools
                .as_array()
                .map_or(std::slice::from_ref(tools), Vec::as_slice)
        });
    let kinds = tools.iter().map(|tool| match tool {
        Value::Object(kinds) => kinds
            .keys()
            .find(|kind| !["toolSpec", "cachePoint"].contains(&kind.as_str()))
            .cloned(),
        _ => Some("not an object".to_owned()),
    });
    if let Some(kind) = kinds.flatten().next() {
        let kind = crate::record::bounded(&kind);
        return Err(provider_fetch(&format!("the tool type `{kind}`")));
    }
    let more = request.get("additionalModelRequestFields");
    check_tools(ModelApi::Bedrock, more.and_then(|more| more.get("tools")))?;
    let servers = more.and_then(|more| more.get("mcp_servers"));
    match servers {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(provider_fetch("the field `mcp_servers`")),
    }
}

fn type_of(tool: &Value) -> String {
    match tool.get("type") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => "not text".to_owned(),
    }
}

/// The type of a tool that does not run at the client.
fn anthropic_tool(tool: &Value) -> Option<String> {
    const AT_CLIENT: [&str; 5] = [
        "bash_",
        "text_editor_",
        "computer_",
        "memory_",
        "tool_search_tool_",
    ];
    let kind = type_of(tool);
    let known = matches!(kind.as_str(), "" | "custom")
        || AT_CLIENT.iter().any(|prefix| kind.starts_with(prefix));
    (!known).then_some(kind)
}

fn open_ai_tool(tool: &Value) -> Result<Option<String>, Refusal> {
    let kind = type_of(tool);
    let known = match kind.as_str() {
        "function"
        | "custom"
        | "local_shell"
        | "apply_patch"
        | "tool_search"
        | "image_generation"
        | "computer"
        | "computer_use_preview" => true,
        "shell" => tool
            .pointer("/environment/type")
            .is_some_and(|place| place == "local"),
        // An index at the provider; nothing is fetched.
        "web_search" => tool.get("external_web_access") == Some(&Value::Bool(false)),
        "namespace" => {
            check_tools(ModelApi::OpenAi, tool.get("tools"))?;
            true
        }
        _ => false,
    };
    Ok((!known).then_some(kind))
}

fn gemini_tool(tool: &Value) -> Option<String> {
    let Value::Object(kinds) = tool else {
        return Some("not an object".to_owned());
    };
    let known = ["functionDeclarations", "function_declarations"];
    kinds
        .keys()
        .find(|kind| !known.contains(&kind.as_str()))
        .cloned()
}

/// Fields whose whole content is written by the agent or the model and read
/// as text: prompts, arguments, schemas, results.
fn is_free_form(api: ModelApi, key: &str, value: &Value) -> bool {
    let text = value.is_string() || value.is_array() && key.starts_with("stop");
    match key {
        "content" | "instructions" | "system" | "output" | "title" | "context" | "description"
        | "stop" | "stop_sequences" | "stopSequences" => text,
        "text" | "parameters" | "data" => true,
        _ => match api {
            ModelApi::Anthropic => {
                matches!(
                    key,
                    "input" | "input_schema" | "thinking" | "signature" | "citations"
                )
            }
            ModelApi::OpenAi => {
                matches!(
                    key,
                    "arguments"
                        | "schema"
                        | "action"
                        | "annotations"
                        | "operation"
                        | "encrypted_content"
                        | "definition"
                        | "summary"
                        | "metadata"
                        | "client_metadata"
                ) || key == "input" && text
            }
            ModelApi::Bedrock => matches!(
                key,
                "input" | "input_schema" | "json" | "thinking" | "signature" | "citations"
            ),
            ModelApi::Gemini => matches!(
                key,
                "args"
                    | "response"
                    | "parametersJsonSchema"
                    | "responseSchema"
                    | "responseJsonSchema"
                    | "thoughtSignature"
                    | "thought_signature"
            ),
        },
    }
}

const REFERENCE_KEYS: [&str; 9] = [
    "file_id",
    "fileId",
    "file_url",
    "fileUrl",
    "file_uri",
    "fileUri",
    "server_url",
    "connector_id",
    "vector_store_ids",
];
const SCHEMES: [&str; 6] = ["http://", "https://", "gs://", "s3://", "file:", "ftp://"];

/// Depth is bounded by the parser (128).
fn check_references(api: ModelApi, key: &str, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, value)| !is_free_form(api, key, value))
            .try_for_each(|(key, value)| check_references(api, key, value)),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_references(api, key, item)),
        Value::String(text) if is_reference(key, text) => Err(provider_fetch(&format!(
            "the reference in `{}`",
            crate::record::bounded(key)
        ))),
        _ => Ok(()),
    }
}

fn is_reference(key: &str, text: &str) -> bool {
    let text = text.trim_start();
    let begins = |scheme: &&str| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let inline = text
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    SCHEMES.iter().any(begins) || REFERENCE_KEYS.contains(&key) && !text.is_empty() && !inline
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(api: ModelApi, body: &Value) -> Option<String> {
        inspect(api, body.to_string().as_bytes())
            .err()
            .map(|refusal| refusal.rule.into_owned())
    }

    #[test]
    fn what_agents_send_every_day_passes() {
        let anthropic = json!({ "model": "m", "stream": true, "system": [{ "type": "text", "text": "https://x" }],
            "tools": [{ "name": "Bash", "input_schema": { "url": "https://schema" } }, { "type": "bash_20250124", "name": "b" }],
            "messages": [
                { "role": "user", "content": "https://example.com is broken" },
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "1", "name": "WebFetch", "input": { "url": "https://x" } }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "1", "content": "https://y" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aaaa" } }] }] });
        assert_eq!(rule(ModelApi::Anthropic, &anthropic), None);
        let codex = json!({ "model": "m", "instructions": "https://x", "background": false, "store": false,
            "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "https://x" }] },
                { "type": "function_call", "arguments": "https://", "name": "exec_command", "call_id": "c" },
                { "type": "function_call_output", "output": "https://x", "call_id": "c" },
                { "type": "message", "role": "user", "content": [{ "type": "input_image", "image_url": "data:image/png;base64,aa" }] }],
            "tools": [{ "type": "function", "name": "f", "parameters": {} }, { "type": "custom", "name": "apply_patch" },
                { "type": "web_search", "external_web_access": false }] });
        assert_eq!(rule(ModelApi::OpenAi, &codex), None);
        let gemini = json!({ "contents": [{ "role": "user", "parts": [{ "text": "https://x" },
                { "functionResponse": { "name": "f", "response": { "output": "https://x" } } }] }],
            "tools": [{ "functionDeclarations": [{ "name": "f", "parametersJsonSchema": {} }] }] });
        assert_eq!(rule(ModelApi::Gemini, &gemini), None);
        let converse = json!({ "system": [{ "text": "https://x" }, { "cachePoint": { "type": "default" } }],
            "toolConfig": { "tools": [{ "toolSpec": { "name": "f", "inputSchema": { "json": { "$schema": "https://x" } } } },
                { "cachePoint": { "type": "default" } }] },
            "messages": [{ "role": "user", "content": [{ "text": "https://x" },
                { "image": { "format": "png", "source": { "bytes": "aaaa" } } },
                { "toolResult": { "toolUseId": "1", "content": [{ "json": { "url": "https://x" } }] } }] }] });
        assert_eq!(rule(ModelApi::Bedrock, &converse), None);
        let invoke = json!({ "anthropic_version": "bedrock-2023-05-31", "tools": anthropic["tools"],
            "messages": anthropic["messages"], "system": anthropic["system"] });
        assert_eq!(rule(ModelApi::Bedrock, &invoke), None);
    }

    #[test]
    fn every_way_to_make_the_provider_reach_out_is_refused() {
        use ModelApi::{Anthropic, Bedrock, Gemini, OpenAi};
        let source = |source: Value| json!({ "messages": [{ "role": "user", "content": [{ "type": "document", "source": source }] }] });
        let cases = [
            (
                Anthropic,
                json!({ "tools": [{ "type": "web_fetch_20250910", "name": "f" }] }),
            ),
            (
                Anthropic,
                json!({ "tools": [{ "type": "web_search_20250305", "name": "s" }] }),
            ),
            (
                Anthropic,
                json!({ "tools": [{ "type": "code_execution_20250825", "name": "c" }] }),
            ),
            (
                Anthropic,
                json!({ "tools": [{ "type": "next_years_tool", "name": "c" }] }),
            ),
            (Anthropic, json!({ "tools": [{ "type": ["custom"] }] })),
            (
                Anthropic,
                json!({ "mcp_servers": [{ "type": "url", "url": "https://evil.test" }] }),
            ),
            (
                Anthropic,
                source(json!({ "type": "url", "url": "https://evil.test/?q=secret" })),
            ),
            (Anthropic, source(json!({ "type": "file", "file_id": "f" }))),
            (
                Anthropic,
                json!({ "brand_new": { "callback": " HTTPS://evil.test" } }),
            ),
            (OpenAi, json!({ "tools": [{ "type": "web_search" }] })),
            (
                OpenAi,
                json!({ "tools": [{ "type": "mcp", "server_label": "x" }] }),
            ),
            (
                OpenAi,
                json!({ "tools": [{ "type": "namespace", "tools": [{ "type": "code_interpreter" }] }] }),
            ),
            (
                OpenAi,
                json!({ "tools": [{ "type": "shell", "environment": { "type": "container_auto" } }] }),
            ),
            (OpenAi, json!({ "background": true })),
            (OpenAi, json!({ "web_search_options": {} })),
            (
                OpenAi,
                json!({ "input": [{ "content": [{ "type": "input_image", "image_url": "https://evil.test" }] }] }),
            ),
            (
                OpenAi,
                json!({ "messages": [{ "content": [{ "image_url": { "url": "http://evil.test" } }] }] }),
            ),
            (Gemini, json!({ "tools": [{ "googleSearch": {} }] })),
            (Gemini, json!({ "tools": { "urlContext": {} } })),
            (
                Gemini,
                json!({ "contents": [{ "parts": [{ "fileData": { "fileUri": "x" } }] }] }),
            ),
            (
                Bedrock,
                json!({ "toolConfig": { "tools": [{ "systemTool": { "name": "nova_grounding" } }] } }),
            ),
            (
                Bedrock,
                json!({ "tools": [{ "type": "web_search_20250305", "name": "s" }] }),
            ),
            (
                Bedrock,
                json!({ "additionalModelRequestFields": { "tools": [{ "type": "web_fetch_20250910" }] } }),
            ),
            (
                Bedrock,
                json!({ "additionalModelRequestFields": { "mcp_servers": [{ "name": "x" }] } }),
            ),
            (
                Bedrock,
                json!({ "messages": [{ "content": [{ "document": { "source": { "s3Location": { "uri": "s3://b/k" } } } }] }] }),
            ),
        ];
        for (api, body) in cases {
            let rule = rule(api, &body);
            assert_eq!(rule.as_deref(), Some("net.provider_fetch"), "{body}");
        }
    }

    #[test]
    fn a_body_that_two_parsers_read_differently_is_refused() {
        let body = br#"{"tools":[],"tools":[{"type":"web_fetch_20250910"}]}"#;
        assert_eq!(
            inspect(ModelApi::Anthropic, body).unwrap_err().rule,
            "model.malformed"
        );
        assert_eq!(
            inspect(ModelApi::Anthropic, b"[]").unwrap_err().rule,
            "model.malformed"
        );
    }
}
