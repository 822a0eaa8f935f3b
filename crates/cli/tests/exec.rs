//! Commands in a task's sandbox: how they are ended, what is told of them.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use self::host::{Host, LONGEST, Outcome, Task, failure, has, processes, skip};

/// The kernel has Landlock's scope for signals, by which whole trees are ended.
fn ends_whole_trees(host: &Host, task: &Task) -> bool {
    let result = run(host, task, &["--timeout", "1m", "--", "true"]);
    let whole = result["whole_tree"].as_bool().unwrap();
    if !whole {
        skip("ending what has left its process group", "needs Linux 6.12");
    }
    whole
}

fn finish(mut command: Command) -> Outcome {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    host::wait_within(command.spawn().unwrap(), LONGEST).unwrap()
}

/// `stockade --json exec` with these words after the task; its document.
fn run(host: &Host, task: &Task, words: &[&str]) -> Value {
    let outcome = finish(host.command(&[&["--json", "exec", &task.id], words].concat()));
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{words:?}: {outcome:?}"))
}

/// Processes of this name on the machine.
fn named(marker: &str) -> usize {
    let all = processes::all();
    all.iter()
        .filter(|process| process.words[0].starts_with(marker))
        .count()
}

#[test]
fn when_its_time_is_up_a_command_ends_with_everything_it_started_and_nothing_else() {
    let host = Host::new();
    let marker = format!("late-{}", std::process::id());
    let task = host.start(&format!("exec -a {marker}-agent sleep 1000"));
    if !ends_whole_trees(&host, &task) {
        return;
    }
    let outside = format!("setsid bash -c 'exec -a {marker}-other sleep 1000' >/dev/null 2>&1 &");
    assert_eq!(host.exec(&task, &outside).0, 0);
    let script = format!(
        "setsid nohup bash -c 'exec -a {marker}-1 sleep 1000' >/dev/null 2>&1 & \
         (setsid bash -c '(trap \"\" TERM HUP INT; exec -a {marker}-2 sleep 1000) & exit' &) ; \
         trap '' TERM; bash -c 'exec -a {marker}-3 sleep 1000'; sleep 1000"
    );
    let start = Instant::now();
    let result = run(&host, &task, &["--timeout", "1s", "--shell", &script]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(result["end"], "timeout", "{result}");
    assert_eq!(
        (&result["exit"], &result["signal"]),
        (&137.into(), &9.into())
    );
    host::eventually("all of it is gone", || {
        (1..=3).all(|number| named(&format!("{marker}-{number}")) == 0)
    });
    assert_eq!(named(&format!("{marker}-agent")), 1);
    assert_eq!(named(&format!("{marker}-other")), 1);
    let timed = host.stockade(&[
        "exec",
        &task.id,
        "--timeout",
        "100ms",
        "--",
        "sleep",
        "1000",
    ]);
    assert_eq!(timed.code, 124, "{timed:?}");
    assert!(timed.stderr.contains("its time was up"), "{timed:?}");
}

#[test]
fn a_fork_bomb_ends_when_its_time_is_up() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    if !ends_whole_trees(&host, &task) {
        return;
    }
    let marker = format!("bomb-{}", std::process::id());
    let script =
        format!("bomb() {{ (exec -a {marker} sleep 1000) & bomb & bomb & }}; bomb; sleep 1000");
    let result = run(&host, &task, &["--timeout", "1s", "--shell", &script]);
    assert_eq!(result["end"], "timeout", "{result}");
    host::eventually("the bomb is gone", || named(&marker) == 0);
    assert_eq!(host.exec(&task, "echo still here").1, "still here\n");
}

#[test]
fn a_command_with_a_time_can_signal_what_it_started_and_nothing_else() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    if !ends_whole_trees(&host, &task) {
        return;
    }
    let signals = "sleep 1000 & kill $! && echo own; kill -9 $(pgrep -x sleep | head -1) || echo not others; \
                   mkdir -p a b && touch a/f && mv a/f b/f && echo moved";
    let result = run(&host, &task, &["--timeout", "1m", "--shell", signals]);
    let output = result["output"].as_str().unwrap();
    assert!(output.contains("own\n"), "{result}");
    assert!(
        output.contains("not others\n") && output.ends_with("moved\n"),
        "{result}"
    );
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let (exit, output) = host.exec(
        &task,
        "bash -c 'exec -a free sleep 1000' >/dev/null & kill $! && echo killed",
    );
    assert_eq!((exit, output.as_str()), (0, "killed\n"));
}

#[test]
fn output_and_errors_arrive_apart_and_together_in_order() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let script = "echo out; echo err >&2; echo more";
    let outcome = finish(host.command(&["exec", &task.id, "--shell", script]));
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("out\nmore\n", "err\n")
    );
    let result = run(&host, &task, &["--shell", script]);
    assert_eq!(result["output"], "out\nerr\nmore\n");
    assert_eq!(result["truncated"], false);
}

#[test]
fn variables_folder_and_caps_are_the_commands_own() {
    let host = Host::new();
    let task = host.start("mkdir -p sub; sleep 1000");
    host::wait_for_file(&host, &task, "sub");
    let words = [
        "--cwd",
        "sub",
        "--env",
        "COLOUR=green and blue",
        "--env",
        "EMPTY=",
        "--file-size",
        "4K",
        "--address-space",
        "4G",
        "--cpu",
        "60",
        "--shell",
        "pwd; echo $COLOUR[$EMPTY]; ulimit -f -v -t; head -c 8192 /dev/zero > big; stat -c %s big",
    ];
    let result = run(&host, &task, &words);
    let output = result["output"].as_str().unwrap();
    assert!(
        output.starts_with("/workspace/project/sub\ngreen and blue[]\n"),
        "{result}"
    );
    for cap in [" 4\n", " 4194304\n", " 60\n"] {
        assert!(output.contains(cap), "{result}");
    }
    assert!(output.ends_with("4096\n"), "{result}");
    assert_eq!(host.exec(&task, "ulimit -t").1, "unlimited\n");
    for (variable, says) in [
        ("A-B=1", "no name of a variable"),
        ("SSL_CERT_FILE=/tmp/x", "set by Stockade"),
    ] {
        let refused = host.stockade(&["exec", &task.id, "--env", variable, "--", "true"]);
        assert_eq!(refused.code, failure::REFUSED, "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
}

#[test]
fn a_busy_loop_ends_at_its_cap_on_processor_time_and_usage_is_told() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let result = run(
        &host,
        &task,
        &["--cpu", "1", "--shell", "while :; do :; done"],
    );
    assert_eq!(result["end"], "signalled", "{result}");
    assert!(
        [24, 9].contains(&result["signal"].as_i64().unwrap()),
        "{result}"
    );
    let cpu = result["cpu_ms"].as_f64().unwrap();
    assert!((700.0..1_500.0).contains(&cpu), "{result}");
    assert!(result["wall_ms"].as_f64().unwrap() >= 900.0, "{result}");
    // Of a child that was waited for, and of memory that is really used.
    let script = "head -c 64M /dev/zero | tail -c 64M | wc -c; :";
    let result = run(&host, &task, &["--shell", script]);
    assert_eq!(result["output"], "67108864\n");
    assert!(result["peak_kib"].as_u64().unwrap() > 64 * 1024, "{result}");
}

#[test]
fn endless_output_is_cut_in_the_middle_and_kept_in_full_by_its_number() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let script =
        "printf '\\033[31mfirst\\033[0m\\n'; seq 100000; echo 'error: in the middle'; seq 100000";
    let result = run(&host, &task, &["--shell", script]);
    let output = result["output"].as_str().unwrap();
    assert_eq!(result["truncated"], true);
    assert_eq!(result["output_lines"], 200_002);
    assert!(output.len() < 100_000, "{}", output.len());
    assert!(output.starts_with("first\n1\n2\n") && output.ends_with("\n99999\n100000\n"));
    assert!(
        output.contains("[line 100002] error: in the middle\n"),
        "{output}"
    );
    assert!(!output.contains('\u{1b}'));
    let number = result["exec"].to_string();
    assert!(
        output.contains(&format!("stockade logs --exec {number}")),
        "{output}"
    );
    let whole = host.stockade(&["logs", &task.id, "--exec", &number]);
    assert_eq!(whole.code, 0, "{whole:?}");
    assert_eq!(whole.stdout.lines().count(), 200_002);
    assert_eq!(
        whole.stdout.len() as u64,
        result["output_bytes"].as_u64().unwrap()
    );
    let none = host.stockade(&["logs", &task.id, "--exec", "4000000"]);
    assert_eq!(none.code, failure::NOT_FOUND, "{none:?}");
}

#[test]
fn files_created_modified_and_deleted_are_told_and_those_only_read_are_not() {
    for back_end in ["overlay", "checkout"] {
        let host = Host::new();
        for (name, content) in [
            ("a.txt", "a"),
            ("b.txt", "b"),
            ("c.txt", "c"),
            ("d/e.txt", "e"),
            ("g/h.txt", "h"),
        ] {
            let path = host.repository().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        host.git(&["add", "-A"]);
        host.git(&["commit", "-qm", "files"]);
        let task = host.start_with(
            &["--backend", back_end],
            "echo early > early; echo gone > gone; sleep 1000",
        );
        host::wait_for_file(&host, &task, "gone");
        let script = "cat a.txt; echo more >> b.txt; rm c.txt; echo new > new.txt; mkdir n; ln -s x n/link; \
                      rm gone; echo late >> early; rm -r g; exec 3<>d/e.txt";
        let result = run(&host, &task, &["--files", "--shell", script]);
        let files = &result["files"];
        let list = |kind: &str| -> Vec<&str> {
            files[kind]
                .as_array()
                .unwrap()
                .iter()
                .map(|path| path.as_str().unwrap())
                .collect()
        };
        assert_eq!(
            list("created"),
            ["n/link", "new.txt"],
            "{back_end}: {files}"
        );
        assert_eq!(list("modified"), ["b.txt", "early"], "{back_end}: {files}");
        let gone = if back_end == "overlay" {
            "g"
        } else {
            "g/h.txt"
        };
        assert_eq!(
            list("deleted"),
            ["c.txt", gone, "gone"],
            "{back_end}: {files}"
        );
        assert_eq!(files["complete"], true);
        let again = run(
            &host,
            &task,
            &["--files", "--shell", "echo x > c.txt; cat b.txt"],
        );
        assert_eq!(
            again["files"]["created"],
            serde_json::json!(["c.txt"]),
            "{back_end}: {again}"
        );
        assert_eq!(
            again["files"]["modified"],
            serde_json::json!([]),
            "{back_end}: {again}"
        );
    }
}

#[test]
fn refusals_by_the_gateway_are_told_with_the_command_that_met_them() {
    let host = Host::new();
    if !has("curl") {
        return skip("refusals told with a command", "needs curl");
    }
    let task = host.start("sleep 1000");
    let result = run(&host, &task, &["--shell", "curl -s https://example.com/"]);
    let listed = result["denials"].as_array().unwrap();
    assert!(
        listed.iter().any(|denial| denial["host"] == "example.com"),
        "{result}"
    );
    assert!(result["denials_count"].as_u64().unwrap() >= 1);
    let quiet = run(&host, &task, &["--", "true"]);
    assert_eq!(quiet["denials_count"], 0, "{quiet}");
}

#[test]
fn an_ended_task_gets_a_sandbox_for_the_command_with_all_it_can_do() {
    let host = Host::new();
    let task = host.start("echo kept > work.txt");
    host.wait_for_state(&task, "done");
    task.wait_until_settled();
    let result = run(
        &host,
        &task,
        &[
            "--files",
            "--env",
            "A=b",
            "--shell",
            "cat work.txt; echo $A > more.txt",
        ],
    );
    assert_eq!(
        (&result["exit"], &result["output"]),
        (&0.into(), &"kept\n".into())
    );
    assert_eq!(result["files"]["created"], serde_json::json!(["more.txt"]));
    let timed = host.stockade(&[
        "exec",
        &task.id,
        "--timeout",
        "200ms",
        "--",
        "sleep",
        "1000",
    ]);
    assert_eq!(timed.code, 124, "{timed:?}");
    task.wait_until_settled();
    assert_eq!(host.status(&task)["state"]["name"], "done");
    let mut command = host.command(&["exec", &task.id, "--", "cat", "-", "more.txt"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let outcome = host::wait_within(child, LONGEST).unwrap();
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "typed\nb\n"),
        "{outcome:?}"
    );
}
