//! Whatever is not a listed request to a model host is refused with a reason.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use stockade_types::{Denial, EventKind};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{frames::Frames, raw::read_all, support::*};

const BODY: &str = r#"{"model":"m","messages":[]}"#;

/// A gateway whose upstream must never be reached.
async fn closed_gateway() -> (
    UpstreamServer,
    Harness,
    std::sync::Arc<std::sync::Mutex<Vec<Seen>>>,
) {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    (upstream, gateway, seen)
}

async fn refused(request: Request<Full<Bytes>>) -> (StatusCode, Value, Value) {
    let (_upstream, gateway, seen) = closed_gateway().await;
    let (status, body) = json(gateway.send(HOST, request).await).await;
    assert!(seen.lock().unwrap().is_empty(), "it reached the upstream");
    assert!(gateway.events(EventKind::NetworkRequest).is_empty());
    let event = gateway.event(EventKind::Denied).await;
    assert_eq!(event["rule"], body["rule"]);
    (status, body, event)
}

#[tokio::test]
async fn g2_an_unknown_host_gets_a_sentence_over_tls() {
    let (_upstream, gateway, _) = closed_gateway().await;
    let request = Request::get("/secret?x=1")
        .header("host", "evil.test")
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = gateway.send("evil.test", request).await;
    assert_eq!(reply.headers()["x-stockade-reason"], "network.default-deny");
    let (status, body) = text(reply).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let denial: Denial = serde_json::from_str(&body).unwrap();
    assert_eq!(denial.rule, "network.default-deny");
    assert!(denial.to_string().contains("evil.test:443"), "{denial}");
    let event = gateway.event(EventKind::Denied).await;
    assert_eq!(
        (&event["host"], &event["path"]),
        (&"evil.test".into(), &"/secret".into())
    );
    assert!(event.get("alarm").is_none());
}

#[tokio::test]
async fn g2_plain_http_is_refused_with_the_same_sentence() {
    let (_upstream, gateway, _) = closed_gateway().await;
    for (name, rule) in [
        ("evil.test", "network.default-deny"),
        (HOST, "network.port"),
    ] {
        let address = SocketAddr::new(gateway.look_up(name).await, 80);
        let mut stream = gateway.dial(address).await;
        let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let reply = read_all(&mut stream).await;
        assert!(
            reply.starts_with("HTTP/1.1 403 ") && reply.contains(rule),
            "{reply}"
        );
    }
}

#[tokio::test]
async fn g2_addresses_are_refused_whatever_is_spoken() {
    let (_upstream, gateway, _) = closed_gateway().await;
    for address in [
        "1.2.3.4:80",
        "169.254.169.254:80",
        "127.0.0.1:80",
        "198.18.200.200:80",
        "[2001:db8::1]:80",
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let mut stream = gateway.dial(address).await;
        let host = if address.is_ipv6() {
            format!("[{}]", address.ip())
        } else {
            address.ip().to_string()
        };
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let reply = read_all(&mut stream).await;
        assert!(reply.contains("network.address-literal"), "{reply}");
    }
    for (bytes, rule) in [
        (&b"\x16\x03\x01\x00\x05hello"[..], "network.address-literal"),
        (b"\x00\x00\x00\x01", "network.protocol"),
    ] {
        let before = gateway.events(EventKind::Denied).len();
        let mut stream = gateway.dial("1.2.3.4:443".parse().unwrap()).await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_all(&mut stream).await, "");
        let events = gateway.events(EventKind::Denied);
        assert_eq!(events[before..].len(), 1);
        assert_eq!(events[before]["rule"], rule);
    }
}

#[tokio::test]
async fn ssh_gets_a_disconnect_that_it_can_show() {
    let (_upstream, gateway, _) = closed_gateway().await;
    let address = SocketAddr::new(gateway.look_up("github.com").await, 22);
    let mut stream = gateway.dial(address).await;
    stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
    let reply = read_all(&mut stream).await;
    assert!(
        reply.starts_with("SSH-2.0-stockade\r\n") && reply.contains("use https"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_connection_to_the_listener_itself_is_closed() {
    let (_upstream, gateway, _) = closed_gateway().await;
    // It wanted to go nowhere else.
    let mut stream = TcpStream::connect(gateway.tcp).await.unwrap();
    drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await);
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn g2_the_tls_hello_must_name_the_host_that_was_looked_up() {
    let (_upstream, gateway, _) = closed_gateway().await;
    assert!(gateway.tls("evil.test", HOST, &[]).await.is_err());
    assert!(gateway.tls(HOST, "evil.test", &[]).await.is_err());
    // A literal address as the name: the hello then has none.
    assert!(gateway.tls(HOST, "198.18.0.1", &[]).await.is_err());
    let rules: Vec<_> = gateway
        .events(EventKind::Denied)
        .iter()
        .map(|event| event["rule"].clone())
        .collect();
    assert_eq!(rules, ["network.sni", "network.sni", "network.sni"]);
}

#[tokio::test]
async fn g2_a_host_header_other_than_the_sni_is_misdirected() {
    let other = Request::get("/")
        .header("host", "evil.test")
        .body(Full::default())
        .unwrap();
    assert_eq!(refused(other).await.0, StatusCode::MISDIRECTED_REQUEST);
    let absolute = Request::get("https://evil.test/")
        .header("host", HOST)
        .body(Full::default())
        .unwrap();
    assert_eq!(refused(absolute).await.0, StatusCode::MISDIRECTED_REQUEST);
    let (_upstream, gateway, _) = closed_gateway().await;
    let request = Request::get("https://evil.test/v1/models")
        .body(Full::default())
        .unwrap();
    assert_eq!(
        gateway.send_h2(HOST, request).await.status(),
        StatusCode::MISDIRECTED_REQUEST
    );
}

#[tokio::test]
async fn only_listed_endpoints_pass() {
    let refused_by = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        refused(
            request
                .header("host", HOST)
                .header("x-api-key", PLACEHOLDER)
                .body(Full::default())
                .unwrap(),
        )
    };
    for (method, path) in [
        ("POST", "/v1/files"),
        ("GET", "/v1/messages"),
        ("POST", "/api/event_logging/v2/batch"),
    ] {
        let (status, body, _) = refused_by(method, path).await;
        assert_eq!(
            (status, &body["rule"]),
            (StatusCode::FORBIDDEN, &"network.endpoint".into()),
            "{path}"
        );
    }
    for path in [
        "/v1/x/%2e%2e/messages",
        "/v1//messages",
        "/v1/messages%2f",
        "/v1/messages;x",
    ] {
        let (status, body, _) = refused_by("POST", path).await;
        assert_eq!(
            (status, &body["rule"]),
            (StatusCode::BAD_REQUEST, &"network.path".into()),
            "{path}"
        );
    }
    assert_eq!(
        refused_by("TRACE", "/v1/messages").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn a_websocket_upgrade_is_told_to_use_plain_https() {
    let upgrade = Request::get("/v1/responses")
        .header("host", HOST)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("x-api-key", PLACEHOLDER)
        .body(Full::default())
        .unwrap();
    assert_eq!(refused(upgrade).await.0, StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test]
async fn g3_a_foreign_credential_is_refused() {
    for (name, value) in [
        ("x-api-key", "sk-attacker"),
        ("authorization", "Bearer sk-attacker"),
        ("cookie", "s=1"),
    ] {
        let mut request = message(BODY);
        request.headers_mut().insert(name, value.parse().unwrap());
        let (status, body, event) = refused(request).await;
        assert_eq!(
            (status, &body["rule"]),
            (StatusCode::FORBIDDEN, &"secrets.foreign-credential".into())
        );
        assert!(!body.to_string().contains("attacker") && !event.to_string().contains("attacker"));
    }
    let mut query = message(BODY);
    *query.uri_mut() = "/v1/messages?key=sk-attacker".parse().unwrap();
    assert_eq!(refused(query).await.1["rule"], "secrets.foreign-credential");
}

#[tokio::test]
async fn g3_a_placeholder_in_the_body_raises_the_alarm_wherever_it_is_split() {
    for at in [1, 5, PLACEHOLDER.len() - 1] {
        let (_upstream, gateway, seen) = closed_gateway().await;
        let (first, second) = PLACEHOLDER.split_at(at);
        let parts =
            [r#"{"system":"key "#, first, second, r#""}"#].map(|part| Bytes::from(part.to_owned()));
        let frames = parts.map(|part| Ok::<_, std::io::Error>(Frame::data(part)));
        let body = StreamBody::new(Frames(frames.into_iter())).boxed_unsync();
        let request = Request::post("/v1/messages")
            .header("host", HOST)
            .header("x-api-key", PLACEHOLDER)
            .body(body)
            .unwrap();
        let (status, body) = json(gateway.send(HOST, request).await).await;
        assert_eq!(
            (status, &body["rule"]),
            (
                StatusCode::FORBIDDEN,
                &"secrets.placeholder-misplaced".into()
            )
        );
        assert_eq!(gateway.event(EventKind::Denied).await["alarm"], true);
        assert!(seen.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn g3_a_placeholder_sent_to_another_host_raises_the_alarm() {
    let (_upstream, gateway, _) = closed_gateway().await;
    let request = Request::get("/")
        .header("host", "evil.test")
        .header("x-api-key", PLACEHOLDER)
        .body(Full::<Bytes>::default())
        .unwrap();
    let (_, body) = json(gateway.send("evil.test", request).await).await;
    assert_eq!(body["rule"], "secrets.placeholder-misplaced");
    assert_eq!(gateway.event(EventKind::Denied).await["alarm"], true);
}

#[tokio::test]
async fn g2_the_provider_does_not_fetch_for_the_agent() {
    let (status, body, _) = refused(message(
        r#"{"tools":[{"type":"web_fetch_20250910","name":"f"}]}"#,
    ))
    .await;
    assert_eq!(
        (status, &body["rule"]),
        (StatusCode::BAD_REQUEST, &"net.provider_fetch".into())
    );
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("net.provider_fetch"),
        "{body}"
    );
}

#[tokio::test]
async fn smuggled_framing_never_reaches_the_upstream() {
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: {HOST}\r\nx-api-key: {PLACEHOLDER}\r\n");
    for rest in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
        "content-length: +2\r\n\r\n{}",
        "host: evil.test\r\ncontent-length: 2\r\n\r\n{}",
        "x-a : b\r\ncontent-length: 2\r\n\r\n{}",
        "x-a: b\r\n folded\r\ncontent-length: 2\r\n\r\n{}",
        "x-a: b\0c\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let (_upstream, gateway, seen) = closed_gateway().await;
        let mut stream = gateway.tls(HOST, HOST, &["http/1.1"]).await.unwrap();
        stream
            .write_all(format!("{head}connection: close\r\n{rest}").as_bytes())
            .await
            .unwrap();
        let reply = read_all(&mut stream).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{rest:?}: {reply}");
        assert!(seen.lock().unwrap().is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let long = Request::get(format!("/{}", "a".repeat(9000)))
        .header("host", HOST)
        .body(Full::default())
        .unwrap();
    assert_eq!(refused(long).await.0, StatusCode::URI_TOO_LONG);
    let (_upstream, gateway, seen) = closed_gateway().await;
    let mut stream = gateway.tls(HOST, HOST, &["http/1.1"]).await.unwrap();
    let head = format!(
        "GET /v1/models HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n",
        "x-a: b\r\n".repeat(200)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 431 "));
    assert!(seen.lock().unwrap().is_empty());
}
