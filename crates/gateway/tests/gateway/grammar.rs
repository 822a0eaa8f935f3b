//! Requests put together from what parsers disagree about.

use std::time::Duration;

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{raw::*, support::*};

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "get", "CONNECT", "G\tET", "GE\0T", "PRI",
];
const TARGETS: &[&str] = &[
    "/",
    "/a?b",
    "/a/../b",
    "*",
    "//x",
    "http://site.test/",
    "http://other.test/",
    "/%0d%0ax: y",
    "/a b",
    "/\u{e9}",
    "/x\ty",
    "other.test:80",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/1.1 ",
    "",
];
const ENDS: &[&str] = &["\r\n", "\n", "\r", "\r\r\n", "\r\n "];
const HEADERS: &[&str] = &[
    "host: site.test",
    "Host:site.test",
    "host: other.test",
    "host : site.test",
    "content-length: 3",
    "content-length: 0",
    "content-length: -1",
    "content-length: 3, 3",
    "content-length: 99999999999999999999",
    "transfer-encoding: chunked",
    "Transfer-Encoding: identity",
    "transfer-encoding: chunked, chunked",
    "transfer-encoding:\u{b}chunked",
    "x-a: b\0",
    "x-a: b\rc: d",
    ": empty",
    "x",
    "connection: close, content-length",
    "connection: keep-alive",
    "upgrade: h2c",
    "expect: 100-continue",
    "te: trailers",
    "trailer: host",
    "x-forwarded-host: other.test",
];
const BODIES: &[&str] = &[
    "",
    "abc",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=\"\n\"\r\nabc\r\n0\r\nhost: other.test\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0\r\n\r\nGET /second HTTP/1.1\r\nhost: other.test\r\n\r\n",
];

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = (select(METHODS), select(TARGETS), select(VERSIONS));
    let usual = (Just("POST"), Just("/a?b"), Just("HTTP/1.1"));
    // Rarely strange, so that what stands behind is reached, too.
    let line = prop_oneof![2 => usual, 1 => line];
    let end = prop_oneof![8 => Just("\r\n"), 1 => select(ENDS)];
    let headers = prop::collection::vec((select(HEADERS), end.clone()), 0..4);
    let host = prop_oneof![4 => Just("host: site.test\r\n"), 1 => Just("")];
    (line, end.clone(), host, headers, end, select(BODIES)).prop_map(
        |((method, target, version), first, host, headers, last, body)| {
            let headers: String = headers
                .iter()
                .flat_map(|(header, end)| [*header, *end])
                .collect();
            format!("{method} {target} {version}{first}{host}{headers}{last}{body}").into_bytes()
        },
    )
}

/// Whether `heard` is nothing or one request that no parser reads in two ways.
fn is_one_plain_request(heard: &str, host: &str) -> bool {
    let Some((head, body)) = heard.split_once("\r\n\r\n") else {
        return heard.is_empty();
    };
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let line = matches!(words.as_slice(), [method, path, "HTTP/1.1"]
        if method.bytes().all(|b| b.is_ascii_uppercase()) && path.starts_with('/'));
    let (mut hosts, mut lengths, mut others) = (Vec::new(), Vec::new(), true);
    for header in lines {
        match header.split_once(": ") {
            Some(("host", value)) => hosts.push(value),
            Some(("content-length", value)) => lengths.push(value),
            Some((name, _)) => others &= name != "transfer-encoding" && name != "upgrade",
            None => others = false,
        }
    }
    let visible = head.replace("\r\n", "").chars().all(|c| !c.is_control());
    let length = lengths.first().map_or(Ok(0), |length| length.parse());
    let framed = lengths.len() < 2 && length == Ok(body.len());
    line && others && visible && framed && hosts == [host]
}

#[test]
fn g2_whatever_is_sent_the_upstream_gets_one_plain_request_or_nothing() {
    /// A client that gives up early; what holds for others holds for it.
    const LEAVES: Duration = Duration::from_millis(30);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (upstream, gateway) = runtime.block_on(async {
        let upstream = RawUpstream::saying(FINE).await;
        let gateway = Harness::start(upstream.settings(&["ANY http://site.test"]));
        (upstream, gateway)
    });
    let address = (runtime.block_on(gateway.look_up(SITE)), 80).into();
    let mut runner = TestRunner::new(Config::with_cases(400));
    let ran = runner.run(&request(), |bytes| {
        runtime.block_on(async {
            let mut stream = gateway.dial(address).await;
            drop(stream.write_all(&bytes).await);
            let mut reply = Vec::new();
            drop(timeout(LEAVES, stream.read_to_end(&mut reply)).await);
        });
        Ok(())
    });
    ran.unwrap();
    let good = b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n";
    let reply = runtime.block_on(in_the_clear(&gateway, SITE, good));
    assert!(reply.contains("fine"), "{reply}");
    let host = upstream.url.trim_start_matches("http://");
    let heard = upstream.heard_by_connection();
    assert!(heard.len() > 20, "{}", heard.len());
    for heard in heard {
        assert!(is_one_plain_request(&heard, host), "{heard:?}");
    }
}
