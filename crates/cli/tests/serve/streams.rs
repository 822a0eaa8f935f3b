//! What a command prints, as it comes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{
    Server,
    client::Open,
    exec,
    host::{Host, Task, eventually},
    standing,
};

const SERVER_SENT: (&str, &str) = ("accept", "text/event-stream");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");

/// The events of lines of JSON.
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the events say was printed to `stream`.
fn printed(events: &[Value], stream: &str) -> String {
    let of = events.iter().filter(|event| event["stream"] == stream);
    of.map(|event| event["text"].as_str().unwrap()).collect()
}

#[test]
fn events_come_while_the_command_runs() {
    let (_host, task, server) = standing();
    let script = "echo begun; while [ ! -e go ]; do sleep 0.01; done; echo ended >&2; exit 4";
    let mut open = server.open(&exec(&task), &json!({ "shell": script }), &[SERVER_SENT]);
    let (status, headers) = open.head();
    assert_eq!(
        (status, headers["content-type"].as_str()),
        (200, "text/event-stream")
    );
    let first = String::from_utf8(open.chunk().unwrap()).unwrap();
    assert_eq!(
        first,
        "event: output\ndata: {\"event\":\"output\",\"stream\":\"stdout\",\"text\":\"begun\\n\"}\n\n"
    );
    server.exec(&task, "touch go");
    let mut rest = Vec::new();
    while let Some(chunk) = open.chunk() {
        rest.extend(chunk);
    }
    let rest = String::from_utf8(rest).unwrap();
    let (second, last) = rest.split_once("\n\n").unwrap();
    assert!(
        second.contains(r#""stream":"stderr","text":"ended\n""#),
        "{second}"
    );
    let data = last.strip_prefix("event: result\ndata: ").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&data["event"], &data["result"]["exit"]),
        (&json!("result"), &json!(4))
    );
}

#[test]
fn events_are_lines_of_json_if_asked_for_and_their_text_is_clean_and_whole() {
    let (_host, task, server) = standing();
    let script = "printf '\\033[31mgr\\303'; sleep 0.2; printf '\\274n\\033[0m\\r\\n'; \
                  printf '\\033]0;title\\007x\\342\\200\\256y\\n' >&2";
    let answer = server
        .open(&exec(&task), &json!({ "shell": script }), &[LINES])
        .finish();
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let events = events(&answer.body);
    assert_eq!(printed(&events, "stdout"), "grün\n");
    assert_eq!(printed(&events, "stderr"), "xy\n");
    assert_eq!(events.last().unwrap()["event"], "result");
}

#[test]
fn what_is_printed_arrives_within_ten_milliseconds() {
    let (_host, task, server) = standing();
    let script = "for i in {1..40}; do date +%s%N; sleep 0.02; done";
    let mut open = server.open(&exec(&task), &json!({ "shell": script }), &[LINES]);
    open.head();
    let mut delays = Vec::new();
    while let Some(chunk) = open.chunk() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for printed in printed(&events(&String::from_utf8(chunk).unwrap()), "stdout").lines() {
            delays.push(now.saturating_sub(Duration::from_nanos(printed.parse().unwrap())));
        }
    }
    assert_eq!(delays.len(), 40);
    delays.sort();
    // A busy machine may hold up any single one.
    let usual = delays[delays.len() / 4];
    assert!(usual < Duration::from_millis(10), "{delays:?}");
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let (_host, task, server) = standing();
    let script = "seq 1000000";
    let mut open = server.open(&exec(&task), &json!({ "shell": script }), &[LINES]);
    open.head();
    let mut text = Vec::new();
    let begun = Instant::now();
    while let Some(chunk) = open.chunk() {
        // It reads in pieces, and rests between the first of them.
        if begun.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(20));
        }
        text.extend(chunk);
    }
    let events = events(&String::from_utf8(text).unwrap());
    let numbers: String = (1..=1_000_000)
        .map(|number: u32| number.to_string() + "\n")
        .collect();
    assert!(printed(&events, "stdout") == numbers);
    assert_eq!(events.last().unwrap()["result"]["exit"], 0);
}

/// How many mebibytes the command of the test has printed.
fn progress(host: &Host, task: &Task) -> u64 {
    let (_, text) = host.exec(task, "cat progress 2>/dev/null || echo 0");
    text.trim().parse().unwrap_or(0)
}

/// Runs what prints without end, for a reader that has stopped, until it stands
/// still; how far it came, in MiB.
fn unread(host: &Host, task: &Task, server: &Server) -> (Open, u64) {
    let script = "i=0; while head -c 1048576 /dev/zero | tr '\\0' x; do \
                  i=$((i+1)); echo $i > progress.new; mv progress.new progress; done";
    let open = server.open(&exec(task), &json!({ "shell": script }), &[SERVER_SENT]);
    // It stands still once whatever is between the two is full.
    let (mut last, mut same) = (u64::MAX, 0);
    eventually("the command waits for its reader", || {
        let now = progress(host, task);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= 20
    });
    (open, last)
}

#[test]
fn a_reader_that_stops_makes_the_command_wait_and_the_server_stays_small() {
    let (host, task, server) = standing();
    server.exec(&task, "true");
    let before = server.memory();
    let (open, printed) = unread(&host, &task, &server);
    assert!(printed < 8, "{printed} MiB were printed for nobody");
    let more = server.memory().saturating_sub(before);
    assert!(more < 4 * 1024, "the server has grown by {more} KiB");
    // Others are served meanwhile.
    assert_eq!(server.exec(&task, "echo here")["output"]["text"], "here\n");
    drop(open);
    eventually("the command has ended", || {
        server.get("/v1/health").done(200)["commands"] == 0
    });
}

#[test]
fn who_comes_while_last_words_are_still_said_hears_that_the_sandbox_is_stopped() {
    let (host, task, server) = standing();
    let (open, _) = unread(&host, &task, &server);
    host.json(&["stop", &task.id]);
    let late = server.post(&exec(&task), &json!({ "argv": ["true"] }));
    let problem = late.problem(409, "not-running");
    assert_eq!(problem["detail"], "the sandbox is stopped");
    drop(open);
}

#[test]
fn what_cannot_start_is_a_plain_problem() {
    let (_host, task, server) = standing();
    let refused = server.open(&exec(&task), &json!({}), &[SERVER_SENT]);
    refused.finish().problem(400, "invalid");
    let session = server.session(&task, &json!({}));
    server.run(&session, "exit");
    let over = server.open(
        &format!("{session}/exec"),
        &json!({ "shell": "true" }),
        &[LINES],
    );
    over.finish().problem(410, "session-over");
}

#[test]
fn texts_of_sessions_are_streamed_too_and_the_session_goes_on() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let path = format!("{session}/exec");
    for number in 0..3 {
        let text = json!({ "shell": format!("n=$((n + 1)); echo $n; (exit {number})") });
        let body = server.open(&path, &text, &[LINES]).finish().body;
        let events = events(&body);
        assert_eq!(printed(&events, "stdout"), format!("{}\n", number + 1));
        assert_eq!(events.last().unwrap()["result"]["exit"], number);
    }
    assert_eq!(server.run(&session, "echo $n")["stdout"]["text"], "3\n");
}

#[test]
fn the_end_of_a_sandbox_is_the_last_event() {
    let (_host, task, server) = standing();
    let script = json!({ "shell": "echo begun; sleep 1000" });
    let mut open = server.open(&exec(&task), &script, &[LINES]);
    open.head();
    assert!(open.chunk().is_some());
    server
        .delete(&format!("/v1/sandboxes/{}", task.id))
        .done(200);
    let mut last = Vec::new();
    while let Some(chunk) = open.chunk() {
        last = chunk;
    }
    let last = events(&String::from_utf8(last).unwrap()).remove(0);
    assert_eq!(last["event"], "problem");
    assert_eq!(last["problem"]["type"], "urn:stockade:problem:not-running");
}

#[test]
fn a_request_without_a_known_kind_gets_one_document() {
    let (_host, task, server) = standing();
    let body = json!({ "argv": ["true"] });
    for accept in ["*/*", "text/html", "application/json"] {
        let answer = server.open(&exec(&task), &body, &[("accept", accept)]);
        assert_eq!(Open::finish(answer).done(200)["exit"], 0, "{accept}");
    }
}
