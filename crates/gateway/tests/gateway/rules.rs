//! Hosts that a person allowed: reached by rule, and only so.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use rustls::RootCertStore;
use stockade_gateway::{Service, Settings};
use stockade_types::EventKind;

use crate::{raw::SITE, support::*, tls::tls_upstream};

/// A server that people named as `SITE`, and a gateway with these rules.
async fn ruled(allow: &[&str], deny: &[&str]) -> (UpstreamServer, Harness, Arc<Mutex<Vec<Seen>>>) {
    let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "hello")).await;
    let gateway = Harness::start(rules(&upstream, allow, deny));
    (upstream, gateway, seen)
}

fn rules(upstream: &UpstreamServer, allow: &[&str], deny: &[&str]) -> Settings {
    let url = format!("http://{}", upstream.address);
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let names = [SITE, "other.test", "a.wild.test", "deep.er.wild.test"];
    Settings {
        allow: parse(allow),
        deny: parse(deny),
        services: names
            .map(|name| Service {
                name: name.parse().unwrap(),
                upstream: url.parse().unwrap(),
            })
            .to_vec(),
        ..settings(&url)
    }
}

fn request(method: &str, host: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Full::from(body.to_owned()))
        .unwrap()
}

/// A client's request as `METHOD URL`, by TLS or in the clear; its status.
async fn ask(gateway: &Harness, asked: &str) -> StatusCode {
    let (method, url) = asked.split_once(' ').unwrap();
    let uri: http::Uri = url.parse().unwrap();
    let (host, authority) = (uri.host().unwrap(), uri.authority().unwrap().as_str());
    let plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let address = SocketAddr::new(gateway.look_up(host).await, port);
    let sent = request(method, authority, uri.path(), "");
    let reply = if plain {
        send_over(gateway.dial(address).await, sent).await
    } else {
        let tcp = gateway.dial(address).await;
        let stream = gateway.handshake(tcp, host, &["http/1.1"]).await.unwrap();
        send_over(stream, sent).await
    };
    reply.status()
}

#[tokio::test]
async fn g2_verdicts_hold_between_a_client_and_a_server() {
    let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "hello")).await;
    let url = format!("http://{}", upstream.address);
    let mut allowed = 0;
    let cases = include_str!("../verdicts.txt").lines();
    for case in cases.filter(|line| !line.starts_with('#')) {
        let [rules, asked, expected] = [0, 1, 2].map(|at| case.split(';').nth(at).unwrap().trim());
        let host = asked.split('/').nth(2).unwrap().split(':').next().unwrap();
        let Ok(name) = host.to_lowercase().parse() else {
            continue;
        };
        let (deny, allow): (Vec<_>, Vec<_>) = rules
            .split(" | ")
            .filter(|rule| !rule.is_empty())
            .partition(|rule| rule.starts_with('!'));
        let gateway = Harness::start(Settings {
            allow: allow.iter().map(|rule| rule.parse().unwrap()).collect(),
            deny: deny.iter().map(|rule| rule[1..].parse().unwrap()).collect(),
            services: vec![Service {
                name,
                upstream: url.parse().unwrap(),
            }],
            ..settings(&url)
        });
        allowed += usize::from(expected == "allowed");
        let status = ask(&gateway, asked).await;
        assert_eq!(
            status.is_success(),
            expected == "allowed",
            "{case}: {status}"
        );
        assert_eq!(seen.lock().unwrap().len(), allowed, "{case}");
    }
    assert!(allowed > 10, "{allowed}");
}

#[tokio::test]
async fn g4_what_the_policy_forbids_does_not_leave_whatever_rules_for_hosts_allow() {
    let (_upstream, gateway, seen) = ruled(&[SITE], &[]).await;
    for path in [format!("/{FORBIDDEN}"), format!("/a?{FORBIDDEN}")] {
        let reply = gateway.send(SITE, request("GET", SITE, &path, "")).await;
        assert_eq!(reply.headers()["x-stockade-reason"], "test.one-rule");
        let (status, body) = json(reply).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(body["instead"], "Ask for something else.");
    }
    assert!(seen.lock().unwrap().is_empty(), "it reached the upstream");
    assert!(gateway.events(EventKind::NetworkRequest).is_empty());
    assert_eq!(
        gateway.event(EventKind::Denied).await["rule"],
        "test.one-rule"
    );
}

#[tokio::test]
async fn g2_an_allowed_host_is_reached_and_others_are_not() {
    let (_upstream, gateway, seen) = ruled(&[SITE], &[]).await;
    let reply = gateway.send(SITE, request("GET", SITE, "/a?b=c", "")).await;
    assert_eq!(reply.headers()["content-length"], "5");
    assert_eq!(text(reply).await, (StatusCode::OK, "hello".to_owned()));
    let h2 = Request::get(format!("https://{SITE}/h2"))
        .body(Full::default())
        .unwrap();
    assert_eq!(
        text(gateway.send_h2(SITE, h2).await).await.0,
        StatusCode::OK
    );
    let uris: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| seen.uri.clone())
        .collect();
    assert_eq!(uris, ["/a?b=c", "/h2"]);
    for (host, method, rule) in [
        ("other.test", "GET", "network.default-deny"),
        (SITE, "POST", "network.method"),
        (SITE, "DELETE", "network.method"),
    ] {
        let (status, body) = json(gateway.send(host, request(method, host, "/", "")).await).await;
        assert_eq!(
            (status, &body["rule"]),
            (StatusCode::FORBIDDEN, &rule.into())
        );
        let command = format!("stockade allow '{method} {host}' --task {}", gateway.task);
        assert_eq!(body["allow"], command);
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn g2_a_rule_that_denies_wins_over_every_other_even_for_a_model_host() {
    let allow = ["ANY **", "ANY site.test"];
    let (_upstream, gateway, seen) = ruled(&allow, &["site.test/private/**", HOST]).await;
    let (status, body) = json(
        gateway
            .send(SITE, request("GET", SITE, "/private/x", ""))
            .await,
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["rule"], "network.deny");
    assert!(body.get("allow").is_none(), "{body}");
    let (_, body) = json(
        gateway
            .send(HOST, message(r#"{"model":"m","messages":[]}"#))
            .await,
    )
    .await;
    assert_eq!(body["rule"], "network.deny");
    assert_eq!(
        text(gateway.send(SITE, request("PUT", SITE, "/x", "")).await)
            .await
            .0,
        200
    );
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn g2_what_was_compared_is_what_is_sent() {
    let (_upstream, gateway, seen) = ruled(&["site.test/repos/a/**"], &[]).await;
    for path in [
        "/repos/a/../b",
        "/repos/a/%2e%2e/b",
        "/repos//a/x",
        "/repos/a%2fx",
        "/repos/a/;x",
    ] {
        let (status, body) = json(gateway.send(SITE, request("GET", SITE, path, "")).await).await;
        assert!(status.is_client_error(), "{path}");
        assert_eq!(body["rule"], "network.path", "{path}");
    }
    let spelled = request("GET", SITE, "/repos/%61/%78%20y", "");
    assert_eq!(
        text(gateway.send(SITE, spelled).await).await.0,
        StatusCode::OK
    );
    assert_eq!(seen.lock().unwrap()[0].uri, "/repos/a/x%20y");
}

#[tokio::test]
async fn an_escaped_slash_reaches_a_host_whose_rules_do_not_look_at_paths() {
    let (_upstream, gateway, seen) = ruled(&[SITE], &[]).await;
    let package = request("GET", SITE, "/@scope%2fname", "");
    assert_eq!(
        text(gateway.send(SITE, package).await).await.0,
        StatusCode::OK
    );
    assert_eq!(seen.lock().unwrap()[0].uri, "/@scope%2fname");
}

#[tokio::test]
async fn g2_plain_http_needs_a_rule_that_says_so() {
    let (_upstream, gateway, seen) = ruled(&["http://site.test", "other.test"], &[]).await;
    for (host, allowed) in [(SITE, true), ("other.test", false)] {
        let address = SocketAddr::new(gateway.look_up(host).await, 80);
        let stream = gateway.dial(address).await;
        let reply = send_over(stream, request("GET", host, "/", "")).await;
        assert_eq!(reply.status().is_success(), allowed, "{host}");
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
    let (_, body) = json(gateway.send(SITE, request("GET", SITE, "/", "")).await).await;
    assert_eq!(body["rule"], "network.port");
}

#[tokio::test]
async fn g2_wildcards_stand_for_levels_and_carry_no_encoded_names() {
    let (_upstream, gateway, seen) = ruled(&["*.wild.test", "**.tunnel.test"], &[]).await;
    for (host, rule) in [
        ("a.wild.test", None),
        ("deep.er.wild.test", Some("network.default-deny")),
        ("wild.test", Some("network.default-deny")),
        (
            "mzxw6ytboi4dsmrqgeydaobzgq3tmnjugi2dgmjxgyytcmrtgq2tmnzygmx3q.k5zxg7dcnf2heylmoq.tunnel.test",
            Some("network.information"),
        ),
    ] {
        let reply = gateway.send(host, request("GET", host, "/", "")).await;
        let reason = reply.headers().get("x-stockade-reason").cloned();
        assert_eq!(
            reason.as_ref().and_then(|value| value.to_str().ok()),
            rule,
            "{host}"
        );
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn g2_what_is_sent_is_bounded_by_request_by_rule_and_by_task() {
    let allow = ["POST site.test max=4K budget=10K", "POST other.test"];
    let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "")).await;
    let mut settings = rules(&upstream, &allow, &[]);
    settings.byte_limit = 20_000;
    let gateway = Harness::start(settings);
    let send = async |host: &str, bytes: usize| {
        let reply = gateway
            .send(host, request("POST", host, "/", &"x".repeat(bytes)))
            .await;
        let reason = reply.headers().get("x-stockade-reason").cloned();
        (
            reply.status().as_u16(),
            reason.map(|value| value.to_str().unwrap().to_owned()),
        )
    };
    assert_eq!(
        send(SITE, 5000).await,
        (413, Some("http.body-length".into()))
    );
    assert_eq!(
        send(SITE, 4090).await,
        (413, Some("network.request-length".into()))
    );
    for _ in 0..3 {
        assert_eq!(send(SITE, 3000).await.0, 200);
    }
    assert_eq!(
        send(SITE, 3000).await,
        (403, Some("network.byte-budget".into()))
    );
    assert_eq!(send("other.test", 9000).await.0, 200);
    assert_eq!(
        send("other.test", 9000).await,
        (403, Some("budget.exhausted".into()))
    );
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn g3_a_placeholder_goes_to_no_allowed_host() {
    let (_upstream, gateway, seen) = ruled(&["ANY site.test"], &[]).await;
    let in_body = request("POST", SITE, "/", &format!("x{PLACEHOLDER}y"));
    let in_url = request("GET", SITE, &format!("/?k={PLACEHOLDER}"), "");
    let mut in_header = request("GET", SITE, "/", "");
    in_header
        .headers_mut()
        .insert("x-api-key", PLACEHOLDER.parse().unwrap());
    for request in [in_body, in_url, in_header] {
        let (_, body) = json(gateway.send(SITE, request).await).await;
        assert_eq!(body["rule"], "secrets.placeholder-misplaced");
    }
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(gateway.events(EventKind::Denied)[0]["alarm"], true);
}

#[tokio::test]
async fn g2_an_allowed_name_that_leads_inwards_is_refused_after_all() {
    let (_upstream, gateway, _) = ruled(&[INWARD], &[]).await;
    let (status, body) = json(gateway.send(INWARD, request("GET", INWARD, "/", "")).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["rule"], "network.private-address");
}

#[tokio::test]
async fn g2_an_address_is_reached_only_if_it_is_listed_as_it_is() {
    let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "hello")).await;
    let port = upstream.address.port();
    let listed = format!("http://127.0.0.1:{port}");
    for (allow, reached) in [
        (listed.as_str(), true),
        (&format!("http://127.0.0.0/8:{port}"), false),
    ] {
        let gateway = Harness::start(rules(&upstream, &[allow], &[]));
        let stream = gateway.dial(upstream.address).await;
        let host = upstream.address.to_string();
        let reply = send_over(stream, request("GET", &host, "/", "")).await;
        assert_eq!(reply.status().is_success(), reached, "{allow}");
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn g2_a_ruled_host_is_believed_only_with_a_certificate_for_its_name() {
    let (port, certificate, server) = tls_upstream(|_| text_reply("text/plain", "hello")).await;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    for (roots, reached) in [(roots, true), (RootCertStore::empty(), false)] {
        let listed = address.to_string();
        let settings = Settings {
            allow: ["secure.test", &listed]
                .map(|rule| rule.parse().unwrap())
                .to_vec(),
            services: vec![Service {
                name: "secure.test".parse().unwrap(),
                upstream: format!("https://localhost:{port}").parse().unwrap(),
            }],
            ..settings("https://unused.test")
        };
        let gateway = Harness::start_with_roots(settings, roots);
        let to_name = request("GET", "secure.test", "/", "");
        let by_name = gateway.send("secure.test", to_name).await;
        assert_eq!(by_name.status().is_success(), reached);
        // An address that a rule lists gets a certificate of its own inside.
        let stream = gateway.tls_to(address).await.unwrap();
        let by_address = send_over(stream, request("GET", &listed, "/", "")).await;
        assert_eq!(by_address.status().is_success(), reached);
    }
    server.abort();
}

#[tokio::test]
async fn g2_an_address_without_a_rule_gets_no_certificate() {
    let (_upstream, gateway, _) = ruled(&["**", "192.0.2.0/24"], &[]).await;
    let refused = gateway.tls_to("198.51.100.7:443".parse().unwrap()).await;
    assert!(refused.is_err());
    let event = gateway.event(EventKind::Denied).await;
    assert_eq!(event["rule"], "network.address-literal");
}

#[tokio::test]
async fn a_head_request_learns_the_length_and_compressed_replies_stay_as_they_are() {
    let (upstream, _) = recording_upstream(|| {
        let mut reply = text_reply("text/plain", "squeezed");
        let gzip = "gzip".parse().unwrap();
        reply.headers_mut().insert("content-encoding", gzip);
        reply
    })
    .await;
    let gateway = Harness::start(rules(&upstream, &[SITE], &[]));
    for (method, body) in [("HEAD", ""), ("GET", "squeezed")] {
        let reply = gateway.send(SITE, request(method, SITE, "/", "")).await;
        assert_eq!(reply.headers()["content-length"], "8", "{method}");
        assert_eq!(reply.headers()["content-encoding"], "gzip", "{method}");
        assert_eq!(text(reply).await.1, body);
    }
}

/// Rules change all the time while requests come in: what was allowed all
/// along is never refused, and what never was is never passed on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g2_rules_that_change_under_load_leave_no_gap_and_widen_nothing() {
    let (_upstream, gateway, seen) = ruled(&[SITE], &["never.test"]).await;
    let gateway = Arc::new(gateway);
    let changing = gateway.rules.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let changes = std::thread::spawn(move || {
        let grant = |rule: &str, lasting| changing.grant(rule.parse().unwrap(), lasting).unwrap();
        let mut round = 0_u64;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            round += 1;
            let shortly = Duration::from_millis(round % 3);
            grant(
                &format!("n{}.test max={}K", round % 50, round % 7 + 1),
                Some(shortly),
            );
            grant("never.test", None);
        }
        round
    });
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move {
            let allowed = client % 2 == 0;
            let host = if allowed { SITE } else { "never.test" };
            let mut connection = gateway.connect(host).await;
            for _ in 0..150 {
                connection.ready().await.unwrap();
                let reply = connection.send_request(request("GET", host, "/", ""));
                let status = text(reply.await.unwrap()).await.0;
                assert_eq!(status.is_success(), allowed, "{host}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    drop(stop);
    assert!(changes.join().unwrap() > 100);
    assert_eq!(seen.lock().unwrap().len(), 4 * 150);
}

#[tokio::test]
async fn g2_a_live_grant_lets_the_same_request_through_and_ends() {
    let (_upstream, gateway, seen) = ruled(&[], &[]).await;
    let mut connection = gateway.connect(SITE).await;
    let mut send = async || {
        connection
            .send_request(request("GET", SITE, "/", ""))
            .await
            .unwrap()
    };
    assert_eq!(text(send().await).await.0, StatusCode::FORBIDDEN);
    gateway
        .rules
        .grant(
            "GET site.test".parse().unwrap(),
            Some(Duration::from_hours(1)),
        )
        .unwrap();
    assert_eq!(text(send().await).await.0, StatusCode::OK);
    gateway
        .rules
        .grant("GET site.test".parse().unwrap(), Some(Duration::ZERO))
        .unwrap();
    assert_eq!(text(send().await).await.0, StatusCode::FORBIDDEN);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn g2_twenty_requests_are_twenty_records_with_exact_byte_counts() {
    let (upstream, seen) = recording_upstream(|| text_reply("text/plain", "0123456789")).await;
    let gateway = Harness::start(rules(&upstream, &["GET,POST site.test"], &[]));
    for index in 0..20_usize {
        let (method, body) = if index % 2 == 0 {
            ("GET", String::new())
        } else {
            ("POST", "x".repeat(index * 10))
        };
        let reply = gateway
            .send(SITE, request(method, SITE, &format!("/{index}"), &body))
            .await;
        assert_eq!(text(reply).await.1, "0123456789");
    }
    let sink = gateway.stop().await;
    let events = sink.events.lock().unwrap();
    let of = |kind| {
        events
            .iter()
            .filter(move |event| event.kind == kind)
            .map(|event| &event.body)
    };
    assert_eq!(of(EventKind::NetworkRequest).count(), 20);
    assert_eq!(of(EventKind::NetworkOutcome).count(), 20);
    for (outcome, seen) in of(EventKind::NetworkOutcome).zip(seen.lock().unwrap().iter()) {
        assert_eq!(outcome["path"], seen.uri.as_str());
        assert_eq!(outcome["method"], seen.method.as_str());
        assert_eq!(outcome["sent_body"], seen.body.len());
        assert_eq!(outcome["received"], 10);
        assert_eq!(outcome["ended"], "complete");
        assert_eq!(outcome["allowed_by"], "GET,POST site.test");
    }
}
