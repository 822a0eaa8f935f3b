//! What anything inside may do at the address where hooks tell tool calls.

use std::net::SocketAddr;

use stockade_types::{
    EventKind,
    hook::{ADDRESS, Answer, EVENT_MAX, HEAD_SIZE, REFUSED, told},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{Harness, PATIENCE, settings};

/// No model is asked for anything here.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What is answered to `bytes`, before the connection ends.
async fn answered(harness: &Harness, bytes: &[u8]) -> Vec<u8> {
    let mut stream = harness.dial(SocketAddr::V4(ADDRESS)).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer));
    // A connection that is reset has answered nothing.
    drop(read.await.unwrap());
    answer
}

async fn heard(harness: &Harness, agent: &str, event: &str) -> Option<Answer> {
    let told = told(agent, event.as_bytes()).unwrap();
    Answer::decode(&answered(harness, &told).await)
}

#[tokio::test]
async fn a_tool_call_is_told_as_it_came_and_answered() {
    let harness = Harness::start(settings(NOWHERE));
    let answer = heard(&harness, "codex", "{\"tool_name\":1}").await.unwrap();
    assert_eq!(
        (answer.code, &*answer.output, &*answer.error),
        (0, "codex", "{\"tool_name\":1}")
    );
    // Nothing of it is a request, or is refused.
    assert_eq!(harness.events(EventKind::NetworkRequest).len(), 0);
    assert_eq!(harness.events(EventKind::Denied).len(), 0);
}

#[tokio::test]
async fn g8_what_is_not_told_as_agreed_gets_no_answer() {
    let harness = Harness::start(settings(NOWHERE));
    let mut announces_too_much = told("codex", b"").unwrap();
    let length = u32::try_from(EVENT_MAX + 1).unwrap().to_be_bytes();
    announces_too_much[HEAD_SIZE - 4..HEAD_SIZE].copy_from_slice(&length);
    let request = b"GET / HTTP/1.1\r\nHost: hook\r\n\r\n".to_vec();
    let no_name = [
        told("xx", b"").unwrap()[..HEAD_SIZE].to_vec(),
        vec![0xff; 2],
    ]
    .concat();
    for bytes in [announces_too_much, request, no_name] {
        assert_eq!(answered(&harness, &bytes).await, b"");
    }
    // The next one is heard.
    assert!(heard(&harness, "codex", "{}").await.is_some());
}

#[tokio::test]
async fn g8_a_flood_is_answered_by_a_no_and_counted() {
    let harness = Harness::start(settings(NOWHERE));
    let mut refused = 0;
    for _ in 0..400 {
        let answer = heard(&harness, "codex", "{}").await.unwrap();
        refused += u32::from(answer.code == REFUSED && answer.error.contains("hook.rate"));
    }
    assert!(refused > 0, "every one was judged");
    let recorded = harness.events(EventKind::Denied);
    assert_eq!(recorded.len(), usize::try_from(refused).unwrap());
    assert_eq!(recorded[0]["rule"], "hook.rate");
}
