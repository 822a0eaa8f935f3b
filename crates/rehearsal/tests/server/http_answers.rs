//! Keys, canaries, limits and everything beside the conversation.

use serde_json::{Value, json};
use stockade_rehearsal::{
    script::Script,
    server::{ServerHandle, ServerOptions},
    transcript::{Canary, ExchangeKind, KeyCheck},
};

use crate::http_client::{KEY, SCRIPT, ask, get, key_header, post, server};

#[tokio::test]
async fn a_wrong_or_missing_key_gets_the_apis_own_error() {
    let server = server().await;
    for (path, wrong, missing) in [
        ("/v1/messages", 401, 401),
        ("/v1/messages/count_tokens", 401, 401),
        ("/v1/responses", 401, 401),
        ("/v1/chat/completions", 401, 401),
        ("/v1beta/models/m:generateContent", 400, 403),
        ("/v1beta/models/m:generateContent?key=sk-other", 400, 400),
    ] {
        let (name, _) = key_header(path);
        let answer = post(
            server.address(),
            path,
            &[(name, "Bearer sk-placeholder")],
            b"{}",
        )
        .await;
        assert_eq!(answer.status, wrong, "{path}");
        assert!(answer.json()["error"]["message"].is_string(), "{path}");
        let answer = post(server.address(), path, &[], b"{}").await;
        assert_eq!(answer.status, missing, "{path}");
    }
    let body = ask(&server, "/v1/messages", &json!({})).await.json();
    assert_eq!(body["type"], "message");
    let exchanges = server.transcript().exchanges();
    let last = exchanges.len() - 1;
    assert_eq!(exchanges[0].key, KeyCheck::Wrong);
    assert_eq!(exchanges[1].key, KeyCheck::Missing);
    assert_eq!(exchanges[last].key, KeyCheck::Accepted);
    assert!(
        exchanges[..last]
            .iter()
            .all(|exchange| exchange.kind == ExchangeKind::Refused)
    );
}

#[tokio::test]
async fn a_second_credential_beside_the_accepted_one_is_not_accepted() {
    let server = server().await;
    let headers = [
        ("x-api-key", KEY),
        ("authorization", "Bearer sk-placeholder"),
    ];
    let answer = post(server.address(), "/v1/messages", &headers, b"{}").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_side_request_gets_a_short_answer_that_fits_its_schema() {
    let server = server().await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "title?"}],
        "output_config": {"format": {"type": "json_schema", "schema":
            {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}}}});
    let answer = ask(&server, "/v1/messages", &body).await.json();
    let text = answer["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["title"].is_string());
    let exchange = &server.transcript().exchanges()[0];
    assert_eq!((exchange.kind, exchange.turn), (ExchangeKind::Side, None));
}

#[tokio::test]
async fn counts_models_probes_upgrades_and_unknown_paths_are_answered() {
    let server = server().await;
    let count = ask(
        &server,
        "/v1/messages/count_tokens",
        &json!({"messages": []}),
    )
    .await
    .json();
    assert!(count["input_tokens"].as_u64().unwrap() > 0);
    let count = ask(&server, "/v1beta/models/m:countTokens", &json!({}))
        .await
        .json();
    assert!(count["totalTokens"].as_u64().unwrap() > 0);
    let bearer = ("authorization", &*format!("Bearer {KEY}"));
    let list = get(server.address(), "GET", "/v1/models", &[bearer])
        .await
        .json();
    assert_eq!(list["object"], "list");
    let codex = get(
        server.address(),
        "GET",
        "/v1/models?client_version=1",
        &[bearer],
    )
    .await
    .json();
    assert_eq!(codex, json!({"models": []}));
    let anthropic = [("x-api-key", KEY), ("anthropic-version", "2023-06-01")];
    let list = get(server.address(), "GET", "/v1/models", &anthropic)
        .await
        .json();
    assert_eq!(list["data"][0]["type"], "model");
    let head = get(server.address(), "HEAD", "/api/hello", &[]).await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    let upgrade = [bearer, ("connection", "Upgrade"), ("upgrade", "websocket")];
    assert_eq!(
        get(server.address(), "GET", "/v1/responses", &upgrade)
            .await
            .status,
        426
    );
    assert_eq!(
        get(server.address(), "GET", "/v1/files", &[bearer])
            .await
            .status,
        404
    );
    let kinds: Vec<_> = server
        .transcript()
        .exchanges()
        .iter()
        .map(|e| e.kind)
        .collect();
    assert_eq!(
        kinds[5..],
        [
            ExchangeKind::Probe,
            ExchangeKind::Upgrade,
            ExchangeKind::Refused
        ]
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_encoded_or_no_json_is_refused() {
    let script = Script::parse("wire.json", SCRIPT).unwrap();
    let mut options = ServerOptions::new(script, KEY);
    options.body_bytes_max = 1000;
    let server = ServerHandle::start(options).await.unwrap();
    let key = ("x-api-key", KEY);
    let long = vec![b' '; 1001];
    assert_eq!(
        post(server.address(), "/v1/messages", &[key], &long)
            .await
            .status,
        413
    );
    let encoded = [key, ("content-encoding", "gzip")];
    assert_eq!(
        post(server.address(), "/v1/messages", &encoded, b"{}")
            .await
            .status,
        400
    );
    assert_eq!(
        post(server.address(), "/v1/messages", &[key], b"{")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_canary_is_reported_wherever_it_arrives_and_the_record_does_not_hold_it() {
    let script = Script::parse("wire.json", SCRIPT).unwrap();
    let mut options = ServerOptions::new(script, KEY);
    options.canaries = vec![Canary::new("placeholder", "sk-placeholder-1").unwrap()];
    let server = ServerHandle::start(options).await.unwrap();
    let headers = [("x-api-key", "sk-placeholder-1")];
    post(
        server.address(),
        "/v1/messages",
        &headers,
        b"{\"a\": \"sk-placeholder-1\"}",
    )
    .await;
    let hits = server.transcript().canary_hits();
    let places: Vec<_> = hits.iter().map(|hit| hit.place.as_str()).collect();
    assert_eq!(places, ["body", "header:x-api-key"]);
    let record = serde_json::to_string(&server.transcript().exchanges()).unwrap();
    assert!(!record.contains("sk-placeholder-1"), "{record}");
}

#[tokio::test]
async fn a_script_with_open_variables_is_not_served() {
    let script = Script::parse(
        "s",
        r#"{"name":"n","variables":["home"],"turns":[{"text":"x"}]}"#,
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ServerOptions::new(script.unwrap(), KEY);
    let error = stockade_rehearsal::server::serve(listener, options)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("home"), "{error}");
}
