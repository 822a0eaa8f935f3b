//! Requests over HTTP/1 that no client library would send.

use std::fmt::Write as _;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use stockade_types::EventKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{frames::Frames, raw::*, support::*};

#[tokio::test]
async fn g2_a_proxy_request_or_another_hosts_url_is_refused_on_any_connection() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["ANY site.test", "ANY http://site.test"]));
    for (line, host, status) in [
        ("CONNECT other.test:443", "other.test:443", 405),
        ("CONNECT site.test:443", "site.test:443", 405),
        ("CONNECT site.test:80", "site.test", 405),
        ("GET https://other.test/", "site.test", 421),
        ("GET http://other.test/", "other.test", 421),
        ("GET ftp://site.test/", "site.test", 421),
        ("TRACE /", "site.test", 405),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        for reply in [
            over_tls(&gateway, SITE, request.as_bytes()).await,
            in_the_clear(&gateway, SITE, request.as_bytes()).await,
        ] {
            let expected = format!("HTTP/1.1 {status} ");
            assert!(reply.starts_with(&expected), "{line}: {reply}");
        }
    }
    assert_eq!(upstream.heard(), "");
}

#[tokio::test]
async fn g2_a_host_is_the_one_looked_up_in_whatever_form_it_is_written() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    for host in [
        "site.test",
        "SITE.Test",
        "site.test.",
        "site.test:443",
        "site.test\t",
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let reply = over_tls(&gateway, SITE, request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{host:?}: {reply}");
    }
    let heard = upstream.heard();
    for host in [
        "",
        "other.test",
        "site.test:80",
        "site.test:",
        "site.test..",
        "user@site.test",
        "user:site.test@other.test",
        "si\tte.test",
        "site.test, other.test",
        "site.test other.test",
        "site.test%00.other.test",
        "site.test\0",
        "site.test/other.test",
        "site.test#other.test",
        "s\u{456}te.test",
        "198.18.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "[::1",
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let reply = over_tls(&gateway, SITE, request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 4"), "{host:?}: {reply}");
    }
    assert_eq!(upstream.heard(), heard);
}

/// What two parsers might read as one request and as two.
const TWO_FACED: [&str; 17] = [
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nhost: H\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: H\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nhost: H\r\ncontent-length: +2\r\n\r\nab",
    "POST / HTTP/1.1\r\nhost: H\r\ncontent-length: 0x2\r\n\r\nab",
    "POST / HTTP/1.1\r\nhost: H\r\ncontent-length: 2, 2\r\n\r\nab",
    "GET / HTTP/1.1\r\nhost: H\r\nhost: other.test\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: H\r\nx-a: b\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: H\r\nx-a: b\0c\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: H\r\nx-a: b\rx-c: d\r\n\r\n",
];

#[tokio::test]
async fn g2_what_could_be_two_requests_is_none_and_what_follows_is_not_read() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
    for request in TWO_FACED {
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: H\r\n\r\n";
        let bytes = format!("{request}{smuggled}").replace("host: H", "host: site.test");
        let reply = over_tls(&gateway, SITE, bytes.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400 "), "{request:?}: {reply}");
        assert_eq!(
            reply.matches("HTTP/1.1 ").count(),
            1,
            "{request:?}: {reply}"
        );
        assert!(reply.contains("connection: close"), "{request:?}: {reply}");
    }
    assert_eq!(upstream.heard(), "");
}

/// RFC 9112 §6.3 lets a server read such a request by its chunks, if it closes
/// the connection afterwards. The upstream is told a length only.
#[tokio::test]
async fn g2_a_length_beside_chunks_is_never_passed_on() {
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        let upstream = RawUpstream::saying(FINE).await;
        let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
        let bytes = format!(
            "POST / HTTP/1.1\r\nhost: site.test\r\n{headers}\r\n\r\n1\r\nx\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: site.test\r\n\r\n"
        );
        let reply = over_tls(&gateway, SITE, bytes.as_bytes()).await;
        assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{reply}");
        assert!(reply.contains("connection: close"), "{reply}");
        let host = upstream.url.trim_start_matches("http://");
        let expected = format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!(upstream.heard(), expected);
    }
}

#[tokio::test]
async fn g2_a_request_is_written_anew_whatever_its_spelling_was() {
    for (spelled, method, body) in [
        ("GET / HTTP/1.1\nhost: site.test\n\n", "GET", ""),
        (
            "GET / HTTP/1.1\r\nhost: site.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nx-late: 1\r\n\r\n",
            "GET",
            "abc",
        ),
        (
            "POST / HTTP/1.1\r\nHOST:site.test\r\ncontent-length: 3\r\nConnection: close, x-hop\r\nx-hop: 1\r\nproxy-authorization: x\r\n\r\nabc",
            "POST",
            "abc",
        ),
    ] {
        let upstream = RawUpstream::saying(FINE).await;
        let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
        let reply = over_tls(&gateway, SITE, spelled.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200 "), "{spelled:?}: {reply}");
        let host = upstream.url.trim_start_matches("http://");
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let expected = format!("{method} / HTTP/1.1\r\nhost: {host}\r\n{length}\r\n{body}");
        assert_eq!(upstream.heard(), expected, "{spelled:?}");
    }
}

#[tokio::test]
async fn g2_older_and_newer_protocols_are_refused_in_the_clear() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["http://site.test", SITE]));
    // HTTP/0.9; HTTP/2 by prior knowledge; a version that is not there.
    for bytes in [
        "GET /\r\n\r\n",
        "GET / HTTP/0.9\r\nhost: site.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        "GET / HTTP/3.0\r\nhost: site.test\r\n\r\n",
    ] {
        let reply = in_the_clear(&gateway, SITE, bytes.as_bytes()).await;
        assert!(!reply.contains(" 200 "), "{bytes:?}: {reply}");
    }
    for protocol in ["h2c", "websocket", "TLS/1.0"] {
        let request = format!(
            "GET / HTTP/1.1\r\nhost: site.test\r\nconnection: upgrade, http2-settings\r\n\
             upgrade: {protocol}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        for reply in [
            in_the_clear(&gateway, SITE, request.as_bytes()).await,
            over_tls(&gateway, SITE, request.as_bytes()).await,
        ] {
            assert!(reply.starts_with("HTTP/1.1 426 "), "{protocol}: {reply}");
        }
    }
    assert_eq!(upstream.heard(), "");
}

#[tokio::test]
async fn g2_a_server_cannot_turn_a_connection_into_a_tunnel() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\ntunnelled";
    let upstream = RawUpstream::saying(switched).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let request = "GET / HTTP/1.1\r\nhost: site.test\r\n\r\n";
    let reply = over_tls(&gateway, SITE, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    assert!(!reply.contains("tunnelled"), "{reply}");
}

#[tokio::test]
async fn g2_a_redirect_is_the_clients_to_follow_and_is_judged_anew() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: https://other.test/\r\ncontent-length: 0\r\n\r\n";
    let upstream = RawUpstream::saying(moved).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let request = "GET / HTTP/1.1\r\nhost: site.test\r\n\r\n";
    let reply = over_tls(&gateway, SITE, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 302 "), "{reply}");
    assert!(
        reply.contains("location: https://other.test/\r\n"),
        "{reply}"
    );
    let request = "GET / HTTP/1.1\r\nhost: other.test\r\n\r\n";
    let reply = over_tls(&gateway, "other.test", request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 403 "), "{reply}");
    assert_eq!(upstream.heard().matches("GET / ").count(), 1);
}

#[tokio::test]
async fn g2_dns_over_https_is_a_host_like_any_other() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["ANY site.test"]));
    let question = "POST /dns-query HTTP/1.1\r\nhost: dns.google\r\ncontent-type: application/dns-message\r\ncontent-length: 2\r\n\r\nab";
    let reply = over_tls(&gateway, "dns.google", question.as_bytes()).await;
    assert!(reply.contains("network.default-deny"), "{reply}");
    for address in ["1.1.1.1:443", "8.8.8.8:443", "1.1.1.1:853"] {
        let refused = gateway.tls_to(address.parse().unwrap()).await;
        assert!(refused.is_err(), "{address}");
    }
    assert_eq!(upstream.heard(), "");
}

#[tokio::test]
async fn g2_a_body_over_the_cap_is_refused_before_a_byte_of_it_leaves() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["POST site.test max=4K"]));
    // Told in advance: the refusal does not wait for the body.
    let told = "POST / HTTP/1.1\r\nhost: site.test\r\ncontent-length: 100000\r\n\r\n";
    let mut stream = gateway.tls(SITE, SITE, &["http/1.1"]).await.unwrap();
    stream.write_all(told.as_bytes()).await.unwrap();
    let mut status = [0; 13];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413 ");
    // Not told: it is never cut off and passed on as a whole one.
    let chunks = (0..8).map(|_| Ok::<_, std::io::Error>(Frame::data("x".repeat(1000).into())));
    let body = StreamBody::new(Frames(chunks.collect::<Vec<_>>().into_iter())).boxed_unsync();
    let untold = Request::post("/").header("host", SITE).body(body).unwrap();
    let reply = gateway.send(SITE, untold).await;
    assert_eq!(reply.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(upstream.heard(), "");
}

#[tokio::test]
async fn g2_many_small_requests_and_large_heads_count_against_the_same_budget() {
    for (head, size) in [("", 1), ("x-carried: ", 2000)] {
        let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "")).await;
        let mut settings = settings(&format!("http://{}", upstream.address));
        settings.allow = vec!["site.test budget=20K".parse().unwrap()];
        settings.services = vec![stockade_gateway::Service {
            name: SITE.parse().unwrap(),
            upstream: format!("http://{}", upstream.address).parse().unwrap(),
        }];
        let gateway = Harness::start(settings);
        let mut connection = gateway.connect(SITE).await;
        let mut refused = 0;
        for index in 0..1000 {
            connection.ready().await.unwrap();
            let mut request = Request::get(format!("/{index}")).header("host", SITE);
            if let Some(name) = head.strip_suffix(": ") {
                request = request.header(name, "x".repeat(size));
            }
            let request = request.body(Full::<bytes::Bytes>::default()).unwrap();
            let (status, body) = text(connection.send_request(request).await.unwrap()).await;
            if status == StatusCode::FORBIDDEN {
                assert!(body.contains("network.byte-budget"), "{body}");
                refused += 1;
            }
        }
        let passed = seen.lock().unwrap().len();
        assert_eq!(passed + refused, 1000);
        // 20 KiB, of which each request takes its head.
        assert!(passed * (20 + size) < 20 * 1024, "{passed}");
        assert!(passed > 5, "{passed}");
    }
}

#[tokio::test]
async fn g2_a_url_that_only_a_wildcard_allows_carries_no_encoded_data() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&["**.test"]));
    let mut noise = String::new();
    for index in 0..250_u32 {
        let _ = write!(noise, "{:08x}", index.wrapping_mul(0x9e37_79b9));
        let _ = write!(
            noise,
            "{}",
            char::from(b'G' + u8::try_from(index % 20).unwrap())
        );
        let _ = write!(noise, "{:07X}", index.wrapping_mul(0x85eb_ca6b) >> 4);
    }
    for (path, status) in [(format!("/?q={noise}"), 403), ("/?q=plain".to_owned(), 200)] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {SITE}\r\n\r\n");
        let reply = over_tls(&gateway, SITE, request.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(reply.starts_with(&expected), "{status}: {reply}");
    }
    let event = gateway.event(EventKind::Denied).await;
    assert_eq!(event["rule"], "network.information");
}
