//! What an agent's hook is told of a tool call, in the agent's own form.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{io::Write, process::Stdio};

use serde_json::{Value, json};

use self::host::{Host, LONGEST, Outcome, failure::USAGE, rules::host_with_rules, wait_within};

/// What the hook of `agent` answers to `event`.
fn hook(host: &Host, agent: &str, event: &[u8]) -> Outcome {
    let mut command = host.command(&["hook", agent]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have answered before it reads: then nobody does.
    let _ = child.stdin.take().unwrap().write_all(event);
    wait_within(child, LONGEST).unwrap()
}

fn runs(text: &str) -> Vec<u8> {
    let event = json!({
        "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": { "command": text },
        "a field of next year": { "whatever": 1 },
    });
    event.to_string().into_bytes()
}

#[test]
fn a_denied_tool_call_is_answered_in_each_agents_form_with_reason_and_what_else_to_do() {
    let host = Host::new();
    for agent in ["claude", "codex", "gemini", "opencode"] {
        let denied = hook(&host, agent, &runs("git push --force origin main"));
        assert_eq!(denied.code, 2, "{denied:?}");
        let answer: Value = serde_json::from_str(&denied.stdout).unwrap();
        let (word, reason) = match agent {
            "claude" | "codex" => {
                let said = &answer["hookSpecificOutput"];
                assert_eq!(said["hookEventName"], "PreToolUse");
                (
                    &said["permissionDecision"],
                    &said["permissionDecisionReason"],
                )
            }
            _ => (&answer["decision"], &answer["reason"]),
        };
        assert_eq!(word, "deny", "{agent}");
        let reason = reason.as_str().unwrap();
        for words in ["git.push-force-protected", "Push to a new branch."] {
            assert!(reason.contains(words), "{reason}");
            assert!(denied.stderr.contains(words), "{denied:?}");
        }
        let passed = hook(&host, agent, &runs("cargo test"));
        assert_eq!((passed.code, passed.stdout.as_str()), (0, ""), "{passed:?}");
    }
}

#[test]
fn where_a_person_must_decide_an_agent_that_can_ask_does_and_others_hear_no() {
    let host = Host::new();
    let asked = hook(&host, "claude", &runs("npm publish"));
    assert_eq!(asked.code, 0, "{asked:?}");
    assert!(asked.stdout.contains("\"ask\""), "{asked:?}");
    let denied = hook(&host, "codex", &runs("npm publish"));
    assert_eq!(denied.code, 2, "{denied:?}");
    assert!(denied.stderr.contains("A person must decide"), "{denied:?}");
}

#[test]
fn files_of_a_tool_call_are_judged_as_if_a_command_wrote_them() {
    let host = Host::new();
    let folder = host.repository();
    let event = |path: &str| {
        let event = json!({
            "cwd": folder, "tool_name": "Write", "tool_input": { "file_path": path, "content": "x" },
        });
        event.to_string().into_bytes()
    };
    let denied = hook(&host, "claude", &event(".git/hooks/pre-commit"));
    assert_ne!(denied.stdout, "", "{denied:?}");
    let passed = hook(&host, "claude", &event("src/main.rs"));
    assert_eq!((passed.code, passed.stdout.as_str()), (0, ""), "{passed:?}");
}

#[test]
fn g8_a_hook_that_cannot_judge_says_no() {
    let host = Host::new();
    for event in [&b"no json"[..], b"", b"[]", br#"{"tool_name":"Bash"}"#] {
        let denied = hook(&host, "gemini", event);
        assert_eq!(denied.code, 2, "{denied:?}");
        assert!(denied.stdout.contains("\"deny\""), "{denied:?}");
    }
    let (host, _) = host_with_rules("permit");
    let denied = hook(&host, "claude", &runs("true"));
    assert_eq!(denied.code, 2, "{denied:?}");
    assert!(denied.stderr.contains("mine.cedar:1:"), "{denied:?}");
    assert_eq!(hook(&host, "aider", &runs("true")).code, USAGE);
}
