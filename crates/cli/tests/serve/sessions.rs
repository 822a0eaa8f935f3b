//! Sessions: a shell that stays.

use serde_json::{Value, json};

use crate::{
    Server,
    host::{eventually, processes},
    marker, named, standing, stubborn, sure_to_end,
};

fn shown(server: &Server, session: &str) -> Value {
    server.get(session).done(200)
}

fn output(result: &Value) -> &str {
    result["stdout"]["text"].as_str().unwrap()
}

#[test]
fn folder_variables_functions_and_options_hold_from_text_to_text() {
    let (_host, task, server) = standing();
    let session = server.session(
        &task,
        &json!({ "env": { "FIRST": "given" }, "cwd": "/usr" }),
    );
    assert_eq!(
        output(&server.run(&session, "pwd; echo $FIRST")),
        "/usr\ngiven\n"
    );
    let set = "cd /tmp; export A='b c'; declare -A map=([k]=v); greet() { echo \"hi $1\"; }; \
               alias ll=ls; shopt -s nullglob; set -u; trap 'echo end' EXIT; exec 9>/tmp/lock";
    assert_eq!(server.run(&session, set)["exit"], 0);
    let text = "pwd; printenv A; echo ${map[k]}; greet you; alias ll; echo /none/*; \
                echo $-; flock 9 && echo locked";
    let said = server.run(&session, text);
    let lines: Vec<&str> = output(&said).lines().collect();
    assert_eq!(lines[..4], ["/tmp", "b c", "v", "hi you"], "{said}");
    assert_eq!(lines[4..6], ["alias ll='ls'", ""], "{said}");
    assert!(lines[6].contains('u') && lines[7] == "locked", "{said}");
    let other = server.session(&task, &json!({}));
    assert_eq!(output(&server.run(&other, "echo [$A]")), "[]\n");
}

#[test]
fn a_hundred_texts_later_everything_still_holds_and_a_new_session_is_clean() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let set = "cd /tmp; export A=kept; next() { count=$((count + 1)); echo $count; }";
    server.run(&session, set);
    for turn in 1..=100 {
        assert_eq!(output(&server.run(&session, "next")), format!("{turn}\n"));
    }
    let last = server.run(&session, "pwd; echo $A");
    assert_eq!(output(&last), "/tmp\nkept\n");
    server.delete(&session);
    let clean = server.session(&task, &json!({}));
    let seen = server.run(&clean, "pwd; echo [$A$count]; next");
    assert_eq!(output(&seen), "/workspace/project\n[]\n");
    assert_eq!(seen["exit"], 127);
}

#[test]
fn a_code_is_the_texts_own_whatever_it_prints_and_wherever_it_writes() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    for (text, exit) in [
        ("true", 0),
        ("(exit 4)", 4),
        ("no-such-program", 127),
        ("kill -9 $BASHPID & wait $!", 137),
        ("if", 2),
        ("echo 'unbalanced", 2),
        ("break; continue; return", 0),
        ("for i in 1 2; do break; done; false", 1),
        ("cat; read x", 1),
        // As the shell would tell it, on every descriptor that there is.
        (
            "bash -c 'for d in {1..255}; do echo 00000000000000000000000000000000 0 >&$d; done' 2>/dev/null; (exit 7)",
            7,
        ),
        ("exec 60>&- 61<&-; (exit 8)", 8),
        ("printf 'no end of line'; (exit 9)", 9),
        ("", 0),
    ] {
        let result = server.run(&session, text);
        assert_eq!(result["exit"], exit, "{text}: {result}");
        assert_eq!(result["end"], "exited", "{text}: {result}");
        assert_eq!(result["session_over"], Value::Null, "{text}: {result}");
    }
    assert_eq!(shown(&server, &session)["state"], "ready");
}

#[test]
fn what_a_text_starts_has_no_descriptor_of_the_sessions() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let listed = server.run(&session, "bash -c 'echo /proc/$$/fd/*'");
    let numbers: Vec<&str> = output(&listed)
        .split_whitespace()
        .map(|path| path.rsplit('/').next().unwrap())
        .collect();
    // The last is bash's own, for the list.
    assert!(numbers.starts_with(&["0", "1", "2"]), "{numbers:?}");
    assert!(
        numbers.len() <= 4 && !numbers.contains(&"60"),
        "{numbers:?}"
    );
}

#[test]
fn a_shell_that_ends_ends_its_session_and_that_is_told() {
    let (_host, task, server) = standing();
    for (text, exit, end) in [
        ("exit 9", 9, "exited"),
        ("exec true", 0, "exited"),
        ("set -e; false", 1, "exited"),
        ("kill -9 $$", 137, "signalled"),
    ] {
        let session = server.session(&task, &json!({}));
        let result = server.run(&session, text);
        assert_eq!(
            (&result["exit"], &result["end"]),
            (&json!(exit), &json!(end)),
            "{text}"
        );
        assert_eq!(result["session_over"], true, "{text}");
        let over = shown(&server, &session);
        assert_eq!(
            (&over["state"], &over["exit"]),
            (&json!("over"), &json!(exit))
        );
        let again = server.post(&format!("{session}/exec"), &json!({ "shell": "true" }));
        let problem = again.problem(410, "session-over");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("with code {exit}")), "{detail}");
    }
    let list = server
        .get(&format!("/v1/sandboxes/{}/sessions", task.id))
        .done(200);
    assert_eq!(list["sessions"].as_array().unwrap().len(), 4);
}

#[test]
fn a_shell_that_ends_between_two_texts_is_noticed() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    server.run(
        &session,
        "(while [ ! -e go ]; do sleep 0.01; done; kill -9 $$) &",
    );
    server.exec(&task, "touch go");
    eventually("the session is over", || {
        shown(&server, &session)["state"] == "over"
    });
    assert_eq!(shown(&server, &session)["exit"], 137);
    let text = json!({ "shell": "true" });
    server
        .post(&format!("{session}/exec"), &text)
        .problem(410, "session-over");
}

#[test]
fn when_the_time_of_a_text_is_up_its_session_ends_with_all_that_was_started_in_it() {
    let (host, task, server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    let session = server.session(&task, &json!({}));
    let marker = marker("session-late");
    let text = json!({ "shell": stubborn(&marker), "timeout_ms": 1000 });
    let result = server.post(&format!("{session}/exec"), &text).done(200);
    assert_eq!(
        (&result["end"], &result["session_over"]),
        (&json!("timeout"), &json!(true))
    );
    eventually("all of it is gone", || named(&marker) == 0);
    assert_eq!(shown(&server, &session)["state"], "over");
    // A text that ends in time has no such end.
    let other = server.session(&task, &json!({}));
    let text = json!({ "shell": "echo quick", "timeout_ms": 60_000 });
    let result = server.post(&format!("{other}/exec"), &text).done(200);
    assert_eq!(
        (&result["end"], &result["exit"]),
        (&json!("exited"), &json!(0))
    );
}

#[test]
fn a_session_runs_one_text_at_a_time_and_others_go_on_beside_it() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let other = server.session(&task, &json!({}));
    let wait = json!({ "shell": "while [ ! -e go ]; do sleep 0.01; done; echo went" });
    let waiting = server.open(&format!("{session}/exec"), &wait, &[]);
    eventually("it is busy", || shown(&server, &session)["state"] == "busy");
    let text = json!({ "shell": "true" });
    server
        .post(&format!("{session}/exec"), &text)
        .problem(409, "in-use");
    assert_eq!(server.run(&other, "touch go")["exit"], 0);
    assert_eq!(output(&waiting.finish().done(200)), "went\n");
    assert_eq!(shown(&server, &session)["state"], "ready");
}

#[test]
fn closing_a_session_ends_the_text_that_it_runs_and_all_that_was_started() {
    let (host, task, server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    let session = server.session(&task, &json!({}));
    let marker = marker("session-closed");
    let text = json!({ "shell": stubborn(&marker) });
    let waiting = server.open(&format!("{session}/exec"), &text, &[]);
    eventually("it runs", || named(&marker) == 3);
    assert_eq!(server.delete(&session).status, 204);
    waiting.finish().problem(410, "session-over");
    eventually("all of it is gone", || named(&marker) == 0);
    server.get(&session).problem(404, "not-found");
    server.delete(&session).problem(404, "not-found");
}

#[test]
fn a_session_can_be_closed_whose_reader_has_stopped() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let marker = marker("session-unread");
    let text = json!({ "shell": format!("exec -a {marker} yes") });
    let path = format!("{session}/exec");
    let mut unread = server.open(&path, &text, &[("accept", "text/event-stream")]);
    assert_eq!(unread.head().0, 200);
    let (mut last, mut same) = (None, 0);
    eventually("the text waits for its reader", || {
        let now = processor_time(&marker);
        same = if now.is_some() && now == last {
            same + 1
        } else {
            0
        };
        last = now;
        same >= 20
    });
    assert_eq!(server.delete(&session).status, 204);
    eventually("it is gone", || named(&marker) == 0);
}

/// The processor time that the one process of this name has used.
fn processor_time(marker: &str) -> Option<String> {
    let all = processes::all();
    let mut named = all.iter().filter(|process| process.words[0] == marker);
    let stat = std::fs::read_to_string(named.next()?.file("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11..13)?.join(" "))
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_text_ends_its_session() {
    let (host, task, server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    for accept in ["application/json", "text/event-stream"] {
        let session = server.session(&task, &json!({}));
        let marker = marker("session-orphan");
        let text = json!({ "shell": stubborn(&marker) });
        let path = format!("{session}/exec");
        let waiting = server.open(&path, &text, &[("accept", accept)]);
        eventually("it runs", || named(&marker) == 3);
        drop(waiting);
        eventually("all of it is gone", || named(&marker) == 0);
        eventually("the session is over", || {
            shown(&server, &session)["state"] == "over"
        });
        let reason = shown(&server, &session)["reason"].clone();
        assert!(
            reason.as_str().unwrap().contains("client went away"),
            "{reason}"
        );
    }
}

#[test]
fn what_is_left_running_goes_on_into_later_texts() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({ "merged": true }));
    let begun = server.run(
        &session,
        "(while [ ! -e go ]; do sleep 0.01; done; echo late) & echo begun",
    );
    assert_eq!(begun["output"]["text"], "begun\n");
    let later = server.run(&session, "touch go; wait; echo done");
    assert_eq!(later["output"]["text"], "late\ndone\n");
}

#[test]
fn all_that_a_text_printed_is_there_when_it_ends() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    for _ in 0..20 {
        let said = server.run(&session, "seq 2000; echo last >&2");
        assert_eq!(said["stdout"]["lines"], 2000);
        assert_eq!(said["stderr"]["text"], "last\n");
    }
    let long = server.run(&session, "seq 100000");
    assert_eq!(long["stdout"]["lines"], 100_000);
    let handle = long["whole_output"].as_str().unwrap();
    assert_eq!(
        server.get(handle).done(200)["total"],
        long["stdout"]["bytes"]
    );
}

#[test]
fn a_text_may_be_long_and_holds_what_any_text_holds() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let words = "grün ✓ \\ ' \" $x `y`\n\tz".repeat(10_000);
    let text = format!("cat <<'STOP' | md5sum\n{words}\nSTOP\n");
    let said = server.run(&session, &text);
    let expected = server.post(
        &format!("/v1/sandboxes/{}/exec", task.id),
        &json!({ "argv": ["md5sum"], "stdin": format!("{words}\n") }),
    );
    assert_eq!(output(&said), output(&expected.done(200)));
    let nul = server.post(&format!("{session}/exec"), &json!({ "shell": "a\0b" }));
    nul.problem(400, "invalid");
    assert_eq!(output(&server.run(&session, "echo on")), "on\n");
}

#[test]
fn caps_hold_for_all_that_is_started_in_a_session() {
    let (_host, task, server) = standing();
    let limits = json!({ "limits": { "open_files": 64, "file_bytes": 4096 } });
    let session = server.session(&task, &limits);
    let said = server.run(&session, "ulimit -n; bash -c 'ulimit -f'");
    assert_eq!(output(&said), "64\n4\n");
    let sessions = format!("/v1/sandboxes/{}/sessions", task.id);
    for (wanted, named) in [
        (json!({ "limits": { "open_files": 63 } }), "at least 64"),
        (json!({ "env": { "A-B": "1" } }), "A-B"),
        (json!({ "shell": "true" }), "shell"),
    ] {
        let problem = server.post(&sessions, &wanted).problem(400, "invalid");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{detail}");
    }
}

#[test]
fn files_that_a_text_changed_are_told() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let text = json!({ "shell": "echo new > new.txt", "files": true });
    let result = server.post(&format!("{session}/exec"), &text).done(200);
    assert_eq!(result["files"]["created"], json!(["new.txt"]));
}

#[test]
fn who_writes_where_only_the_shell_tells_ends_the_session_and_deceives_nobody() {
    let (_host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    // The shell itself cannot be without the descriptor.
    let script = "for d in {3..255}; do echo x 0 >&$d; done 2>/dev/null; sleep 1000";
    let forged = server.run(&session, script);
    assert_eq!(forged["session_over"], true, "{forged}");
    assert_ne!(forged["exit"], 0, "{forged}");
    let error = forged["error"].as_str().unwrap();
    assert!(error.contains("only the session's shell tells"), "{error}");
}

#[test]
fn sessions_end_with_their_sandbox_and_with_their_server() {
    let (host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    let marker = marker("session-left");
    let text = format!("(exec -a {marker} sleep 1000) & sleep 0");
    server.run(&session, &text);
    assert_eq!(named(&marker), 1);
    let outcome = server.stop();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    eventually("what was started in it is gone", || named(&marker) == 0);
    assert_eq!(host.status(&task)["state"]["name"], "running");

    let server = Server::start(&host);
    server.get(&session).problem(404, "not-found");
    let session = server.session(&task, &json!({}));
    host.json(&["stop", &task.id]);
    eventually("the session is over", || {
        shown(&server, &session)["state"] == "over"
    });
}
