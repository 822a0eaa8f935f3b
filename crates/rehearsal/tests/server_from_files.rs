//! The server as a command runs it.

#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use stockade_rehearsal::{
    agent::{AgentOptions, run_agent},
    server::{RunError, RunOptions, TlsFiles, run_from_options},
};
use stockade_types::Redacted;

const KEY: &str = "sk-decoy-accepted";

fn options(script: &str) -> RunOptions {
    RunOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        script: script.to_owned(),
        variables: BTreeMap::new(),
        key: Redacted::new(KEY.to_owned()),
        canaries: Vec::new(),
        tls: None,
        record: None,
        ready_file: None,
    }
}

async fn read_when_there(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return text;
        }
        assert!(
            Instant::now() < deadline,
            "{} does not appear",
            path.display()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_script_file_is_served_over_tls_and_every_exchange_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), cert.pem()).unwrap();
    std::fs::write(file("key.pem"), signing_key.serialize_pem()).unwrap();
    let script = r#"{"name":"s","variables":["word"],"turns":[{"shell":"echo '${word}'"},{"text":"Done."}]}"#;
    std::fs::write(file("script.json"), script).unwrap();
    let mut options = options(file("script.json").to_str().unwrap());
    options
        .variables
        .insert("word".to_owned(), "hello".to_owned());
    options.tls = Some(TlsFiles {
        certificate: file("cert.pem"),
        key: file("key.pem"),
    });
    options.record = Some(file("record.jsonl"));
    options.ready_file = Some(file("ready"));
    let server = tokio::spawn(run_from_options(options));
    let url = read_when_there(&file("ready"))
        .await
        .replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://localhost:"), "{url}");
    let mut agent = AgentOptions::new("go", url.trim(), KEY, directory.path());
    agent.certificates = Some(file("cert.pem"));
    run_agent(agent, &mut Vec::new()).await.unwrap();
    server.abort();
    let record = std::fs::read_to_string(file("record.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = record
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["tool_results"][0]["text"], "hello\n");
    assert_eq!(lines[1]["key"], "accepted");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let error = run_from_options(options("/nonexistent/script.json"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/script.json"),
        "{error}"
    );
    let error = run_from_options(options("hostile")).await.unwrap_err();
    assert!(
        matches!(error, RunError::Script(_)) && error.to_string().contains("home"),
        "{error}"
    );
    let mut options = options("fix");
    let missing = Path::new("/nonexistent/cert.pem").to_owned();
    options.tls = Some(TlsFiles {
        certificate: missing.clone(),
        key: missing,
    });
    let error = run_from_options(options).await.unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/cert.pem"),
        "{error}"
    );
}
