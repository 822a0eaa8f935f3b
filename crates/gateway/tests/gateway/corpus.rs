//! Inputs that are kept because parsers stumble over their like, each sent to a
//! gateway as an attacker would: it refuses or passes on what it should, and
//! goes on.

use std::path::Path;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::StreamBody;
use hyper::body::Frame;
use stockade_gateway::HostRule;
use stockade_types::EventKind;
use tokio::{io::AsyncWriteExt, net::UdpSocket};

use crate::{frames::Frames, raw::*, support::*};

/// The inputs of a file, each after the line that it stands in.
fn inputs(name: &str) -> Vec<(usize, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let lines = text.lines().enumerate();
    let inputs: Vec<_> = lines
        .filter(|(_, line)| !line.starts_with('#'))
        .map(|(number, line)| (number + 1, bytes(line)))
        .collect();
    assert!(inputs.len() >= 20, "{name}");
    inputs
}

/// What a line says: `\xNN`, `\r`, `\n` and `\\` are bytes, `⟨N×TEXT⟩` is a
/// text N times.
fn bytes(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if first == '⟨' {
            let (repeated, after) = rest[first.len_utf8()..].split_once('⟩').unwrap();
            let (times, text) = repeated.split_once('×').unwrap();
            bytes.extend(self::bytes(text).repeat(times.parse().unwrap()));
            rest = after;
            continue;
        }
        let (byte, length) = match rest.get(..2) {
            Some("\\x") => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            Some("\\r") => (b'\r', 2),
            Some("\\n") => (b'\n', 2),
            Some("\\\\") => (b'\\', 2),
            _ => {
                bytes.extend(first.to_string().bytes());
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

#[tokio::test]
async fn kept_datagrams_do_not_stop_the_names() {
    let gateway = Harness::start(settings("http://127.0.0.1:1"));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let before = gateway.look_up("a.test").await;
    for (_, datagram) in inputs("names.txt") {
        socket.send_to(&datagram, gateway.dns).await.unwrap();
        // Its answer comes after whatever there is to the datagram.
        assert_eq!(gateway.look_up("a.test").await, before);
    }
    let mut answer = [0; 2048];
    while let Ok(length) = socket.try_recv(&mut answer) {
        assert!((12..=512).contains(&length), "{length}");
    }
}

#[tokio::test]
async fn kept_hellos_lead_to_nobody() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
    let address = (gateway.look_up(SITE).await, 443).into();
    for (line, hello) in inputs("hellos.txt") {
        let mut stream = gateway.dial(address).await;
        drop(stream.write_all(&hello).await);
        drop(stream.shutdown().await);
        let reply = read_all(&mut stream).await;
        // At most an alert, never the next message of a handshake.
        assert!(!reply.starts_with('\u{16}'), "line {line}: {reply:?}");
    }
    assert_eq!(upstream.heard(), "");
    let fine = b"GET / HTTP/1.1\r\nhost: site.test\r\nconnection: close\r\n\r\n";
    assert!(over_tls(&gateway, SITE, fine).await.contains("fine"));
}

#[tokio::test]
async fn g2_kept_heads_are_refused_and_reach_nobody() {
    for (line, head) in inputs("heads.txt") {
        let upstream = RawUpstream::saying(FINE).await;
        let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
        let reply = over_tls(&gateway, SITE, &head).await;
        assert!(
            reply.is_empty() || reply.starts_with("HTTP/1.1 4"),
            "line {line}: {reply}"
        );
        assert_eq!(upstream.heard(), "", "line {line}");
    }
}

#[tokio::test]
async fn g2_kept_bodies_are_refused_and_reach_no_model() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    for (line, body) in inputs("bodies.txt") {
        let mut request = message("");
        let length = body.len().into();
        request.headers_mut().insert("content-length", length);
        *request.body_mut() = body.into();
        let (status, reply) = text(gateway.send(HOST, request).await).await;
        assert!(status.is_client_error(), "line {line}: {status} {reply}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn kept_events_pass_as_they_are_and_are_measured_or_not() {
    for (line, events) in inputs("events.txt") {
        let said = events.clone();
        let upstream = UpstreamServer::start(move |_| {
            let pieces: Vec<_> = said.chunks(1000).map(Bytes::copy_from_slice).collect();
            let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
            let body = StreamBody::new(Frames(frames.collect::<Vec<_>>().into_iter()));
            let mut reply = text_reply("text/event-stream", "");
            *reply.body_mut() = http_body_util::BodyExt::boxed_unsync(body);
            async move { reply }
        })
        .await;
        let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
        let (status, body) = text(gateway.send(HOST, message("{}")).await).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body == String::from_utf8_lossy(&events), "line {line}");
        let outcome = gateway.event(EventKind::NetworkOutcome).await;
        assert_eq!(outcome["ended"], "complete", "line {line}");
    }
}

#[test]
fn kept_rules_are_none() {
    for (line, rule) in inputs("rules.txt") {
        let rule = String::from_utf8(rule).unwrap();
        let read = rule.parse::<HostRule>();
        assert!(read.is_err(), "line {line}: {rule:?} is read as {read:?}");
    }
}
