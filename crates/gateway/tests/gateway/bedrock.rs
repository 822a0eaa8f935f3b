//! Models on Bedrock: requests are signed anew for one region, and what is inside
//! signs nothing. Tried against servers of our own, not against Amazon's.

use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use ring::{digest, hmac};
use serde_json::{Value, json};
use stockade_gateway::{ModelApi, Spent};
use stockade_types::EventKind;

use crate::support::*;

/// The header of a client whose key has this id.
pub(crate) fn authorization(id: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/20260101/us-east-1/bedrock/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=00"
    )
}

const MODEL: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";

fn request(action: &str, body: &Value) -> Request<Full<bytes::Bytes>> {
    Request::post(format!("{MODEL}/{action}"))
        .header("host", HOST)
        .header("authorization", authorization(PLACEHOLDER))
        .header("x-amz-date", "20260101T000000Z")
        .header("x-amzn-bedrock-accept", "*/*")
        .body(Full::from(body.to_string()))
        .unwrap()
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The signature of `seen` by the documented steps, from what arrived alone.
fn signature(seen: &Seen) -> String {
    let value = seen.headers["authorization"].to_str().unwrap();
    let after = |name: &str| value.split(name).nth(1).unwrap().split(',').next().unwrap();
    let names = after("SignedHeaders=");
    let headers = names.split(';').fold(String::new(), |headers, name| {
        headers + name + ":" + seen.headers[name].to_str().unwrap() + "\n"
    });
    let path = seen.uri.replace('%', "%25");
    let canonical = format!(
        "{}\n{path}\n\n{headers}\n{names}\n{}",
        seen.method,
        hash(&seen.body)
    );
    let time = seen.headers["x-amz-date"].to_str().unwrap();
    let scope = after("Credential=").split_once('/').unwrap().1;
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hash(canonical.as_bytes())
    );
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in scope.split('/').chain([&*text]) {
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        key = hmac::sign(&hmac_key, part.as_bytes()).as_ref().to_vec();
    }
    hex::encode(key)
}

fn is_signed_by(seen: &Seen) -> bool {
    let value = seen.headers["authorization"].to_str().unwrap();
    value.ends_with(&format!("Signature={}", signature(seen)))
}

#[tokio::test]
async fn g3_a_request_to_bedrock_arrives_signed_with_the_real_key_for_its_region() {
    let reply = json!({ "usage": { "inputTokens": 7, "outputTokens": 2, "totalTokens": 9 },
        "output": { "message": { "content": [{ "toolUse": { "name": "bash", "input": {} } }] } } });
    let (upstream, seen) =
        recording_upstream(move || text_reply("application/json", reply.to_string())).await;
    let meter = CountingMeter::allowing(1);
    let mut settings = settings("http://127.0.0.1:1");
    settings.routes = vec![route(
        ModelApi::Bedrock,
        &format!("http://{}", upstream.address),
    )];
    let gateway = Harness::metered(settings, &meter);
    let body = json!({ "messages": [], "inferenceConfig": { "maxTokens": 12 } });
    let (status, _) = text(gateway.send(HOST, request("converse", &body)).await).await;
    assert_eq!(status, StatusCode::OK);
    gateway.event(EventKind::NetworkOutcome).await;
    let seen = seen.lock().unwrap();
    let seen = &seen[0];
    assert_eq!(seen.uri, format!("{MODEL}/converse"));
    let value = seen.headers["authorization"].to_str().unwrap();
    assert!(value.contains(KEY_ID) && value.contains("/us-east-1/bedrock/aws4_request"));
    assert!(value.contains("host;x-amz-date;x-amz-security-token;x-amzn-bedrock-accept"));
    assert_eq!(seen.headers["x-amz-security-token"], SESSION_TOKEN);
    assert_ne!(seen.headers["x-amz-date"], "20260101T000000Z");
    assert!(is_signed_by(seen), "{seen:?}");
    let mut changed = seen.clone();
    changed.body = "{}".into();
    assert!(!is_signed_by(&changed), "a changed body is seen");
    let asked = meter.asked.lock().unwrap();
    let model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!((&*asked[0].model, asked[0].output_limit), (model, Some(12)));
    assert_eq!(meter.did.lock().unwrap()[0].commands, 1);
    match meter.settled.lock().unwrap().as_slice() {
        [(1, Spent::Reported(usage))] => assert_eq!((usage.input, usage.output), (7, 2)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn g3_what_of_a_key_that_signs_comes_back_is_replaced() {
    let echo = format!("{{\"a\":\"{SECRET}\",\"b\":\"{KEY_ID}\",\"c\":\"{SESSION_TOKEN}\"}}");
    let (upstream, _) =
        recording_upstream(move || text_reply("application/json", echo.clone())).await;
    let mut settings = settings("http://127.0.0.1:1");
    settings.routes = vec![route(
        ModelApi::Bedrock,
        &format!("http://{}", upstream.address),
    )];
    let gateway = Harness::start(settings);
    let reply = gateway.send(HOST, request("invoke", &json!({}))).await;
    let (status, body) = text(reply).await;
    assert_eq!(status, StatusCode::OK);
    for secret in [SECRET, KEY_ID, SESSION_TOKEN] {
        assert!(!body.contains(secret), "{body}");
    }
    assert_eq!(body.matches(PLACEHOLDER).count(), 3, "{body}");
}

#[tokio::test]
async fn g2_of_bedrock_only_the_endpoints_for_model_requests_pass_and_no_other_key() {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let mut settings = settings("http://127.0.0.1:1");
    settings.routes = vec![route(
        ModelApi::Bedrock,
        &format!("http://{}", upstream.address),
    )];
    let gateway = Harness::start(settings);
    let refused = async |request: Request<Full<bytes::Bytes>>| {
        let reply = gateway.send(HOST, request).await;
        let headers: HeaderMap = reply.headers().clone();
        assert!(reply.status().is_client_error());
        headers["x-stockade-reason"].to_str().unwrap().to_owned()
    };
    let nothing = json!({});
    assert_eq!(
        refused(request("async-invoke", &nothing)).await,
        "network.endpoint"
    );
    let mut foreign = request("invoke", &nothing);
    let theirs = authorization("AKIAATTACKER00000001").parse().unwrap();
    foreign.headers_mut().insert("authorization", theirs);
    assert_eq!(refused(foreign).await, "secrets.foreign-credential");
    let tool =
        json!({ "toolConfig": { "tools": [{ "systemTool": { "name": "nova_grounding" } }] } });
    assert_eq!(
        refused(request("converse", &tool)).await,
        "net.provider_fetch"
    );
    // The agent's secret key holds the placeholder of its id twice.
    let told =
        json!({ "messages": [{ "role": "user", "content": [{ "text": PLACEHOLDER.repeat(2) }] }] });
    assert_eq!(
        refused(request("converse", &told)).await,
        "secrets.placeholder-misplaced"
    );
    assert!(seen.lock().unwrap().is_empty());
}
