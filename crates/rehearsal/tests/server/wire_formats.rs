//! Each wire format, read back as a strict client of that API would.

use crate::http_client::{Answer, ask, server};
use serde_json::{Value, json};

/// The events of a stream: name and data.
fn events(answer: &Answer) -> Vec<(Option<String>, String)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
    let text = answer.text();
    assert!(text.ends_with("\n\n"));
    let block = |block: &str| {
        let mut name = None;
        let mut data = None;
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => assert!(data.replace(value.to_owned()).is_none()),
                _ => panic!("not a line of server-sent events: {line}"),
            }
        }
        (name, data.unwrap())
    };
    text.trim_end().split("\n\n").map(block).collect()
}

fn parsed(events: &[(Option<String>, String)]) -> Vec<Value> {
    events
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect()
}

fn anthropic_request(stream: bool, messages: &Value) -> Value {
    json!({"model": "claude-x", "stream": stream, "messages": messages, "tools": [{"name": "Bash",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}]})
}

/// What an Anthropic client makes of a stream: the message it adds up to.
fn add_up_anthropic(events: &[(Option<String>, String)]) -> Value {
    let mut message = Value::Null;
    let mut partial = String::new();
    for ((name, _), event) in events.iter().zip(parsed(events)) {
        assert_eq!(name.as_deref(), event["type"].as_str());
        let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "ping" | "message_stop" => {}
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), index);
                content.push(event["content_block"].clone());
                partial.clear();
            }
            "content_block_delta" => match event["delta"]["type"].as_str().unwrap() {
                "text_delta" => partial.push_str(event["delta"]["text"].as_str().unwrap()),
                "input_json_delta" => {
                    partial.push_str(event["delta"]["partial_json"].as_str().unwrap());
                }
                other => panic!("unknown delta {other}"),
            },
            "content_block_stop" => {
                let block = &mut message["content"][index];
                if block["type"] == "text" {
                    block["text"] = json!(partial);
                } else {
                    block["input"] = serde_json::from_str(&partial).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            other => panic!("unknown event {other}"),
        }
    }
    assert_eq!(events.last().unwrap().0.as_deref(), Some("message_stop"));
    message
}

#[tokio::test]
async fn an_anthropic_stream_adds_up_to_the_whole_message() {
    let server = server().await;
    let messages = json!([{"role": "user", "content": "go"}]);
    let whole = ask(
        &server,
        "/v1/messages",
        &anthropic_request(false, &messages),
    )
    .await
    .json();
    let streamed = ask(
        &server,
        "/v1/messages?beta=true",
        &anthropic_request(true, &messages),
    )
    .await;
    let mut added = add_up_anthropic(&events(&streamed));
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(
        whole["content"][1]["input"],
        json!({"command": "printf 'a b\\n'"})
    );
    assert_eq!(whole["usage"]["input_tokens"], 1300);
    assert_eq!(whole["usage"]["cache_read_input_tokens"], 6000);
    assert_eq!(whole["usage"]["cache_creation_input_tokens"], 5000);
    assert_eq!(whole["usage"]["output_tokens"], 340);
    // Ids differ from answer to answer; nothing else may.
    added["id"] = whole["id"].clone();
    added["content"][1]["id"] = whole["content"][1]["id"].clone();
    assert_eq!(added, whole);
}

#[tokio::test]
async fn the_next_turn_is_told_from_the_history_and_its_expectation_is_checked() {
    let server = server().await;
    for (result, failures) in [("a b", 0), ("c", 2)] {
        let messages = json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_turn0_00000000", "name": "Bash", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_turn0_00000000",
                "content": [{"type": "text", "text": result}]}]}]);
        let answer = ask(
            &server,
            "/v1/messages",
            &anthropic_request(false, &messages),
        )
        .await
        .json();
        assert_eq!(
            answer["content"],
            json!([{"type": "text", "text": "Done."}])
        );
        assert_eq!(answer["stop_reason"], "end_turn");
        let outcomes = server.transcript().outcomes();
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].label.as_deref(), Some("first"));
        assert_eq!(outcomes[0].failures.len(), failures, "{outcomes:?}");
    }
    assert_eq!(server.transcript().failed_outcomes().len(), 1);
}

#[tokio::test]
async fn a_responses_stream_ends_with_the_whole_response() {
    let server = server().await;
    let body = |stream: bool| {
        json!({"model": "gpt-x", "stream": stream, "input": [{"type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "go"}]}],
            "tools": [{"type": "function", "name": "exec_command", "parameters":
                {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]}},
                {"type": "web_search"}]})
    };
    let whole = ask(&server, "/v1/responses", &body(false)).await.json();
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["usage"]["input_tokens"], 12_300);
    assert_eq!(
        whole["usage"]["input_tokens_details"]["cached_tokens"],
        6000
    );
    assert_eq!(whole["usage"]["output_tokens"], 340);
    assert_eq!(
        whole["usage"]["output_tokens_details"]["reasoning_tokens"],
        40
    );
    assert_eq!(whole["usage"]["total_tokens"], 12_640);

    let streamed = events(&ask(&server, "/v1/responses", &body(true)).await);
    let parsed = parsed(&streamed);
    let mut text = String::new();
    let mut arguments = String::new();
    let mut done = Vec::new();
    for (number, event) in parsed.iter().enumerate() {
        assert_eq!(event["sequence_number"], json!(number));
        assert_eq!(streamed[number].0.as_deref(), event["type"].as_str());
        match event["type"].as_str().unwrap() {
            "response.output_text.delta" => text.push_str(event["delta"].as_str().unwrap()),
            "response.function_call_arguments.delta" => {
                arguments.push_str(event["delta"].as_str().unwrap());
            }
            "response.output_item.done" => done.push(event["item"].clone()),
            _ => {}
        }
    }
    let last = &parsed.last().unwrap()["response"];
    assert_eq!(parsed.last().unwrap()["type"], "response.completed");
    assert_eq!(last["output"], json!(done));
    assert_eq!(done[0]["content"][0]["text"], json!(text));
    assert_eq!(done[1]["arguments"], json!(arguments));
    assert_eq!(done[1]["name"], "exec_command");
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(
        serde_json::from_str::<Value>(&arguments).unwrap(),
        json!({"cmd": "printf 'a b\\n'"})
    );

    // A history as Codex sends it back.
    let mut next = body(false);
    next["input"].as_array_mut().unwrap().extend([
        done[0].clone(),
        done[1].clone(),
        json!({"type": "function_call_output", "call_id": done[1]["call_id"], "output": "a b\n"}),
    ]);
    let answer = ask(&server, "/v1/responses", &next).await.json();
    assert_eq!(answer["output"][0]["content"][0]["text"], "Done.");
    assert!(server.transcript().failed_outcomes().is_empty());
    assert_eq!(server.transcript().outcomes().len(), 1);
}

#[tokio::test]
async fn a_chat_stream_adds_up_and_reports_usage_only_if_asked() {
    let server = server().await;
    let body = |stream: bool, usage: bool| {
        json!({"model": "m", "stream": stream, "stream_options": {"include_usage": usage},
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "go"}],
            "tools": [{"type": "function", "function": {"name": "bash", "parameters":
                {"type": "object", "properties": {"command": {"type": "string"}}}}}]})
    };
    let whole = ask(&server, "/v1/chat/completions", &body(false, false))
        .await
        .json();
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(whole["usage"]["prompt_tokens"], 12_300);
    assert_eq!(whole["usage"]["completion_tokens"], 340);
    for usage in [true, false] {
        let streamed = events(&ask(&server, "/v1/chat/completions", &body(true, usage)).await);
        let (end, chunks) = streamed.split_last().unwrap();
        assert_eq!(end, &(None, "[DONE]".to_owned()));
        let chunks = parsed(chunks);
        let (mut text, mut arguments, mut finish, mut reported) =
            (String::new(), String::new(), None, Value::Null);
        for chunk in &chunks {
            if !chunk["usage"].is_null() {
                assert_eq!(chunk["choices"], json!([]));
                reported = chunk["usage"].clone();
                continue;
            }
            let choice = &chunk["choices"][0];
            text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            let part = &choice["delta"]["tool_calls"][0]["function"]["arguments"];
            arguments.push_str(part.as_str().unwrap_or_default());
            finish = choice["finish_reason"].as_str().or(finish);
        }
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], json!(text));
        assert_eq!(
            message["tool_calls"][0]["function"]["arguments"],
            json!(arguments)
        );
        assert_eq!(finish, Some("tool_calls"));
        assert_eq!(
            reported,
            if usage {
                whole["usage"].clone()
            } else {
                Value::Null
            }
        );
    }
}

#[tokio::test]
async fn a_gemini_stream_adds_up_and_its_last_chunk_reports_usage() {
    let server = server().await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "go"}]}],
        "tools": [{"functionDeclarations": [{"name": "run_shell_command", "parametersJsonSchema":
            {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}]}]});
    let model = "/v1beta/models/gemini-x";
    let whole = ask(&server, &format!("{model}:generateContent"), &body)
        .await
        .json();
    let usage = &whole["usageMetadata"];
    assert_eq!(usage["promptTokenCount"], 12_300);
    assert_eq!(usage["candidatesTokenCount"], 300);
    assert_eq!(usage["thoughtsTokenCount"], 40);
    assert_eq!(usage["totalTokenCount"], 12_640);
    let streamed = ask(
        &server,
        &format!("{model}:streamGenerateContent?alt=sse"),
        &body,
    )
    .await;
    let streamed = parsed(&events(&streamed));
    let array = ask(&server, &format!("{model}:streamGenerateContent"), &body)
        .await
        .json();
    assert_eq!(array.as_array().unwrap().len(), streamed.len());
    let parts: Vec<Value> = streamed
        .iter()
        .flat_map(|chunk| {
            chunk["candidates"][0]["content"]["parts"]
                .as_array()
                .unwrap()
                .clone()
        })
        .collect();
    let text: String = parts
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    let expected = whole["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap();
    assert_eq!(expected[0]["text"], json!(text));
    assert_eq!(
        expected[1]["functionCall"]["args"],
        parts.last().unwrap()["functionCall"]["args"]
    );
    let last = streamed.last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"], *usage);
    assert!(streamed[0]["usageMetadata"].is_null());

    // Gemini CLI drops the ids of calls.
    let mut next = body;
    next["contents"].as_array_mut().unwrap().extend([
        json!({"role": "model", "parts": [{"functionCall": {"name": "run_shell_command", "args": {}}}]}),
        json!({"role": "user", "parts": [{"functionResponse": {"name": "run_shell_command", "response": {"output": "a b"}}}]}),
    ]);
    let answer = ask(&server, &format!("{model}:generateContent"), &next)
        .await
        .json();
    assert_eq!(
        answer["candidates"][0]["content"]["parts"],
        json!([{"text": "Done."}])
    );
    assert!(server.transcript().failed_outcomes().is_empty());
}
