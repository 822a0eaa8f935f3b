//! The built-in agent against the model server, over loopback.

#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use stockade_rehearsal::{
    agent::{AgentError, AgentOptions, AgentReport, ClientError, run_agent},
    demo_repository,
    script::Script,
    scripts,
    server::{ServerHandle, ServerOptions},
    transcript::{ExchangeKind, KeyCheck},
};

const KEY: &str = "sk-decoy-accepted";

async fn run(options: AgentOptions) -> (Result<AgentReport, AgentError>, String) {
    let mut transcript = Vec::new();
    let result = run_agent(options, &mut transcript).await;
    (result, String::from_utf8(transcript).unwrap())
}

/// An agent whose git has no configuration of the caller's.
fn agent(prompt: &str, server: &ServerHandle, directory: &Path) -> AgentOptions {
    let mut options = AgentOptions::new(prompt, &server.base_url(), KEY, directory);
    options.environment = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    options
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test looks at what was made, with the real git"
)]
fn git(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .current_dir(directory)
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap()
}

fn stdout(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_fix_script_repairs_and_commits_the_demo_repository() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("demo");
    demo_repository::create(&repository).unwrap();
    let server = ServerHandle::start(ServerOptions::new(scripts::fix().unwrap(), KEY))
        .await
        .unwrap();
    let options = agent("Fix the test.", &server, &repository);
    let (result, transcript) = run(options).await;
    let report = result.unwrap();
    assert_eq!((report.turns, report.tool_calls), (6, 5));
    assert!(report.input_tokens > 0 && report.output_tokens > 0);
    assert!(
        transcript.contains("FAILED: greets by name"),
        "{transcript}"
    );
    assert!(transcript.contains("all tests passed"), "{transcript}");
    assert_eq!(server.transcript().failed_outcomes(), []);
    assert_eq!(server.transcript().outcomes().len(), 5);
    let exchanges = server.transcript().exchanges();
    assert!(
        exchanges
            .iter()
            .all(|e| e.kind == ExchangeKind::Turn && e.key == KeyCheck::Accepted)
    );
    assert_eq!(
        stdout(git(&repository, &["log", "--format=%s"])),
        "Correct the greeting\nAdd the greeter"
    );
    assert_eq!(stdout(git(&repository, &["status", "--porcelain"])), "");
}

#[tokio::test]
async fn the_agent_speaks_tls_to_whom_its_bundle_trusts_and_to_nobody_else() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let script = Script::parse(
        "s",
        r#"{"name":"s","turns":[{"shell":"echo hi"},{"text":"Done."}]}"#,
    );
    let mut options = ServerOptions::new(script.unwrap(), KEY);
    options.tls = Some(Arc::new(config));
    let server = ServerHandle::start(options).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let bundle = directory.path().join("bundle.pem");
    std::fs::write(&bundle, cert.pem()).unwrap();

    let base_url = format!("https://localhost:{}", server.address().port());
    let mut options = AgentOptions::new("go", &base_url, KEY, directory.path());
    options.certificates = Some(bundle.clone());
    let (result, transcript) = run(options.clone()).await;
    assert_eq!(result.unwrap().turns, 2);
    assert!(transcript.contains("$ echo hi\n  hi\n"), "{transcript}");

    let other = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&bundle, other.cert.pem()).unwrap();
    let error = run(options.clone()).await.0.unwrap_err();
    assert!(
        matches!(error, AgentError::Client(ClientError::Connect { .. })),
        "{error}"
    );
    std::fs::write(&bundle, "").unwrap();
    let error = run(options).await.0.unwrap_err();
    assert!(
        matches!(error, AgentError::Client(ClientError::Certificates { .. })),
        "{error}"
    );
    assert_eq!(server.transcript().count(), 2);
}

#[tokio::test]
async fn a_wrong_key_ends_the_run_with_the_servers_own_words_after_one_request() {
    let server = ServerHandle::start(ServerOptions::new(scripts::fix().unwrap(), KEY))
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = AgentOptions::new("go", &server.base_url(), "sk-other", directory.path());
    let error = run(options).await.0.unwrap_err();
    assert_eq!(error.to_string(), "API error 401: the API key is not valid");
    assert_eq!(server.transcript().count(), 1);
}

#[tokio::test]
async fn an_expectation_that_fails_is_reported_with_its_label() {
    let script = r#"{"name":"s","turns":[
        {"label":"say","shell":"echo one","expect":{"contains":["two"],"not_contains":["one"]}},
        {"text":"Done."}]}"#;
    let script = Script::parse("s", script).unwrap();
    let server = ServerHandle::start(ServerOptions::new(script, KEY))
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    run(AgentOptions::new(
        "go",
        &server.base_url(),
        KEY,
        directory.path(),
    ))
    .await
    .0
    .unwrap();
    let failed = server.transcript().failed_outcomes();
    assert_eq!(failed[0].label.as_deref(), Some("say"));
    assert_eq!(
        failed[0].failures,
        ["the result lacks `two`", "the result has `one`"]
    );
}

#[tokio::test]
async fn the_agent_stops_at_its_turn_limit_and_shows_no_escape_sequences() {
    let script = r#"{"name":"s","turns":[{"shell":"printf '\\033[2Jx'","repeat":50}]}"#;
    let script = Script::parse("s", script).unwrap();
    let server = ServerHandle::start(ServerOptions::new(script, KEY))
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut options = AgentOptions::new("go", &server.base_url(), KEY, directory.path());
    options.turns_max = 3;
    let (result, transcript) = run(options).await;
    assert!(matches!(result, Err(AgentError::TurnLimit(3))));
    assert_eq!(server.transcript().count(), 3);
    assert!(
        transcript.contains("[2Jx") && !transcript.contains('\u{1b}'),
        "{transcript:?}"
    );
}

#[test]
fn the_environment_must_hold_a_key_and_says_where_the_model_is() {
    let from = |entries: &'static [(&str, &str)]| {
        AgentOptions::from_environment("go", Path::new("/"), |name| {
            entries
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    };
    assert!(matches!(
        from(&[("ANTHROPIC_API_KEY", "")]),
        Err(AgentError::MissingKey)
    ));
    let options = from(&[("ANTHROPIC_API_KEY", "k")]).unwrap();
    assert_eq!(options.base_url, "https://api.anthropic.com");
    let options = from(&[
        ("ANTHROPIC_API_KEY", "k"),
        ("ANTHROPIC_BASE_URL", "http://a"),
        ("SSL_CERT_FILE", "/b"),
    ]);
    let options = options.unwrap();
    assert_eq!(options.base_url, "http://a");
    assert_eq!(options.certificates.as_deref(), Some(Path::new("/b")));
}

#[test]
fn the_demo_repository_is_the_same_each_time_and_tracks_what_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let commit = |name: &str| {
        let repository = directory.path().join(name);
        demo_repository::create(&repository).unwrap();
        stdout(git(&repository, &["rev-parse", demo_repository::BRANCH]))
    };
    assert_eq!(commit("one"), commit("two"));
    let repository = directory.path().join("one");
    assert_eq!(
        stdout(git(&repository, &["ls-files"])),
        ".gitignore\nREADME.md\nconfig/.env.production\nsrc/greet.sh\ntest.sh"
    );
    assert_eq!(stdout(git(&repository, &["status", "--porcelain"])), "");
    assert!(
        std::fs::read_to_string(repository.join(".env"))
            .unwrap()
            .contains(demo_repository::LOCAL_DECOY)
    );
    let error = demo_repository::create(&repository).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
}
