//! Commands in sandboxes of their own: what they share with the task, and what
//! of them is left.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use self::host::{Host, LONGEST, Outcome, Task, has, processes, skip};

fn finish(mut command: Command) -> Outcome {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    host::wait_within(command.spawn().unwrap(), LONGEST).unwrap()
}

/// `stockade --json exec` with `kind`, and a text for the shell; its document.
fn exec(host: &Host, task: &Task, kind: &str, script: &str) -> Value {
    let words = ["--json", "exec", &task.id, kind, "--shell", script];
    let outcome = finish(host.command(&words));
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{script}: {outcome:?}"))
}

/// What a script prints, which must succeed.
fn output(host: &Host, task: &Task, kind: &str, script: &str) -> String {
    let document = exec(host, task, kind, script);
    assert_eq!(document["exit"], 0, "{script}: {document}");
    document["output"].as_str().unwrap().to_owned()
}

/// Starts a command in a sandbox of its own and does not wait for it.
fn begin(host: &Host, task: &Task, script: &str) -> Child {
    let mut command = host.command(&["exec", &task.id, "--fresh", "--shell", script]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Processes of this name on the machine.
fn named(marker: &str) -> usize {
    let all = processes::all();
    all.iter()
        .filter(|process| process.words[0].starts_with(marker))
        .count()
}

/// A name that no other process has.
fn marker(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

/// What a sandbox holds of its own in its scratch folders and shared memory.
const SCRATCH: &str = "ls -A /tmp /var/tmp /dev/shm /dev/pts; set -- /proc/[0-9]*; echo $#; \
     ipcs -m 2>/dev/null | grep -c ^0x; :";

#[test]
fn g1_a_fresh_command_and_the_task_see_nothing_of_each_other_but_workspace_and_home() {
    let host = Host::new();
    let own = marker("agent");
    let task = host.start(&format!(
        "echo secret > /tmp/own; echo secret > /dev/shm/own; echo secret > /var/tmp/own; \
         echo kept > ~/kept; echo work > work; touch ready; exec -a {own} sleep 1000"
    ));
    host::wait_for_file(&host, &task, "ready");
    for kind in ["--fresh", "--tightened"] {
        let script = format!(
            "cat work; ls -A /tmp /var/tmp /dev/shm; grep -ls '{}[t]-' /proc/[0-9]*/cmdline; \
             echo $$ > /tmp/mine; echo from {kind} > made",
            own.split_once("t-").unwrap().0
        );
        let seen = output(&host, &task, kind, &script);
        assert_eq!(seen, "work\n/dev/shm:\n\n/tmp:\n\n/var/tmp:\n", "{kind}");
        let after = host.exec(&task, "cat made; cat /tmp/own; ls -A /tmp");
        assert_eq!(after, (0, format!("from {kind}\nsecret\nown\n")));
    }
    assert_eq!(output(&host, &task, "--fresh", "cat ~/kept"), "kept\n");
    assert_eq!(output(&host, &task, "--tightened", "ls -A ~"), "");
}

#[test]
fn nothing_of_one_fresh_sandbox_is_in_another() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    for kind in ["--fresh", "--tightened"] {
        let first = output(&host, &task, kind, SCRATCH);
        let leave = "for d in /tmp /var/tmp /dev/shm; do echo x > $d/left; done; ipcmk -M 4096; \
             (setsid sleep 1000 &); echo";
        for _ in 0..24 {
            output(&host, &task, kind, leave);
        }
        // More than stand ready, and each network has had someone in it.
        for _ in 0..12 {
            assert_eq!(output(&host, &task, kind, SCRATCH), first, "{kind}");
        }
    }
}

#[test]
fn all_that_a_fresh_command_started_ends_with_it_and_with_its_time() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let left = marker("left");
    let start = format!("setsid bash -c 'exec -a {left} sleep 1000' >/dev/null 2>&1 &");
    output(&host, &task, "--fresh", &start);
    host::eventually("what it left behind is gone", || named(&left) == 0);
    let outcome = finish(host.command(&[
        "--json",
        "exec",
        &task.id,
        "--fresh",
        "--timeout",
        "300ms",
        "--shell",
        &format!("{start} trap '' TERM; while :; do sleep 1; done"),
    ]));
    assert_eq!(outcome.code, 124, "{outcome:?}");
    let result: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&result["end"], &result["whole_tree"]),
        (&"timeout".into(), &true.into())
    );
    host::eventually("all of it is gone", || named(&left) == 0);
    assert_eq!(host.status(&task)["state"]["name"], "running");
}

#[test]
fn g2_a_fresh_commands_requests_are_judged_by_the_tasks_rules_and_a_tightened_one_makes_none() {
    let host = Host::new();
    if !has("curl") {
        return skip("requests of fresh commands", "needs curl");
    }
    let task = host.start("sleep 1000");
    // More than there are networks, so that one is used again.
    for _ in 0..12 {
        let result = exec(&host, &task, "--fresh", "curl -s https://example.com/");
        assert_eq!(result["denials"][0]["host"], "example.com", "{result}");
        assert_eq!(result["denials"][0]["rule"], "network.default-deny");
    }
    let reach = "curl -sS -m 5 https://example.com/ || curl -sS -m 5 https://1.1.1.1/";
    let result = exec(&host, &task, "--tightened", reach);
    assert_ne!(result["exit"], 0, "{result}");
    assert_eq!(result["denials_count"], 0, "{result}");
}

#[test]
fn g1_a_listener_of_a_fresh_command_cannot_be_reached_by_the_next_one_nor_by_the_task() {
    let host = Host::new();
    if !has("python3") {
        return skip("listeners of fresh commands", "needs python3");
    }
    let task = host.start("sleep 1000");
    let listen = "import socket; s = socket.create_server(('127.0.0.1', 7777)); \
         u = socket.socket(socket.AF_UNIX); u.bind('\\0here'); u.listen(); \
         open('listening', 'w').close(); s.accept()";
    let mut listening = begin(&host, &task, &format!("exec python3 -c \"{listen}\""));
    host::wait_for_file(&host, &task, "listening");
    let reach = "import socket\n\
         for family, address in [(socket.AF_INET, ('127.0.0.1', 7777)), (socket.AF_UNIX, '\\0here')]:\n \
           try: socket.socket(family).connect(address); print('reached', address)\n \
           except OSError: pass";
    for kind in ["--fresh", "--tightened"] {
        let seen = output(&host, &task, kind, &format!("python3 -c \"{reach}\""));
        assert_eq!(seen, "", "{kind}");
    }
    let (exit, seen) = host.exec(&task, &format!("python3 -c \"{reach}\""));
    assert_eq!((exit, seen.as_str()), (0, ""));
    listening.kill().unwrap();
    listening.wait().unwrap();
}

#[test]
fn a_paused_tasks_fresh_commands_stand_still_and_none_starts() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let count = "n=0; while :; do n=$((n+1)); echo $n > count; sleep 0.01; done";
    let mut counting = begin(&host, &task, count);
    host::wait_for_file(&host, &task, "count");
    let count = || host.exec(&task, "cat count").1;
    host::eventually("it counts", || count() != "1\n");
    assert_eq!(host.stockade(&["pause", &task.id]).code, 0);
    let refused = host.stockade(&["exec", &task.id, "--fresh", "--", "true"]);
    assert!(refused.stderr.contains("paused"), "{refused:?}");
    let tree = processes::tree(&task.folder);
    let counts = |process: &&processes::Process| {
        process.words[0].ends_with("bash") && process.words.iter().any(|word| word.contains("n+1"))
    };
    let marked = tree.iter().find(counts).unwrap();
    host::eventually("it stands still", || {
        marked
            .status("State")
            .is_some_and(|state| state.starts_with('T'))
    });
    assert_eq!(host.stockade(&["resume", &task.id]).code, 0);
    let before = count();
    host::eventually("it goes on", || count() != before);
    counting.kill().unwrap();
    counting.wait().unwrap();
}

#[test]
fn g7_the_cap_on_processes_holds_for_all_sandboxes_of_a_task_together() {
    const CAP: usize = 4096;
    let host = Host::new();
    let task = host.start("sleep 1000");
    // Each of these alone stays below the cap, both together do not.
    let many = "i=0; while [ $i -lt 2500 ]; do sleep 60 & i=$((i+1)); done 2>/dev/null; \
         touch through-$0; sleep 60";
    let mut one = begin(&host, &task, &many.replace("$0", "1"));
    let mut other = begin(&host, &task, &many.replace("$0", "2"));
    let inside = || {
        let all = processes::tree(&task.folder);
        all.iter()
            .filter(|process| process.words[0] == "sleep")
            .count()
    };
    host::within(Duration::from_mins(1), "the cap is reached", || {
        inside() > CAP - 64
    });
    let passed = host::holds_within(Duration::from_millis(500), || inside() > CAP);
    assert!(!passed, "{}", inside());
    for child in [&mut one, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
}

#[test]
fn whatever_ends_a_task_ends_its_fresh_sandboxes_too() {
    let host = Host::new();
    let inside = marker("inside");
    for end in ["stop", "kill"] {
        let task = host.start("sleep 1000");
        let mut running = begin(&host, &task, &format!("exec -a {inside} sleep 1000"));
        host::eventually("it runs", || named(&inside) == 1);
        if end == "stop" {
            assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
        } else {
            let supervisor = processes::all()
                .into_iter()
                .find(|process| process.is_supervisor_of(&task.folder));
            supervisor.unwrap().kill();
        }
        host::eventually("nothing is left", || {
            named(&inside) == 0 && processes::tree(&task.folder).is_empty()
        });
        running.wait().unwrap();
    }
}

#[test]
fn an_ended_task_gets_sandboxes_for_fresh_commands() {
    let host = Host::new();
    let task = host.start("echo kept > work.txt");
    host.wait_for_state(&task, "done");
    task.wait_until_settled();
    assert_eq!(output(&host, &task, "--fresh", "cat work.txt"), "kept\n");
    task.wait_until_settled();
    assert_eq!(host.status(&task)["state"]["name"], "done");
}

#[test]
fn hundreds_of_fresh_commands_leave_no_process_descriptor_or_mount() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let counts = || {
        let tree = processes::tree(&task.folder);
        let open: usize = tree
            .iter()
            .map(|process| {
                std::fs::read_dir(format!("/proc/{}/fd", process.id)).map_or(0, Iterator::count)
            })
            .sum();
        [tree.len(), open]
    };
    // All that stand ready, and more networks than one command after another
    // needs, for those that are still ending.
    let several: Vec<Child> = (0..6).map(|_| begin(&host, &task, "sleep 0.5")).collect();
    for mut child in several {
        assert!(child.wait().unwrap().success());
    }
    let mut before = counts();
    host::eventually("as many stand ready as ever", || {
        let now = counts();
        std::mem::replace(&mut before, now) == now
    });
    for _ in 0..200 {
        output(&host, &task, "--fresh", "true");
    }
    host::eventually("there is no more than before", || {
        counts()
            .iter()
            .zip(&before)
            .all(|(now, before)| now <= before)
    });
}
