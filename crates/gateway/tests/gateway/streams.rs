//! Replies pass on as they arrive, and every end is recorded.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, channel::Channel};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use stockade_types::{Event, EventKind};
use tokio::time::timeout;

use crate::{frames::Frames, raw::SITE, support::*, tls::tls_upstream};

type Held = Arc<Mutex<Option<http_body_util::channel::Sender<Bytes, std::io::Error>>>>;

async fn held_upstream() -> (UpstreamServer, Held) {
    let held: Held = Arc::default();
    let keep = Arc::clone(&held);
    let server = UpstreamServer::start(move |_| {
        let (sender, body) = Channel::new(4);
        *keep.lock().unwrap() = Some(sender);
        let reply = Response::builder()
            .header("content-type", "text/event-stream")
            .body(body.boxed_unsync())
            .unwrap();
        async move { reply }
    })
    .await;
    (server, held)
}

#[tokio::test]
async fn the_first_event_arrives_before_the_second_is_sent() {
    let (upstream, held) = held_upstream().await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    let reply = gateway.send(HOST, message("{}")).await;
    let mut sender = held.lock().unwrap().take().unwrap();
    let mut body = reply.into_body();
    for event in [
        "event: a\ndata: {}\n\n",
        "data: {\"usage\":{\"output_tokens\":8}}\n\n",
    ] {
        sender.send(Frame::data(Bytes::from(event))).await.unwrap();
        let frame = timeout(PATIENCE, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    drop(sender);
    assert!(timeout(PATIENCE, body.frame()).await.unwrap().is_none());
    assert_eq!(
        gateway.event(EventKind::NetworkOutcome).await["usage"]["output"],
        8
    );
}

#[tokio::test]
async fn a_reply_that_breaks_off_never_looks_whole() {
    let (upstream, held) = held_upstream().await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    let reply = gateway.send(HOST, message("{}")).await;
    let mut sender = held.lock().unwrap().take().unwrap();
    sender
        .send(Frame::data(Bytes::from_static(b"data: 1\n\n")))
        .await
        .unwrap();
    sender.abort(std::io::Error::other("cut"));
    assert!(
        timeout(PATIENCE, reply.into_body().collect())
            .await
            .unwrap()
            .is_err()
    );
    assert_eq!(
        gateway.event(EventKind::NetworkOutcome).await["ended"],
        "upstream-failed"
    );
}

#[tokio::test]
async fn a_client_that_leaves_and_a_stop_both_leave_an_outcome() {
    let (upstream, _held) = held_upstream().await;
    let url = format!("http://{}", upstream.address);
    let left = Harness::start(settings(&url));
    drop(left.send(HOST, message("{}")).await);
    assert_eq!(
        left.event(EventKind::NetworkOutcome).await["ended"],
        "client-left"
    );

    let plain = Harness::start(settings(&url));
    let reply = plain.send(HOST, message("{}")).await;
    assert_last_is_an_outcome(&plain.stop().await.events.lock().unwrap());
    drop(reply);

    let h2 = Harness::start(settings(&url));
    let mut request = message("{}");
    *request.uri_mut() = format!("https://{HOST}/v1/messages").parse().unwrap();
    let reply = h2.send_h2(HOST, request).await;
    assert_last_is_an_outcome(&h2.stop().await.events.lock().unwrap());
    drop(reply);
}

fn assert_last_is_an_outcome(events: &[Event]) {
    let last = events.last().unwrap();
    assert_eq!(last.kind, EventKind::NetworkOutcome);
    assert_eq!(last.body["ended"], "client-left");
}

#[tokio::test]
async fn a_request_without_a_reply_yet_is_recorded_when_the_gateway_stops() {
    let asked = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&asked);
    let upstream = UpstreamServer::start(move |_| {
        notify.notify_one();
        std::future::pending()
    })
    .await;
    let gateway = Harness::start(settings(&format!("http://{}", upstream.address)));
    let stream = gateway.tls(HOST, HOST, &["h2"]).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut request = message("{}");
    *request.uri_mut() = format!("https://{HOST}/v1/messages").parse().unwrap();
    let pending = tokio::spawn(sender.send_request(request));
    timeout(PATIENCE, asked.notified()).await.unwrap();
    assert_last_is_an_outcome(&gateway.stop().await.events.lock().unwrap());
    assert!(pending.await.unwrap().is_err());
    drop(connection.await);
}

#[tokio::test]
async fn a_grpc_call_gets_its_trailers_and_nothing_else_that_ends_a_connection() {
    let (port, certificate, server) = tls_upstream(|request| {
        let te = request.headers().get("te").cloned();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("set-cookie", "a=b".parse().unwrap());
        let data = Bytes::from_static(b"\0\0\0\0\x02hi");
        let frames = [Frame::data(data), Frame::trailers(trailers)].map(Ok);
        let body = StreamBody::new(Frames(frames.into_iter())).boxed_unsync();
        let reply = Response::builder().header("content-type", "application/grpc");
        reply.header("x-te", te.unwrap()).body(body).unwrap()
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut settings = settings("https://unused.test");
    settings.allow = vec!["POST site.test".parse().unwrap()];
    settings.services = vec![stockade_gateway::Service {
        name: SITE.parse().unwrap(),
        upstream: format!("https://localhost:{port}").parse().unwrap(),
    }];
    let gateway = Harness::start_with_roots(settings, roots);
    let request = Request::post(format!("https://{SITE}/package.Service/Call"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(Full::from(&b"\0\0\0\0\x02ho"[..]))
        .unwrap();
    let reply = gateway.send_h2(SITE, request).await;
    assert_eq!(reply.headers()["x-te"], "trailers");
    let whole = timeout(PATIENCE, reply.into_body().collect()).await;
    let whole = whole.unwrap().unwrap();
    let trailers = whole.trailers().cloned().unwrap();
    assert_eq!(whole.to_bytes(), &b"\0\0\0\0\x02hi"[..]);
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    let outcome = gateway.event(EventKind::NetworkOutcome).await;
    assert_eq!(outcome["ended"], "complete");
    server.abort();
}
