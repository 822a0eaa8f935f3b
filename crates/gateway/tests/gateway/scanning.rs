//! What must not leave is found in requests, whatever they are for.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stockade_gateway::{GuardedValue, Service, Settings};
use stockade_types::{EventKind, Redacted};

use crate::{raw::SITE, support::*};

/// A value of a hidden file, and one that was planted.
pub(crate) const HIDDEN: &str = "pa55word/9+of-the-database";
const PLANTED: &str = "tok_planted-0123456789/abcdef";

/// A server that the model and `SITE` lead to.
pub(crate) async fn stage(allow: &str) -> (UpstreamServer, Harness, Arc<Mutex<Vec<Seen>>>) {
    let (upstream, seen) = recording_upstream(|| text_reply("application/json", "{}")).await;
    let url = format!("http://{}", upstream.address);
    let guarded = |name: &str, value: &str, honeytoken| GuardedValue {
        name: name.to_owned(),
        value: Redacted::new(value.to_owned()),
        honeytoken,
    };
    let gateway = Harness::start(Settings {
        allow: vec![allow.parse().unwrap()],
        services: vec![Service {
            name: SITE.parse().unwrap(),
            upstream: url.parse().unwrap(),
        }],
        guarded: vec![
            guarded("DATABASE_URL of .env", HIDDEN, false),
            guarded("DEPLOY_TOKEN", PLANTED, true),
        ],
        ..settings(&url)
    });
    (upstream, gateway, seen)
}

/// Posts `body` to `SITE`; the status and the document of the reply.
async fn post(gateway: &Harness, path: &str, body: impl Into<Bytes>) -> (StatusCode, Value) {
    let request = Request::post(path)
        .header("host", SITE)
        .body(Full::from(body.into()))
        .unwrap();
    json(gateway.send(SITE, request).await).await
}

/// A key as its issuer writes them, with a checksum that is right.
pub(crate) fn key() -> String {
    ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat()
}

#[tokio::test]
async fn g3_a_known_value_goes_to_no_host_in_any_form_or_place() {
    let (_upstream, gateway, seen) = stage("ANY site.test carries=keys,sources").await;
    let escaped = serde_json::to_string(HIDDEN).unwrap();
    for body in [
        HIDDEN.to_owned(),
        format!("a=1&b={}", HIDDEN.replace('/', "%2F").replace('+', "%2B")),
        escaped,
        hex::encode(format!("x {HIDDEN}")),
        STANDARD.encode(HIDDEN),
        STANDARD.encode(format!("x{HIDDEN}")),
        STANDARD.encode(format!("xy{HIDDEN}")),
        SECRET.to_owned(),
    ] {
        let (status, reply) = post(&gateway, "/", body.clone()).await;
        assert_eq!(
            (status, &reply["rule"]),
            (StatusCode::FORBIDDEN, &"scan.known-value".into()),
            "{body}"
        );
        assert!(!reply.to_string().contains("pa55word"), "{reply}");
    }
    let (_, reply) = post(
        &gateway,
        &format!("/x?q={}", HIDDEN.replace('+', "%2b")),
        "",
    )
    .await;
    assert_eq!(reply["rule"], "scan.known-value");
    let request = Request::get("/")
        .header("host", SITE)
        .header("x-note", HIDDEN)
        .body(Full::<Bytes>::default())
        .unwrap();
    let (_, reply) = json(gateway.send(SITE, request).await).await;
    assert_eq!(reply["rule"], "scan.known-value");
    // The model is no exception.
    let prompt = json!({ "model": "m", "messages": [{ "role": "user", "content": HIDDEN }] });
    let (_, reply) = json(gateway.send(HOST, message(&prompt.to_string())).await).await;
    assert_eq!(reply["rule"], "scan.known-value");
    assert!(seen.lock().unwrap().is_empty());
    for denied in gateway.events(EventKind::Denied) {
        assert_eq!(denied["alarm"], true);
        assert_eq!(denied["honeytoken"], Value::Null);
        let text = denied.to_string();
        assert!(
            !text.contains("pa55word") && !text.contains(SECRET),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_planted_value_is_told_to_the_record_and_not_to_the_client() {
    let (_upstream, gateway, seen) = stage("ANY site.test").await;
    let (_, reply) = post(&gateway, "/", format!("found: {PLANTED}")).await;
    assert_eq!(reply["rule"], "scan.known-value");
    assert!(!reply.to_string().contains("honey"), "{reply}");
    assert_eq!(gateway.event(EventKind::Denied).await["honeytoken"], true);
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn g3_what_looks_like_a_key_needs_a_rule_that_lets_it_pass() {
    let (_upstream, gateway, seen) = stage("ANY site.test").await;
    for body in [
        key(),
        STANDARD.encode(key()),
        json!({ "a": format!("\n{}", key()) }).to_string(),
    ] {
        let (status, reply) = post(&gateway, "/", body).await;
        assert_eq!(
            (status, &reply["rule"]),
            (StatusCode::FORBIDDEN, &"scan.key-format".into())
        );
        let command = format!(
            "stockade allow 'POST {SITE} carries=keys' --task {}",
            gateway.task
        );
        assert_eq!(reply["allow"], command);
        assert!(reply["reason"].as_str().unwrap().contains("a GitHub token"));
    }
    assert!(seen.lock().unwrap().is_empty());
    gateway
        .rules
        .grant(format!("POST {SITE} carries=keys").parse().unwrap(), None)
        .unwrap();
    assert_eq!(post(&gateway, "/", key()).await.0, StatusCode::OK);
    // To the model anything that is not known to be secret may be said.
    let prompt = json!({ "model": "m", "messages": [{ "role": "user", "content": key() }] });
    let (status, _) = json(gateway.send(HOST, message(&prompt.to_string())).await).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn g3_pieces_of_the_repositorys_own_files_need_a_rule_that_lets_them_pass() {
    let (_upstream, gateway, seen) = stage("ANY site.test").await;
    let source = own_source();
    for body in [
        source.clone(),
        json!({ "text": source }).to_string(),
        STANDARD.encode(&source),
    ] {
        let (status, reply) = post(&gateway, "/", body).await;
        assert_eq!(
            (status, &reply["rule"]),
            (StatusCode::FORBIDDEN, &"scan.own-sources".into())
        );
        assert!(reply["allow"].as_str().unwrap().contains("carries=sources"));
    }
    assert!(seen.lock().unwrap().is_empty());
    let other = "words that stand in no file of it, ".repeat(200);
    assert_eq!(post(&gateway, "/", other).await.0, StatusCode::OK);
    gateway
        .rules
        .grant(
            format!("POST {SITE} carries=sources").parse().unwrap(),
            None,
        )
        .unwrap();
    assert_eq!(post(&gateway, "/", source).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_fetched_is_told_by_its_url_and_its_digest() {
    let (_upstream, gateway, _) = stage("ANY site.test").await;
    post(&gateway, "/a/b?v=1&token=abc", "").await;
    let outcome = gateway.event(EventKind::NetworkOutcome).await;
    assert_eq!(outcome["url"], format!("https://{SITE}/a/b?v=1&token=…"));
    assert_eq!(outcome["sha256"], hex::encode(Sha256::digest("{}")));
    assert_eq!(outcome["received"], 2);
}
