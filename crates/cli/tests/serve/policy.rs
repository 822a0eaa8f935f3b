//! The policy of a sandbox's task, for commands of programs.

use serde_json::json;

use crate::{Server, exec, host::Host};

#[test]
fn g4_a_program_learns_which_rule_refused_its_command_and_what_to_do_instead() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let server = Server::start_judged(&host);
    assert_eq!(server.exec(&task, "echo a")["output"]["text"], "a\n");
    let text = json!({ "shell": "touch made; git push --force origin main" });
    let problem = server.post(&exec(&task), &text).problem(403, "policy");
    assert_eq!(problem["denial"]["rule"], "git.push-force-protected");
    assert_eq!(problem["denial"]["instead"], "Push to a new branch.");
    let contained = server.exec(&task, "eval \"$CODE\"; ls");
    assert_eq!(contained["contained"]["rule"], "exec.opaque");
    assert_eq!(contained["output"]["text"], "README.md\n");
}

#[test]
fn g4_a_sessions_texts_are_judged_by_what_the_ones_before_have_set() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let server = Server::start_judged(&host);
    let session = server.session(&task, &json!({}));
    let run = |text: &str| server.post(&format!("{session}/exec"), &json!({ "shell": text }));
    let set = "greet() { echo hi; }; CODE='git push --force origin main'";
    assert_eq!(run(set).done(200)["exit"], 0);
    assert_eq!(run("greet").done(200)["stdout"]["text"], "hi\n");
    let problem = run("$CODE").problem(403, "policy");
    assert_eq!(problem["denial"]["rule"], "git.push-force-protected");
    let problem = run("eval \"$UNKNOWN\"").problem(403, "policy");
    assert_eq!(problem["denial"]["rule"], "exec.opaque");
    // It goes on.
    assert_eq!(run("greet").done(200)["stdout"]["text"], "hi\n");
    let env = json!({ "env": { "LD_PRELOAD": "/workspace/project/x.so" } });
    let sessions = format!("/v1/sandboxes/{}/sessions", task.id);
    server.post(&sessions, &env).problem(403, "policy");
}
