//! Frames of HTTP/2 that no client library would send.

use http::Request;
use http_body_util::Full;
use stockade_types::EventKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{raw::*, support::*};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals without indexing, Huffman or otherwise clever
/// (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", SITE),
    (":path", "/"),
];

/// A connection whose preface and settings were sent.
async fn connect(gateway: &Harness) -> TlsStream<TcpStream> {
    let mut stream = gateway.tls(SITE, SITE, &["h2"]).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// What the gateway did about a stream, or about all of them.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Headers,
    Reset,
    GoneAway,
}

/// The first of these that arrives.
async fn answer(stream: &mut TlsStream<TcpStream>) -> Answer {
    let read = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return Answer::GoneAway;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut payload).await.is_err() {
                return Answer::GoneAway;
            }
            match head[3] {
                HEADERS => return Answer::Headers,
                RST_STREAM => return Answer::Reset,
                GOAWAY => return Answer::GoneAway,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, read).await.unwrap()
}

/// A request like any other is still answered.
async fn still_serves(gateway: &Harness) {
    let request = Request::get(format!("https://{SITE}/still"))
        .body(Full::default())
        .unwrap();
    let reply = gateway.send_h2(SITE, request).await;
    assert_eq!(text(reply).await.1, "fine");
}

#[tokio::test]
async fn g2_fields_that_would_read_differently_in_http1_are_refused() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
    let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let instead = |name: &str, value: &'static str| {
        GET.map(|field| {
            if field.0 == name {
                (field.0, value)
            } else {
                field
            }
        })
        .to_vec()
    };
    let without = |name: &str| {
        let kept = GET.into_iter().filter(|field| field.0 != name);
        kept.collect::<Vec<_>>()
    };
    for fields in [
        with(&[("host", "other.test")]),
        with(&[(":authority", "other.test")]),
        with(&[(":authority", SITE)]),
        with(&[(":path", "/other")]),
        with(&[(":unknown", "x")]),
        with(&[("x-a", "b\r\nhost: other.test")]),
        with(&[("x-a", "b\nc")]),
        with(&[("x-a", "b\0c")]),
        with(&[("x-a: b\r\nx-c", "d")]),
        with(&[("X-Upper", "x")]),
        with(&[("x a", "b")]),
        with(&[("", "b")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "close")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "1")]),
        instead(":path", "/ HTTP/1.1\r\nhost: other.test\r\n\r\n"),
        instead(":path", "/a b"),
        instead(":path", "a"),
        instead(":path", ""),
        instead(":path", "*"),
        instead(":path", "https://other.test/"),
        instead(":method", "CONNECT"),
        instead(":method", "G ET"),
        instead(":method", ""),
        instead(":scheme", "http"),
        instead(":scheme", "file"),
        instead(":authority", "other.test"),
        instead(":authority", "user@site.test"),
        instead(":authority", "site.test:80"),
        without(":authority"),
        without(":path"),
        without(":method"),
        without(":scheme"),
    ] {
        let mut stream = connect(&gateway).await;
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields));
        stream.write_all(&request).await.unwrap();
        answer(&mut stream).await;
        assert_eq!(upstream.heard(), "", "{fields:?}");
    }
    // Pseudo-fields after others.
    let late = [&[("x-a", "b")], &GET[..]].concat();
    let mut stream = connect(&gateway).await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&late));
    stream.write_all(&request).await.unwrap();
    assert_ne!(answer(&mut stream).await, Answer::Headers);
    assert_eq!(upstream.heard(), "");
    // The control: the same by the same means, in order.
    let mut stream = connect(&gateway).await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET));
    stream.write_all(&request).await.unwrap();
    assert_eq!(answer(&mut stream).await, Answer::Headers);
    assert!(upstream.heard().starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn g2_a_head_without_an_end_is_cut_off() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let mut stream = connect(&gateway).await;
    let mut sent = frame(HEADERS, END_STREAM, 1, &block(&GET));
    let filler = block(&[("x-filler", "f".repeat(100).as_str()); 100]);
    for _ in 0..20_000 {
        sent.extend(frame(CONTINUATION, 0, 1, &filler));
        if stream.write_all(&sent).await.is_err() {
            break;
        }
        sent.clear();
    }
    assert_eq!(answer(&mut stream).await, Answer::GoneAway);
    assert_eq!(upstream.heard(), "");
    still_serves(&gateway).await;
}

#[tokio::test]
async fn g2_streams_that_are_opened_and_reset_end_the_connection() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let mut stream = connect(&gateway).await;
    let request = block(&GET);
    let mut sent = 0_u32;
    for batch in 0..1000_u32 {
        let mut bytes = Vec::new();
        for index in 0..100 {
            let id = 2 * (batch * 100 + index) + 1;
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, id, &request));
            bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        }
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
        sent += 100;
    }
    // Of a hundred thousand only a few were ever looked at.
    while answer(&mut stream).await != Answer::GoneAway {}
    let passed = upstream.heard().matches("GET /").count();
    assert!(passed < 1000, "{passed} of {sent}");
    still_serves(&gateway).await;
}

#[tokio::test]
async fn g2_of_streams_that_stay_open_only_a_few_are_taken() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["POST site.test", SITE]));
    let mut stream = connect(&gateway).await;
    let mut open = GET;
    open[0].1 = "POST";
    let request = block(&open);
    // Without an end each waits for its body.
    for id in 0..200_u32 {
        let bytes = frame(HEADERS, END_HEADERS, 2 * id + 1, &request);
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    assert_ne!(answer(&mut stream).await, Answer::Headers);
    assert_eq!(upstream.heard(), "");
    still_serves(&gateway).await;
}

#[tokio::test]
async fn g2_requests_under_way_are_bounded_over_all_connections() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["GET,POST site.test"]));
    let mut post = GET;
    post[0].1 = "POST";
    let mut connections = Vec::new();
    // 9 connections with 64 requests each, of which all wait for their bodies.
    for _ in 0..9 {
        let mut stream = connect(&gateway).await;
        for id in 0..64_u32 {
            let bytes = frame(HEADERS, END_HEADERS, 2 * id + 1, &block(&post));
            stream.write_all(&bytes).await.unwrap();
        }
        connections.push(stream);
    }
    let event = gateway.event(EventKind::Denied).await;
    assert_eq!(event["rule"], "http.requests-at-once");
    assert_eq!(upstream.heard(), "");
    drop(connections);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = Request::get(format!("https://{SITE}/again"));
        let request = request.body(Full::default()).unwrap();
        if gateway.send_h2(SITE, request).await.status().is_success() {
            break;
        }
        assert!(Instant::now() < deadline, "no place became free");
    }
}
