//! Commands: what they are given, what is told of them, how they are ended.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    Server, exec,
    host::{self, Task, has, skip},
    marker, named, standing, stubborn, sure_to_end,
};

/// Runs a command; its outcome.
fn run(server: &Server, task: &Task, command: &Value) -> Value {
    server.post(&exec(task), command).done(200)
}

#[test]
fn code_outputs_usage_and_number_are_told() {
    let (_host, task, server) = standing();
    let script = "echo out; echo err >&2; exit 3";
    let result = run(&server, &task, &json!({ "shell": script }));
    assert_eq!(
        (&result["exit"], &result["end"]),
        (&json!(3), &json!("exited"))
    );
    assert_eq!(result["stdout"]["text"], "out\n");
    assert_eq!(result["stderr"]["text"], "err\n");
    assert_eq!(result["stdout"]["truncated"], false);
    assert!(result["wall_ms"].as_f64().unwrap() > 0.0);
    assert!(result["cpu_ms"].as_f64().unwrap() > 0.0);
    assert!(result["peak_kib"].as_u64().unwrap() > 100);
    assert_eq!(
        (&result["denials"], &result["denials_count"]),
        (&json!([]), &json!(0))
    );
    let next = run(&server, &task, &json!({ "argv": ["true"] }));
    assert!(next["exec"].as_u64() > result["exec"].as_u64());
}

#[test]
fn both_outputs_are_one_in_the_order_of_printing_if_asked_for() {
    let (_host, task, server) = standing();
    let script = "echo a; echo b >&2; echo c";
    let result = run(&server, &task, &json!({ "shell": script, "merged": true }));
    assert_eq!(result["output"]["text"], "a\nb\nc\n");
    assert_eq!(
        (&result["stdout"], &result["stderr"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn words_variables_folder_input_and_caps_are_the_commands_own() {
    let (_host, task, server) = standing();
    server.exec(&task, "mkdir -p sub");
    let script = "pwd; echo $COLOUR; cat; ulimit -f -t -n";
    let result = run(
        &server,
        &task,
        &json!({
            "argv": ["bash", "-c", script],
            "cwd": "sub",
            "env": { "COLOUR": "green and blue" },
            "stdin": "typed\n",
            "limits": { "cpu_seconds": 60, "file_bytes": 4096, "open_files": 64 },
        }),
    );
    let output = result["stdout"]["text"].as_str().unwrap();
    assert!(
        output.starts_with("/workspace/project/sub\ngreen and blue\ntyped\n"),
        "{result}"
    );
    for cap in [" 4\n", " 60\n", " 64\n"] {
        assert!(output.contains(cap), "{result}");
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let input = json!({ "argv": ["sha256sum"], "stdin_base64": STANDARD.encode(&bytes) });
    let sum = run(&server, &task, &input);
    assert_eq!(
        sum["stdout"]["text"],
        "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880  -\n"
    );
}

#[test]
fn a_command_can_have_a_sandbox_of_its_own() {
    let (_host, task, server) = standing();
    server.exec(&task, "echo shared > file; echo own > /tmp/file");
    let script = "cat file; cat /tmp/file || echo none; (sleep 1000 &)";
    for isolation in ["fresh", "tightened"] {
        let command = json!({ "shell": script, "isolation": isolation });
        let result = run(&server, &task, &command);
        assert_eq!(result["stdout"]["text"], "shared\nnone\n", "{isolation}");
        assert_eq!(result["whole_tree"], true);
    }
}

#[test]
fn a_program_that_is_not_there_is_told_as_shells_do() {
    let (_host, task, server) = standing();
    let result = run(&server, &task, &json!({ "argv": ["no-such-program"] }));
    assert_eq!(
        (&result["exit"], &result["end"]),
        (&json!(127), &json!("not-started"))
    );
    assert!(result["error"].as_str().unwrap().contains("No such file"));
}

#[test]
fn when_its_time_is_up_a_command_and_all_it_started_are_gone() {
    let (host, task, server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    let marker = marker("served-late");
    let command = json!({ "shell": stubborn(&marker), "timeout_ms": 1000 });
    let result = run(&server, &task, &command);
    assert_eq!(
        (&result["end"], &result["exit"]),
        (&json!("timeout"), &json!(137))
    );
    host::eventually("all of it is gone", || named(&marker) == 0);
    assert_eq!(
        server.exec(&task, "echo still")["output"]["text"],
        "still\n"
    );
}

#[test]
fn a_client_that_vanishes_takes_its_command_and_all_it_started_along() {
    let (host, task, server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    for accept in ["application/json", "text/event-stream"] {
        let marker = marker("served-orphan");
        let command = json!({ "shell": stubborn(&marker) });
        let waiting = server.open(&exec(&task), &command, &[("accept", accept)]);
        host::eventually("it runs", || named(&marker) == 3);
        drop(waiting);
        host::eventually("all of it is gone", || named(&marker) == 0);
    }
    host::eventually("the server has noticed", || {
        server.get("/v1/health").done(200)["commands"] == 0
    });
}

#[test]
fn changed_files_are_told() {
    let (_host, task, server) = standing();
    let script = "echo more >> README.md; echo new > new.txt";
    let result = run(&server, &task, &json!({ "shell": script, "files": true }));
    let files = &result["files"];
    assert_eq!(files["created"], json!(["new.txt"]));
    assert_eq!(files["modified"], json!(["README.md"]));
    assert_eq!(
        (&files["deleted"], &files["complete"]),
        (&json!([]), &json!(true))
    );
}

#[test]
fn refusals_by_the_gateway_are_told() {
    let (_host, task, server) = standing();
    if !has("curl") {
        return skip("refusals told over the socket", "needs curl");
    }
    let script = "curl -s https://example.com/";
    let result = run(&server, &task, &json!({ "shell": script }));
    let denials = result["denials"].as_array().unwrap().iter();
    let mut denials = denials.filter(|denial| denial["host"] == "example.com");
    let denial = denials.next().unwrap();
    assert_eq!(denial["port"], 443);
    assert!(!denial["rule"].as_str().unwrap().is_empty());
}

#[test]
fn long_output_is_bounded_and_whole_by_its_handle_piece_by_piece() {
    let (_host, task, server) = standing();
    let script = "printf '\\033[31mfirst\\033[0m\\n'; seq 100000; echo 'error: here'; seq 100000";
    let result = run(&server, &task, &json!({ "shell": script, "merged": true }));
    let output = &result["output"];
    assert_eq!(
        (&output["truncated"], &output["lines"]),
        (&json!(true), &json!(200_002))
    );
    let text = output["text"].as_str().unwrap();
    assert!(text.len() < 100_000, "{}", text.len());
    assert!(text.starts_with("first\n1\n2\n") && text.ends_with("\n99999\n100000\n"));
    assert!(text.contains("[line 100002] error: here\n"), "{text}");

    let handle = result["whole_output"].as_str().unwrap();
    let (mut whole, mut at) = (String::new(), 0);
    loop {
        let path = format!("{handle}?offset={at}&length=300000");
        let piece = server.get(&path).done(200);
        assert_eq!(piece["total"], output["bytes"]);
        whole.push_str(piece["text"].as_str().unwrap());
        at = piece["next"].as_u64().unwrap();
        if piece["next"] == piece["total"] {
            break;
        }
    }
    let numbers: String = (1..=100_000)
        .map(|number: u32| number.to_string() + "\n")
        .collect();
    assert!(whole == format!("first\n{numbers}error: here\n{numbers}"));
    let quiet = run(&server, &task, &json!({ "argv": ["true"] }));
    assert_eq!(quiet["whole_output"], Value::Null);
    let none = format!("/v1/sandboxes/{}/execs/{}/output", task.id, quiet["exec"]);
    server.get(&none).problem(404, "not-found");
    for wrong in [
        "length=0",
        "length=99999999",
        "offset=x",
        "length",
        "size=1",
    ] {
        server
            .get(&format!("{handle}?{wrong}"))
            .problem(400, "invalid");
    }
}

#[test]
fn a_request_that_is_not_understood_is_answered_with_what_is_wrong() {
    let (_host, task, server) = standing();
    for (body, named) in [
        (r#"{"argv": ["true"], "tiemout_ms": 5}"#, "tiemout_ms"),
        (r#"{"argv": "true"}"#, "expected a sequence"),
        (r#"{"argv": ["true"], "argv": ["false"]}"#, "argv"),
        (r#"{"argv": ["true"], "limits": {"memory": 1}}"#, "memory"),
        (r#"{"argv": ["true"], "timeout_ms": -1}"#, "-1"),
        (
            r#"{"argv": ["true"], "stdin": "a", "stdin_base64": "YQ=="}"#,
            "stdin_base64",
        ),
        (r#"{"argv": ["cat"], "stdin_base64": "%"}"#, "base64"),
        (r#"{"argv": ["true"], "shell": "true"}"#, "say what to run"),
        (r#"{"argv": ["a\u0000b"]}"#, "NUL"),
        (r#"{"argv": ["true"], "env": {"A-B": "1"}}"#, "A-B"),
        (
            r#"{"argv": ["true"], "env": {"SSL_CERT_FILE": "x"}}"#,
            "SSL_CERT_FILE",
        ),
        ("{}", "say what to run"),
        ("", "say what to run"),
        ("[]", "expected"),
        ("{", "EOF"),
        ("\u{7f}", "expected value"),
    ] {
        let answer =
            crate::client::Open::ask(&server.socket, "POST", &exec(&task), &[], Some(body));
        let problem = answer.finish().problem(400, "invalid");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{body}: {detail}");
    }
}

#[test]
fn a_paused_sandbox_runs_nothing_until_it_goes_on() {
    let (host, task, server) = standing();
    let session = server.session(&task, &json!({}));
    host.json(&["pause", &task.id]);
    let command = json!({ "argv": ["true"] });
    let problem = server
        .post(&exec(&task), &command)
        .problem(409, "not-running");
    assert!(problem["detail"].as_str().unwrap().contains("paused"));
    let text = json!({ "shell": "true" });
    let refused = server.post(&format!("{session}/exec"), &text);
    refused.problem(409, "not-running");
    host.json(&["resume", &task.id]);
    assert_eq!(run(&server, &task, &command)["exit"], 0);
    assert_eq!(
        server.run(&session, "echo same")["stdout"]["text"],
        "same\n"
    );
}

#[test]
fn whoever_waits_for_a_command_is_told_that_its_sandbox_has_ended() {
    let (_host, task, server) = standing();
    let marker = marker("served-last");
    let command = json!({ "shell": format!("exec -a {marker} sleep 1000") });
    let waiting = server.open(&exec(&task), &command, &[]);
    host::eventually("it runs", || named(&marker) == 1);
    server
        .delete(&format!("/v1/sandboxes/{}", task.id))
        .done(200);
    waiting.finish().problem(409, "not-running");
}

#[test]
fn what_is_asked_stands_in_the_record() {
    let (host, task, server) = standing();
    server.exec(&task, "echo recorded-command");
    let session = server.session(&task, &json!({}));
    server.run(&session, "echo recorded-text");
    host.json(&["stop", &task.id]);
    task.wait_until_settled();
    let record: Vec<String> = task
        .record()
        .iter()
        .map(|record| record.body.to_string())
        .collect();
    for words in ["recorded-command", "recorded-text"] {
        let found = record.iter().filter(|body| body.contains(words));
        assert_eq!(found.count(), 1, "{words}: {record:?}");
    }
}

#[test]
fn a_tool_of_the_project_runs_by_its_name() {
    let host = host::Host::new();
    let folder = host.repository();
    let declared = "[tools.say]\nabout = \"Says it.\"\nrun = [\"printf\", \"%s\", \"{text}\"]\n\
                    arguments.text = { longest = 9000 }\noutput_bytes = 600\n";
    std::fs::write(folder.join("stockade.toml"), declared).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "a tool"]);
    let task = host.start("sleep 1000");
    let server = Server::start(&host);
    let said = json!({ "tool": "say", "arguments": { "text": "x; id" } });
    assert_eq!(run(&server, &task, &said)["stdout"]["text"], "x; id");
    let long = json!({ "tool": "say", "arguments": { "text": "x ".repeat(1000) }, "merged": true });
    let long = run(&server, &task, &long);
    assert!(long["summary"].as_str().unwrap().len() <= 600, "{long}");
    assert_eq!(long["output"]["bytes"], 2000);
    let problem = server
        .post(&exec(&task), &json!({ "tool": "nope" }))
        .problem(400, "invalid");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("there are: say"),
        "{problem}"
    );
}
