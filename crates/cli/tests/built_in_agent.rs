//! The built-in agent as the program that runs inside.

#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{
    path::Path,
    process::{Command, Output},
};

use stockade_rehearsal::{
    script::Script,
    server::{ServerHandle, ServerOptions},
};

const KEY: &str = "sk-decoy-accepted";

fn stdout(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The program itself, as it runs inside: everything by environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs the program under test"
)]
async fn program(prompt: &str, environment: &[(&str, String)], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    command
        .args(["__rehearsal-agent", prompt])
        .current_dir(directory)
        .env_clear()
        .env("PATH", env!("PATH"));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    tokio::process::Command::from(command)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_program_exits_well_when_done_and_tells_the_servers_reason_when_refused() {
    let script =
        r#"{"name":"s","turns":[{"write":{"path":"a.txt","content":"b"}},{"text":"Done."}]}"#;
    let script = Script::parse("s", script).unwrap();
    let server = ServerHandle::start(ServerOptions::new(script, KEY))
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let environment = |key: &str| {
        [
            ("ANTHROPIC_BASE_URL", server.base_url()),
            ("ANTHROPIC_API_KEY", key.to_owned()),
        ]
    };
    let output = program("go", &environment(KEY), directory.path()).await;
    let text = stdout(output);
    assert!(
        text.contains("● Done.") && text.contains("2 turns, 1 tool calls"),
        "{text}"
    );
    assert_eq!(
        std::fs::read_to_string(directory.path().join("a.txt")).unwrap(),
        "b"
    );

    for (environment, reason) in [
        (
            &environment("sk-other")[..],
            "API error 401: the API key is not valid",
        ),
        (&[], "needs an API key in ANTHROPIC_API_KEY"),
    ] {
        let output = program("go", environment, directory.path()).await;
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("sk-other"), "{error}");
    }
}
