//! The key reaches the upstream, and nothing else ever sees it.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use rustls::RootCertStore;
use stockade_gateway::ModelApi;
use stockade_types::{EventKind, Redacted};
use tokio::net::TcpListener;

use crate::{frames::Frames, support::*, tls::tls_upstream};

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;

#[tokio::test]
async fn g3_the_upstream_gets_the_key_and_the_client_never_does() {
    let (upstream, seen) = recording_upstream(|| {
        text_reply(
            "application/json",
            r#"{"ok":true,"usage":{"input_tokens":3,"output_tokens":4}}"#,
        )
    })
    .await;
    let gateway = Harness::start(settings(&format!("http://{}/prefix", upstream.address)));
    let (status, body) = text(gateway.send(HOST, message(BODY)).await).await;
    assert_eq!(
        (status, body.contains("\"ok\":true")),
        (StatusCode::OK, true)
    );
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].uri, "/prefix/v1/messages?beta=true");
    assert_eq!(seen[0].headers["x-api-key"], SECRET);
    assert_eq!(seen[0].headers["host"], upstream.address.to_string());
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[0].body, BODY);
    let request = gateway.event(EventKind::NetworkRequest).await;
    assert_eq!(request["path"], "/v1/messages");
    assert_eq!(request["verdict"], "allow");
    assert_eq!(
        gateway.event(EventKind::SecretUsed).await["secret"],
        "MODEL_API_KEY"
    );
    let outcome = gateway.event(EventKind::NetworkOutcome).await;
    assert_eq!(outcome["status"], 200);
    assert_eq!(outcome["ended"], "complete");
    assert_eq!(outcome["usage"]["output"], 4);
    let kinds: Vec<_> = gateway
        .sink
        .events
        .lock()
        .unwrap()
        .iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            EventKind::NetworkRequest,
            EventKind::SecretUsed,
            EventKind::NetworkOutcome
        ]
    );
    let record = serde_json::to_string(&*gateway.sink.events.lock().unwrap()).unwrap();
    assert!(!record.contains(SECRET) && !record.contains("beta=true"));
}

#[tokio::test]
async fn bearer_keys_are_replaced_and_keep_their_scheme_over_http_2() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let mut settings = settings("http://127.0.0.1:1");
    settings.routes = vec![route(
        ModelApi::OpenAi,
        &format!("http://{}", upstream.address),
    )];
    let gateway = Harness::start(settings);
    let request = Request::post(format!("https://{HOST}/v1/responses"))
        .header("authorization", format!("Bearer {PLACEHOLDER}"))
        .body(Full::from("{}"))
        .unwrap();
    let (status, _) = text(gateway.send_h2(HOST, request).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        seen.lock().unwrap()[0].headers["authorization"],
        format!("Bearer {SECRET}")
    );
}

#[tokio::test]
async fn an_upstream_over_tls_is_verified_and_gets_no_key_when_it_is_not() {
    let (port, certificate, server) = tls_upstream(|request| {
        assert_eq!(request.version(), Version::HTTP_2);
        let held = request.headers()["x-api-key"] == SECRET;
        text_reply("application/json", format!("{{\"held\":{held}}}"))
    })
    .await;
    let url = format!("https://localhost:{port}");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = Harness::start_with_roots(settings(&url), roots);
    assert_eq!(
        json(trusting.send(HOST, message(BODY)).await).await.1["held"],
        true
    );
    let (_, other, unused) = tls_upstream(|_| text_reply("application/json", "{}")).await;
    let mut others = RootCertStore::empty();
    others.add(other).unwrap();
    for (roots, told) in [
        (others, "TLS with localhost failed"),
        (RootCertStore::empty(), "ca-certificates"),
    ] {
        let distrusting = Harness::start_with_roots(settings(&url), roots);
        let (status, body) = json(distrusting.send(HOST, message(BODY)).await).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(told), "{body}");
        assert_eq!(
            distrusting.event(EventKind::NetworkOutcome).await["ended"],
            "upstream-failed"
        );
    }
    unused.abort();
    server.abort();
}

#[tokio::test]
async fn g3_an_echo_of_the_key_comes_back_as_the_placeholder() {
    let upstream = UpstreamServer::start(|request| async move {
        let key = request.headers()["x-api-key"].to_str().unwrap().to_owned();
        let text = format!(
            "data: raw {key} b64 {} end\n\n",
            STANDARD.encode(format!("k={key}"))
        );
        // Single bytes: every possible split at once.
        let frames = text
            .into_bytes()
            .into_iter()
            .map(|byte| Ok(Frame::data(vec![byte].into())));
        let body = StreamBody::new(Frames(frames.collect::<Vec<_>>().into_iter()));
        Response::builder()
            .header("content-type", "text/event-stream")
            .header("x-echo", &key)
            .header("set-cookie", "session=1")
            .header("alt-svc", "h3=\":443\"")
            .body(body.boxed_unsync())
            .unwrap()
    })
    .await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    let reply = gateway.send(HOST, message(BODY)).await;
    assert_eq!(reply.headers()["x-echo"], PLACEHOLDER);
    assert!(
        !reply.headers().contains_key("set-cookie") && !reply.headers().contains_key("alt-svc")
    );
    let (_, body) = text(reply).await;
    assert!(
        body.contains(&format!("raw {PLACEHOLDER} b64 ")) && body.ends_with(" end\n\n"),
        "{body}"
    );
    let encoded = STANDARD.encode(SECRET);
    assert!(
        !body.contains(SECRET) && !body.contains(&encoded[..16]),
        "{body}"
    );
    assert_eq!(
        gateway.event(EventKind::NetworkOutcome).await["secret_echoes_replaced"],
        2
    );
}

#[tokio::test]
async fn g5_nothing_leaves_when_the_record_cannot_be_written() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    *gateway.sink.broken.lock().unwrap() = true;
    let (status, body) = json(gateway.send(HOST, message(BODY)).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["rule"], "record.unavailable");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn g3_no_connection_to_a_host_carries_the_keys_of_two_tasks() {
    /// Of each connection the keys that came over it, and how many requests.
    type Seen = BTreeMap<usize, (BTreeSet<String>, usize)>;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let keep = Arc::clone(&seen);
    let server = tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let keep = Arc::clone(&keep);
            let answer = Arc::new(move |request: Request<Incoming>| {
                let key = request.headers()["x-api-key"].to_str().unwrap().to_owned();
                let mut keep = keep.lock().unwrap();
                let (keys, requests) = keep.entry(number).or_default();
                keys.insert(key);
                *requests += 1;
                Box::pin(async { text_reply("application/json", "{}") }) as Answered
            });
            tokio::spawn(serve_http(stream, answer));
        }
    });
    let mut others = settings(&url);
    others.routes[0].secret = Redacted::new("sk-decoy-of-another-task-0002".to_owned());
    let tasks = [Harness::start(settings(&url)), Harness::start(others)];
    for _ in 0..6 {
        for task in &tasks {
            let (status, _) = text(task.send(HOST, message(BODY)).await).await;
            assert_eq!(status, StatusCode::OK);
        }
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen.values().all(|(keys, _)| keys.len() == 1), "{seen:?}");
    let keys: BTreeSet<_> = seen.values().flat_map(|(keys, _)| keys).collect();
    assert_eq!(keys.len(), 2);
    // Connections are used again, so that this could have been otherwise.
    assert!(seen.values().any(|(_, requests)| *requests > 1), "{seen:?}");
    server.abort();
}
