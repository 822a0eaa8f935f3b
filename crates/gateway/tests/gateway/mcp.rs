//! What anything inside may do at the address where MCP servers are asked for.

use std::net::SocketAddr;

use stockade_types::{
    EventKind,
    mcp::{ADDRESS, asked},
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

#[tokio::test]
async fn who_wants_a_server_is_handed_on_with_its_name() {
    let harness = Harness::start(settings(NOWHERE));
    let answer = answered(&harness, &asked("files").unwrap()).await;
    assert_eq!(answer, b"files");
    assert_eq!(harness.events(EventKind::NetworkRequest).len(), 0);
}

#[tokio::test]
async fn g8_what_does_not_say_which_server_as_agreed_gets_no_answer() {
    let harness = Harness::start(settings(NOWHERE));
    let mut too_long = asked("files").unwrap();
    too_long[4] = 0xff;
    let mut no_text = asked("files").unwrap();
    no_text[6] = 0xff;
    for bytes in [too_long, no_text, b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        assert_eq!(answered(&harness, &bytes).await, b"");
    }
}
