//! Replies pass on as they arrive, and every end is recorded.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, channel::Channel};
use hyper::body::Frame;
use stockade_types::EventKind;
use tokio::time::timeout;

use crate::support::*;

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

    let stopped = Harness::start(settings(&url));
    let reply = stopped.send(HOST, message("{}")).await;
    let sink = stopped.stop().await;
    let events = sink.events.lock().unwrap();
    assert_eq!(events.last().unwrap().kind, EventKind::NetworkOutcome);
    drop(reply);
}
