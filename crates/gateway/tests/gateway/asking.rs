//! Hosts that no rule names, where a person is asked about them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use stockade_approval::{Action, AskId, Outcome};
use stockade_gateway::{Service, Settings};
use stockade_types::EventKind;

use crate::{raw::SITE, support::*};

const OTHER: &str = "other.test";
/// One that allows requests that send something to `SITE`.
const RULE: &str = "POST site.test";

type Served = (UpstreamServer, Harness, Arc<std::sync::Mutex<Vec<Seen>>>);

/// A server that people named, and a gateway that asks about it.
async fn asking(allow: &[&str]) -> Served {
    serving(allow, true).await
}

async fn serving(allow: &[&str], asks: bool) -> Served {
    let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "hello")).await;
    let url = format!("http://{}", upstream.address);
    let service = |name: &str| Service {
        name: name.parse().unwrap(),
        upstream: url.parse().unwrap(),
    };
    let settings = Settings {
        asks,
        allow: allow.iter().map(|rule| rule.parse().unwrap()).collect(),
        deny: vec!["denied.test".parse().unwrap()],
        services: [SITE, OTHER, "denied.test"].map(service).to_vec(),
        ..settings(&url)
    };
    (upstream, Harness::start(settings), seen)
}

fn request(method: &str, host: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri("/a")
        .header("host", host)
        .header("x-stockade-why", "the \u{202e}docs are there".as_bytes())
        .body(Full::from(body.to_owned()))
        .unwrap()
}

fn id() -> AskId {
    AskId::random().unwrap()
}

#[tokio::test]
async fn g4_a_request_that_a_person_approves_passes_once_and_names_the_approval() {
    let (_upstream, gateway, seen) = asking(&[]).await;
    let approval = id();
    let answers = [Outcome::Refused("no".into()), Outcome::Granted(approval)];
    *gateway.person.answers.lock().unwrap() = answers.to_vec();
    let reply = gateway.send(SITE, request("POST", SITE, "12345")).await;
    assert_eq!(text(reply).await, (StatusCode::OK, "hello".to_owned()));
    let again = gateway.send(SITE, request("POST", SITE, "12345")).await;
    let (status, document) = json(again).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(document["rule"], "approval.refused");

    let (question, patience) = gateway.person.asked.lock().unwrap()[0].clone();
    let Action::Request {
        method,
        scheme,
        host,
        port,
        path: None,
    } = &question.action
    else {
        panic!("{question:?}");
    };
    let asked = (method.as_str(), scheme.as_str(), host.as_str(), *port);
    assert_eq!(asked, ("POST", "https", SITE, 443));
    assert!((5..2048).contains(&question.bytes), "{}", question.bytes);
    // Its own words are made visible, and go no further.
    assert_eq!(
        question.said.as_deref(),
        Some("the \\u{202e}docs are there")
    );
    assert!(patience < Duration::from_secs(5), "{patience:?}");
    {
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1);
        assert!(!seen[0].headers.contains_key("x-stockade-why"));
    }
    let intent = gateway.event(EventKind::NetworkRequest).await;
    assert_eq!(intent["rule"], "approval");
    assert_eq!(intent["approval"], approval.to_string());
}

#[tokio::test]
async fn g4_a_request_that_waits_for_a_person_says_so_and_nothing_of_it_leaves() {
    let (_upstream, gateway, seen) = asking(&[]).await;
    let waiting = id();
    gateway
        .person
        .answers
        .lock()
        .unwrap()
        .push(Outcome::Pending(waiting));
    let (status, document) = json(gateway.send(SITE, request("GET", SITE, "")).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(document["rule"], "approval.pending");
    assert_eq!(
        document["allow"],
        format!("stockade approve {}", waiting.short())
    );
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("Retry the same call"), "{message}");
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(
        gateway.events(EventKind::NetworkRequest),
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn g4_nobody_is_asked_about_what_a_rule_denies_or_was_written_for() {
    let (_upstream, gateway, seen) = asking(&["GET site.test", SITE]).await;
    // A rule for the host says what it is for; a rule that denies wins; an
    // address is nobody's name.
    for (host, method, rule) in [
        (SITE, "DELETE", "network.method"),
        ("denied.test", "GET", "network.deny"),
    ] {
        let (_, document) = json(gateway.send(host, request(method, host, "")).await).await;
        assert_eq!(document["rule"], rule, "{method} {host}");
    }
    assert!(gateway.person.asked.lock().unwrap().is_empty());
    // A placeholder is not for anybody's eyes, whatever a person would say.
    gateway
        .person
        .answers
        .lock()
        .unwrap()
        .push(Outcome::Granted(id()));
    let body = format!("key={PLACEHOLDER}");
    let (_, document) = json(gateway.send(OTHER, request("POST", OTHER, &body)).await).await;
    assert_eq!(document["rule"], "secrets.placeholder-misplaced");
    assert!(gateway.person.asked.lock().unwrap().is_empty());
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn g4_what_the_policy_asks_about_is_one_path_and_a_task_that_asks_nobody_is_refused() {
    let (_upstream, gateway, _seen) = asking(&[RULE]).await;
    let send = |path: &str| {
        let mut request = request("POST", SITE, "12345");
        *request.uri_mut() = path.parse().unwrap();
        gateway.send(SITE, request)
    };
    let approval = id();
    let answers = [Outcome::Pending(id()), Outcome::Granted(approval)];
    *gateway.person.answers.lock().unwrap() = answers.to_vec();
    // Answers are taken from the end.
    let path = format!("/one?b={ASKED}");
    let reply = send(&path).await;
    assert_eq!(text(reply).await, (StatusCode::OK, "hello".to_owned()));
    let (status, document) = json(send(&path).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(document["rule"], "approval.pending");
    let reason = document["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the test wants to know of it, and"),
        "{reason}"
    );
    let (question, _) = gateway.person.asked.lock().unwrap()[0].clone();
    let asked_path = match &question.action {
        Action::Request { path, .. } => path.as_deref(),
        Action::Command { .. } | Action::Push(_) => None,
    };
    assert_eq!(asked_path, Some(&*path));
    assert_eq!(question.because.unwrap().rule, "test.one-rule");
    // What it does not ask about passes, and asks nobody.
    let reply = send("/other").await;
    assert_eq!(text(reply).await.0, StatusCode::OK);
    assert_eq!(gateway.person.asked.lock().unwrap().len(), 2);

    let (_upstream, silent, _seen) = serving(&[RULE], false).await;
    let mut request = request("POST", SITE, "12345");
    *request.uri_mut() = path.parse().unwrap();
    let (status, document) = json(silent.send(SITE, request).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(document["rule"], "test.one-rule");
    let reason = document["reason"].as_str().unwrap();
    assert!(reason.contains("--ask"), "{reason}");
    assert!(silent.person.asked.lock().unwrap().is_empty());
}
