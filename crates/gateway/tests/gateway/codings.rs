//! Bodies with a content coding are read for what they say.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, channel::Channel};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use stockade_types::EventKind;
use tokio::time::timeout;

use crate::{
    frames::Frames,
    raw::SITE,
    scanning::{HIDDEN, key, stage},
    support::*,
};

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn packed(coding: &str, said: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(said).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(said).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut packed = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut packed, 4096, 5, 20);
            encoder.write_all(said).unwrap();
            drop(encoder);
            packed
        }
        "zstd" => zstd::encode_all(said, 3).unwrap(),
        other => panic!("{other}"),
    }
}

/// Posts `body`, in frames of a few bytes, to `SITE`.
async fn post(gateway: &Harness, coding: Option<&str>, body: Vec<u8>) -> (StatusCode, Value) {
    let frames = body
        .chunks(5)
        .map(|part| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(part))))
        .collect::<Vec<_>>();
    let mut request = Request::post("/").header("host", SITE);
    if let Some(coding) = coding {
        request = request.header("content-encoding", coding);
    }
    let body = StreamBody::new(Frames(frames.into_iter()));
    let reply = gateway.send(SITE, request.body(body).unwrap()).await;
    json(reply).await
}

#[tokio::test]
async fn g3_what_must_not_leave_is_found_in_bodies_of_every_coding() {
    let (_upstream, gateway, seen) = stage("ANY site.test").await;
    let filler = "words that say nothing, ".repeat(40);
    for coding in CODINGS {
        for (said, rule) in [
            (format!("{filler}{HIDDEN}{filler}"), "scan.known-value"),
            (format!("{filler}{SECRET}"), "scan.known-value"),
            (format!("{filler}{}\n", key()), "scan.key-format"),
            (own_source(), "scan.own-sources"),
            (
                json!({ "a": PLACEHOLDER }).to_string(),
                "secrets.placeholder-misplaced",
            ),
        ] {
            let body = packed(coding, said.as_bytes());
            let (status, reply) = post(&gateway, Some(coding), body).await;
            assert_eq!(
                (status, &reply["rule"]),
                (StatusCode::FORBIDDEN, &rule.into()),
                "{coding}: {reply}"
            );
        }
    }
    // A file that nothing says to be compressed.
    for coding in ["gzip", "zstd"] {
        let (_, reply) = post(&gateway, None, packed(coding, HIDDEN.as_bytes())).await;
        assert_eq!(reply["rule"], "scan.known-value", "{coding}");
    }
    assert!(seen.lock().unwrap().is_empty());
    for coding in CODINGS {
        let body = packed(coding, filler.as_bytes());
        let (status, _) = post(&gateway, Some(coding), body.clone()).await;
        assert_eq!(status, StatusCode::OK);
        let sent = seen.lock().unwrap().pop().unwrap();
        assert_eq!(sent.headers["content-encoding"], coding);
        assert_eq!(sent.body, body);
    }
}

#[tokio::test]
async fn g3_a_body_that_cannot_be_read_or_expands_without_end_is_refused() {
    let (_upstream, gateway, seen) = stage("ANY site.test max=16M").await;
    let plain = || b"anything".to_vec();
    let cut = |coding| {
        let mut packed = packed(coding, b"something to say");
        packed.pop();
        packed
    };
    let bomb = |coding| packed(coding, &vec![b'0'; 100 << 20]);
    for (coding, body, status) in [
        ("compress", plain(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("gzip, gzip", plain(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("gzip", plain(), StatusCode::BAD_REQUEST),
        ("br", cut("br"), StatusCode::BAD_REQUEST),
        ("zstd", cut("zstd"), StatusCode::BAD_REQUEST),
        ("gzip", bomb("gzip"), StatusCode::PAYLOAD_TOO_LARGE),
        ("deflate", bomb("deflate"), StatusCode::PAYLOAD_TOO_LARGE),
        ("br", bomb("br"), StatusCode::PAYLOAD_TOO_LARGE),
        ("zstd", bomb("zstd"), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (found, reply) = post(&gateway, Some(coding), body).await;
        assert_eq!(
            (found, &reply["rule"]),
            (status, &"http.content-encoding".into()),
            "{coding}: {reply}"
        );
    }
    assert!(seen.lock().unwrap().is_empty());
    // A file that only begins like one is what it is.
    let (status, _) = post(&gateway, None, vec![0x1f, 0x8b, 8, 0xff, 1, 2]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_compressed_request_to_a_model_is_judged_and_sent_as_what_it_says() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    let prompt = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    let fetch = r#"{"model":"m","tools":[{"type":"web_fetch_20250910","name":"web_fetch"}]}"#;
    for coding in CODINGS {
        let send = async |said: &str| {
            let mut request = message(said);
            let body = packed(coding, said.as_bytes());
            let headers = request.headers_mut();
            headers.insert("content-encoding", coding.parse().unwrap());
            headers.insert("content-length", body.len().into());
            *request.body_mut() = body.into();
            json(gateway.send(HOST, request).await).await
        };
        assert_eq!(send(prompt).await.0, StatusCode::OK, "{coding}");
        let sent = seen.lock().unwrap().pop().unwrap();
        assert!(!sent.headers.contains_key("content-encoding"));
        assert_eq!(sent.body, prompt);
        let (_, refused) = send(fetch).await;
        assert_eq!(refused["rule"], "net.provider_fetch", "{coding}");
        assert!(seen.lock().unwrap().is_empty());
    }
}

/// What answers with the key that it was sent, packed, one byte at a time.
async fn echoing(coding: &'static str) -> UpstreamServer {
    UpstreamServer::start(move |request: Request<Incoming>| async move {
        let key = request.headers()["x-api-key"].to_str().unwrap();
        let said = json!({ "usage": { "input_tokens": 3, "output_tokens": 4 },
            "filler": "word ".repeat(2000), "key": key, "again": hex::encode(key) });
        let body = packed(coding, said.to_string().as_bytes());
        let frames = body
            .into_iter()
            .map(|byte| Ok(Frame::data(vec![byte].into())));
        let body = StreamBody::new(Frames(frames.collect::<Vec<_>>().into_iter()));
        Response::builder()
            .header("content-type", "application/json")
            .header("content-encoding", coding)
            .body(body.boxed_unsync())
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn g3_an_echo_in_a_compressed_reply_comes_back_as_the_placeholder() {
    for coding in CODINGS {
        let upstream = echoing(coding).await;
        let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
        let reply = gateway.send(HOST, message("{}")).await;
        assert!(!reply.headers().contains_key("content-encoding"));
        let (status, body) = text(reply).await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            !body.contains(SECRET) && !body.contains(&hex::encode(SECRET)),
            "{coding}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["key"], &body["again"]),
            (&PLACEHOLDER.into(), &PLACEHOLDER.into())
        );
        let outcome = gateway.event(EventKind::NetworkOutcome).await;
        assert_eq!(outcome["secret_echoes_replaced"], 2);
        assert_eq!(outcome["usage"]["output"], 4);
        assert_eq!(outcome["encoding"], coding);
    }
}

#[tokio::test]
async fn events_in_a_compressed_reply_arrive_one_by_one() {
    let (sender, body) = Channel::<Bytes, std::io::Error>::new(4);
    let body = std::sync::Mutex::new(Some(body));
    let upstream = UpstreamServer::start(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        let reply = Response::builder()
            .header("content-type", "text/event-stream")
            .header("content-encoding", "gzip")
            .body(body.boxed_unsync())
            .unwrap();
        async move { reply }
    })
    .await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    let mut body = gateway.send(HOST, message("{}")).await.into_body();
    let mut sender = sender;
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    for event in ["event: a\ndata: {}\n\n", "data: {\"b\":1}\n\n"] {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let part = std::mem::take(encoder.get_mut());
        sender.send(Frame::data(part.into())).await.unwrap();
        let frame = timeout(PATIENCE, body.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), event);
    }
    // Without the end of what is packed the reply is not whole.
    drop(sender);
    let end = timeout(PATIENCE, body.frame()).await.unwrap();
    assert!(end.is_some_and(|frame| frame.is_err()));
    let outcome = gateway.event(EventKind::NetworkOutcome).await;
    assert_eq!(outcome["ended"], "upstream-failed");
}

#[tokio::test]
async fn a_reply_that_expands_without_end_or_is_in_another_coding_breaks_off() {
    for (coding, body) in [
        ("compress", b"anything".to_vec()),
        ("gzip, br", b"anything".to_vec()),
        ("br", packed("br", &vec![b'0'; 100 << 20])),
        ("zstd", packed("zstd", &vec![b'0'; 100 << 20])),
    ] {
        let (upstream, _) = recording_upstream(move || {
            let mut reply = text_reply("application/json", body.clone());
            let headers = reply.headers_mut();
            headers.insert("content-encoding", coding.parse().unwrap());
            reply
        })
        .await;
        let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
        let mut sender = gateway.connect(HOST).await;
        let reply = timeout(PATIENCE, sender.send_request(message("{}")));
        let reply = reply.await.unwrap();
        if coding == "br" || coding == "zstd" {
            // Cut before or after its head, and never an end that looks whole.
            if let Ok(reply) = reply {
                let read = timeout(PATIENCE, reply.into_body().collect()).await;
                assert!(read.unwrap().is_err(), "{coding}");
            }
        } else {
            let (status, reply) = json(reply.unwrap()).await;
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert!(
                reply["message"]
                    .as_str()
                    .unwrap()
                    .contains("cannot be searched")
            );
        }
        let outcome = gateway.event(EventKind::NetworkOutcome).await;
        assert_eq!(outcome["ended"], "upstream-failed", "{coding}");
    }
}
