use super::{super::tests::record, *};

fn spans(lines: &[String]) -> Vec<Value> {
    let mut spans = Vec::new();
    for line in lines {
        let message: Value = serde_json::from_str(line).unwrap();
        let of_line = &message["resourceSpans"][0]["scopeSpans"][0]["spans"];
        spans.extend(of_line.as_array().unwrap().iter().cloned());
    }
    spans
}

fn exported(records: &[Record]) -> Vec<Value> {
    let mut all = Spans::new("stockade/m", "t");
    let mut lines = Vec::new();
    for record in records {
        all.add(record, true);
        lines.extend(all.full_line());
    }
    lines.extend(all.finish());
    spans(&lines)
}

fn attribute<'s>(span: &'s Value, key: &str) -> &'s Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    &found.unwrap_or(&Value::Null)["value"]
}

fn task() -> Vec<Record> {
    let started = json!({
        "contract": { "agent": { "name": "codex" } }, "task": { "model": "m-1" },
    });
    let model = json!({ "request": 0, "rule": "network.model", "host": "api.openai.com", "port": 443, "method": "POST" });
    let mut answered = model.clone();
    answered["status"] = json!(200);
    answered["usage"] = json!({ "input": 5, "cache_read": 7, "cache_write": 0, "output": 3 });
    let other = json!({ "request": 1, "rule": "network.allow", "host": "a.test", "port": 443, "method": "GET", "path": "/x" });
    let mut failed = other.clone();
    failed["status"] = json!(503);
    [
        (EventKind::TaskStarted, started),
        (
            EventKind::ExecStarted,
            json!({ "exec": 1, "argv": ["/bin/ls", "-l"] }),
        ),
        (EventKind::NetworkRequest, model),
        (EventKind::NetworkRequest, other),
        (EventKind::NetworkOutcome, failed),
        (EventKind::NetworkOutcome, answered),
        (EventKind::ExecEnded, json!({ "exec": 1, "exit": 2 })),
        (EventKind::Denied, json!({ "rule": "x" })),
        (
            EventKind::ExecStarted,
            json!({ "exec": 2, "argv": ["true"] }),
        ),
    ]
    .into_iter()
    .zip(0..)
    .map(|((kind, body), seq)| record(seq, kind, body))
    .collect()
}

#[test]
fn commands_requests_and_the_task_are_spans_of_one_trace_with_documented_names() {
    let spans = exported(&task());
    let names: Vec<_> = spans
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    let expected = [
        "GET",
        "chat m-1",
        "execute_tool ls",
        "execute_tool true",
        "invoke_agent codex",
    ];
    assert_eq!(names, expected);
    let root = spans.last().unwrap();
    for span in &spans {
        assert_eq!(span["traceId"], root["traceId"]);
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
        let is_root = span["spanId"] == root["spanId"];
        assert_eq!(is_root, span["parentSpanId"].is_null());
        assert!(is_root || span["parentSpanId"] == root["spanId"]);
    }
    let chat = &spans[1];
    assert_eq!(
        attribute(chat, "gen_ai.provider.name")["stringValue"],
        "openai"
    );
    assert_eq!(
        attribute(chat, "gen_ai.usage.input_tokens")["intValue"],
        "12"
    );
    assert_eq!(chat["status"], json!({}));
    assert_eq!(spans[0]["status"]["code"], FAILED);
    assert_eq!(attribute(&spans[2], "process.exit.code")["intValue"], "2");
    let words = &attribute(&spans[2], "process.command_args")["arrayValue"]["values"];
    assert_eq!(words[1]["stringValue"], "-l");
    assert_eq!(
        attribute(&spans[3], "stockade.outcome")["stringValue"],
        "missing"
    );
    let events: Vec<_> = root["events"].as_array().unwrap().iter().collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["name"], "stockade.denied");
    assert_eq!(attribute(events[1], "stockade.record")["stringValue"], "7");
}

#[test]
fn long_logs_are_several_lines_and_no_span_is_lost_or_told_twice() {
    let many: Vec<_> = (0..2000)
        .map(|seq| {
            let kind = if seq % 2 == 0 {
                EventKind::ExecStarted
            } else {
                EventKind::ExecEnded
            };
            record(
                seq,
                kind,
                json!({ "exec": seq / 2, "argv": ["a"], "exit": 0 }),
            )
        })
        .collect();
    let spans = exported(&many);
    let mut numbers: Vec<_> = spans
        .iter()
        .map(|span| span["spanId"].to_string())
        .collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!((spans.len(), numbers.len()), (1001, 1001));
}
