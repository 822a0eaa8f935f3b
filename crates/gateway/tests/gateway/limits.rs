//! At a limit the agent gets the reply that makes it stop.

use http::{Request, StatusCode};
use http_body_util::Full;
use stockade_gateway::{ModelApi, Spent};
use stockade_types::EventKind;

use crate::{bedrock::authorization, support::*};

const BODY: &str = r#"{"model":"m","messages":[]}"#;

fn request(api: ModelApi) -> Request<Full<bytes::Bytes>> {
    let (path, value) = match api {
        ModelApi::Anthropic => ("/v1/messages", PLACEHOLDER.to_owned()),
        ModelApi::OpenAi => ("/v1/responses", format!("Bearer {PLACEHOLDER}")),
        ModelApi::Gemini => (
            "/v1beta/models/g-1.5:streamGenerateContent?alt=sse",
            PLACEHOLDER.to_owned(),
        ),
        ModelApi::Bedrock => (
            "/model/us.anthropic.claude-v1%3A0/converse",
            authorization(PLACEHOLDER),
        ),
    };
    Request::post(path)
        .header("host", HOST)
        .header(api.header(), value)
        .body(Full::from(BODY))
        .unwrap()
}

#[tokio::test]
async fn g7_over_the_request_limit_each_api_gets_its_own_stop() {
    for api in [
        ModelApi::Anthropic,
        ModelApi::OpenAi,
        ModelApi::Gemini,
        ModelApi::Bedrock,
    ] {
        let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
        let mut settings = settings("http://127.0.0.1:1");
        settings.routes = vec![route(api, &format!("http://{}", upstream.address))];
        let gateway = Harness::metered(settings, &CountingMeter::allowing(1));
        assert_eq!(
            text(gateway.send(HOST, request(api)).await).await.0,
            StatusCode::OK
        );
        let reply = gateway.send(HOST, request(api)).await;
        assert_eq!(reply.headers()["x-should-retry"], "false");
        assert!(!reply.headers().contains_key("retry-after"));
        let (status, body) = json(reply).await;
        let error = &body["error"];
        match api {
            ModelApi::Anthropic => {
                assert_eq!((status.as_u16(), &body["type"]), (402, &"error".into()));
                assert_eq!(error["type"], "billing_error");
            }
            ModelApi::OpenAi => {
                assert_eq!(
                    (status.as_u16(), &error["code"]),
                    (400, &"budget_exceeded".into())
                );
                assert_eq!(error["type"], "invalid_request_error");
            }
            ModelApi::Gemini => {
                assert_eq!((status.as_u16(), &error["code"]), (400, &400.into()));
                assert_eq!(error["status"], "FAILED_PRECONDITION");
            }
            ModelApi::Bedrock => {
                assert_eq!(status.as_u16(), 400);
                assert_eq!(body["__type"], "ValidationException");
            }
        }
        let message = match api {
            ModelApi::Bedrock => &body["message"],
            _ => &error["message"],
        };
        let message = message.as_str().unwrap();
        assert!(
            message.contains("Stockade: all is spent. A person can change that with: stockade"),
            "{message}"
        );
        assert_eq!(seen.lock().unwrap().len(), 1);
        let denied = gateway.event(EventKind::Denied).await;
        assert_eq!(denied["rule"], "budget.exhausted");
        assert_eq!(denied["allow"], "stockade budget raise");
    }
}

#[tokio::test]
async fn g7_many_at_once_do_not_overshoot() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let settings = settings(&format!("http://{}", upstream.address));
    let gateway = Harness::metered(settings, &CountingMeter::allowing(5));
    let sends = (0..20).map(|_| async { gateway.send(HOST, message(BODY)).await.status() });
    let mut allowed = 0;
    for status in join_all(sends.collect()).await {
        allowed += usize::from(status == StatusCode::OK);
    }
    assert_eq!((allowed, seen.lock().unwrap().len()), (5, 5));
}

/// Polls all futures together until each is done.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut pending {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if pending.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

#[tokio::test]
async fn g7_bytes_outward_are_capped_before_they_leave() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let mut settings = settings(&format!("http://{}", upstream.address));
    settings.byte_limit = 2000;
    let gateway = Harness::start(settings);
    let large = format!(r#"{{"system":"{}"}}"#, "x".repeat(3000));
    let (status, body) = json(gateway.send(HOST, message(&large)).await).await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("2000 bytes")
    );
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(
        text(gateway.send(HOST, message(BODY)).await).await.0,
        StatusCode::OK
    );
    assert!(
        gateway.event(EventKind::NetworkOutcome).await["sent"]
            .as_u64()
            .unwrap()
            > BODY.len() as u64
    );
}

#[tokio::test]
async fn g7_counting_tokens_is_free() {
    let (upstream, _) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let settings = settings(&format!("http://{}", upstream.address));
    let gateway = Harness::metered(settings, &CountingMeter::allowing(0));
    let free = Request::post("/v1/messages/count_tokens")
        .header("host", HOST)
        .header("x-api-key", PLACEHOLDER)
        .body(Full::from(BODY))
        .unwrap();
    assert_eq!(gateway.send(HOST, free).await.status(), StatusCode::OK);
    assert_eq!(
        gateway.send(HOST, message(BODY)).await.status(),
        StatusCode::PAYMENT_REQUIRED
    );
}

#[tokio::test]
async fn g7_a_request_is_settled_by_what_was_reported_and_its_cost_is_recorded() {
    let usage = r#"{"usage":{"input_tokens":7,"output_tokens":2},
        "content":[{"type":"tool_use","name":"Bash","input":{}}]}"#;
    let (upstream, _) = recording_upstream(move || text_reply("application/json", usage)).await;
    let meter = CountingMeter::allowing(1);
    let settings = settings(&format!("http://{}", upstream.address));
    let gateway = Harness::metered(settings, &meter);
    let body = r#"{"model":"claude-x","max_tokens":12,"messages":[]}"#;
    text(gateway.send(HOST, message(body)).await).await;
    let outcome = gateway.event(EventKind::NetworkOutcome).await;
    assert_eq!(outcome["cost"], "$0.25");
    assert_eq!(outcome["secret"], "MODEL_API_KEY");
    assert_eq!(outcome["address"], "127.0.0.1");
    let asked = meter.asked.lock().unwrap();
    assert_eq!(
        (asked[0].model.as_str(), asked[0].output_limit),
        ("claude-x", Some(12))
    );
    assert_eq!(asked[0].input_bytes, body.len() as u64);
    assert_eq!(meter.did.lock().unwrap()[0].commands, 1);
    match meter.settled.lock().unwrap().as_slice() {
        [(1, Spent::Reported(usage))] => assert_eq!((usage.input, usage.output), (7, 2)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn g7_a_reply_that_says_no_usage_counts_in_full_and_a_refused_one_for_nothing() {
    for (status, expected) in [(200, Spent::Unknown), (529, Spent::Nothing)] {
        let (upstream, _) = recording_upstream(move || {
            let mut reply = text_reply("application/json", "{}");
            *reply.status_mut() = StatusCode::from_u16(status).unwrap();
            reply
        })
        .await;
        let meter = CountingMeter::allowing(1);
        let settings = settings(&format!("http://{}", upstream.address));
        let gateway = Harness::metered(settings, &meter);
        text(gateway.send(HOST, message(BODY)).await).await;
        gateway.event(EventKind::NetworkOutcome).await;
        assert_eq!(*meter.settled.lock().unwrap(), [(1, expected)]);
    }
}
