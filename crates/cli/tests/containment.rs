//! A task that uses up whatever it can is stopped at its cap, which is named;
//! another task goes on meanwhile.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{process::Stdio, time::Duration};

use serde_json::Value;

use self::host::{
    COUNTING, Host, Outcome, Task, count, eventually, finish_within, has, is_root, skip,
};

/// Longer than any of this takes, even on a busy machine.
const LONGEST: Duration = Duration::from_mins(4);

/// Runs `script` in a task of its own while another one counts, and sees that
/// it does, before, during and after.
fn beside_another(words: &[&str], script: &str) -> (Host, Task, Outcome) {
    let host = Host::new();
    let other = host.start(COUNTING);
    eventually("the other task counts", || count(&host, &other) > 0);
    let words = [
        &["run", "--yes", "--name", "greedy"],
        words,
        &["--", "bash", "-c", script],
    ]
    .concat();
    let outcome = finish_beside(&host, &other, &words);
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().unwrap().iter();
    let greedy = tasks.find(|task| task["slug"] == "greedy").unwrap();
    let greedy = host.task(greedy["id"].as_str().unwrap());
    (host, greedy, outcome)
}

/// Runs `words` to their end, and sees that `other` goes on meanwhile and afterwards.
fn finish_beside(host: &Host, other: &Task, words: &[&str]) -> Outcome {
    let mut command = host.command(words);
    command.stdin(Stdio::null());
    let goes_on = || {
        let before = count(host, other);
        eventually("the other task goes on", || count(host, other) > before);
    };
    let outcome = std::thread::scope(|scope| {
        let greedy = scope.spawn(|| finish_within(command, LONGEST).unwrap());
        goes_on();
        greedy.join().unwrap()
    });
    goes_on();
    outcome
}

/// Runs `words` by `exec` in a task that was started with `started` while
/// another one counts, and sees that it does; the result of the command.
fn exec_beside_another(started: &[&str], words: &[&str]) -> (Host, Task, Value) {
    let host = Host::new();
    let other = host.start(COUNTING);
    eventually("the other task counts", || count(&host, &other) > 0);
    let greedy = host.start_with(&[&["--yes"], started].concat(), "sleep 1000");
    let words = [&["--json", "exec", &greedy.id], words].concat();
    let outcome = finish_beside(&host, &other, &words);
    let result = serde_json::from_str(&outcome.stdout);
    (
        host,
        greedy,
        result.unwrap_or_else(|_| Value::String(format!("{outcome:?}"))),
    )
}

/// What `result` says of a cap on `of` that was met.
fn cap_met(result: &Value, of: &str) -> Value {
    let caps = result["caps"].as_array().or(result["caps_met"].as_array());
    let met = caps.and_then(|caps| caps.iter().find(|met| met["cap"] == of));
    assert!(met.is_some(), "{of}: {result}");
    met.unwrap().clone()
}

/// The rule of the last refusal in the task's record, once there is one.
fn refused_by(host: &Host, task: &Task) -> String {
    let mut rule = String::new();
    eventually("it is explained", || {
        let mut why = host.command(&["--json", "why", "--task", &task.id]);
        why.stdin(Stdio::null());
        let why: Option<Value> = serde_json::from_str(&host::finish(why).stdout).ok();
        let named = why.and_then(|why| Some(why["body"]["denial"]["rule"].as_str()?.to_owned()));
        rule = named.unwrap_or_default();
        !rule.is_empty()
    });
    rule
}

/// Whether the scripts here can run; says so if not.
fn has_perl() -> bool {
    let has = has("perl");
    if !has {
        skip(
            "tasks that use up what they can",
            "there is no perl to do it with",
        );
    }
    has
}

#[test]
fn g7_a_million_files_are_stopped_at_the_quota() {
    if !has_perl() {
        return;
    }
    // Empty ones, which take no block.
    let script = "perl -e 'for my $d (1 .. 1000) { mkdir qq(d$d); for (1 .. 1000) { open my $f, q(>), qq(d$d/$_) or die $! } }'; echo all";
    let (host, _, outcome) = beside_another(&["--quota", "16M"], script);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(!outcome.stdout.contains("all"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("(limits.disk): it used "),
        "{outcome:?}"
    );
    let why = host.json(&["why", "--task", "greedy"]);
    assert_eq!(why["body"]["denial"]["rule"], "limits.disk");
}

#[test]
fn g7_scratch_folders_have_room_for_so_many_files_and_no_more() {
    let host = Host::new();
    let said = host.look("stat --file-system --format %c /tmp /var/tmp /dev/shm");
    assert_eq!(said, "1048576\n".repeat(3));
}

#[test]
fn g7_a_hundred_thousand_open_files_stop_at_the_cap() {
    if !has_perl() {
        return;
    }
    let script = "perl -e 'my @f; while (open my $f, q(<), q(/dev/null)) { push @f, $f; last if @f >= 100000 } print scalar(@f), qq( $!\\n)'";
    let (_, _, outcome) = beside_another(&[], script);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let (opened, error) = outcome.stdout.trim().split_once(' ').unwrap();
    assert_eq!(error, "Too many open files", "{outcome:?}");
    assert!(opened.parse::<u32>().unwrap() <= 65_536, "{outcome:?}");
}

#[test]
fn g7_a_gibibyte_of_output_is_passed_on_and_only_its_beginning_is_kept() {
    const KEPT: u64 = 64 << 20;
    let script = "echo begin; head -c 1G /dev/zero | tr '\\0' x; echo; echo end";
    let (host, greedy, outcome) = beside_another(&["--detach"], script);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    host::within(LONGEST, "it ends", || {
        host.status(&greedy)["state"]["name"] == "done"
    });
    assert_eq!(
        greedy.folder.join("output.log").metadata().unwrap().len(),
        KEPT
    );
    let met = cap_met(&host.status(&greedy), "output");
    assert_eq!(
        (&met["limit"], &met["strength"]),
        (&KEPT.into(), &"supervisor".into())
    );
    assert!(met["seen"].as_u64().unwrap() > 1 << 30, "{met}");
    let logs = host.stockade(&["logs", "greedy"]);
    assert!(logs.stdout.starts_with("begin\nxxx"), "{}", logs.code);
    assert_eq!(logs.code, 0);
}

#[test]
fn g7_busy_loops_on_every_processor_leave_others_their_share() {
    let script = "for i in $(seq $(($(nproc) * 4))); do timeout 5 sh -c 'while :; do :; done' & done; wait; echo over";
    let (_, _, outcome) = beside_another(&[], script);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "over\n"),
        "{outcome:?}"
    );
}

#[test]
fn g7_a_bomb_of_processes_is_named_in_the_result_of_its_command() {
    if !has_perl() {
        return;
    }
    // Long enough to be counted from outside, where the kernel counts no refusals.
    let bomb = "perl -e 'my @p; while (defined(my $p = fork)) { if (!$p) { sleep 1000; exit } push @p, $p } \
                print scalar(@p), qq( $!\n); sleep 15; kill 9, @p; 1 while wait > 0'";
    let (host, greedy, result) = exec_beside_another(&[], &["--shell", bomb]);
    assert_eq!(result["exit"], 0, "{result}");
    let met = cap_met(&result, "processes");
    assert_eq!(
        (&met["limit"], &met["strength"]),
        (&4096.into(), &"kernel".into())
    );
    // The kernel tells of refusals where there is a control group for them.
    let told = met["times"].as_u64().is_some_and(|times| times > 0);
    let seen = met["seen"].as_u64().is_some_and(|seen| seen + 16 >= 4096);
    assert!(told != seen, "{met}");
    assert!(
        told || !is_root() || !std::path::Path::new("/sys/fs/cgroup/pids").exists(),
        "{met}"
    );
    assert_eq!(refused_by(&host, &greedy), "limits.processes");
    assert_eq!(
        cap_met(&host.status(&greedy), "processes")["cap"],
        "processes"
    );
    let quiet = host.json(&["exec", &greedy.id, "--", "true"]);
    assert!(quiet["caps"].is_null(), "{quiet}");
}

#[test]
fn g7_four_gibibytes_of_memory_are_named_in_the_result_of_the_command_that_wanted_them() {
    if !has_perl() {
        return;
    }
    const CAP: u64 = 192 << 20;
    let fill = "perl -e 'my @f; push @f, q(x) x (1 << 20) for 1 .. 4096; print qq(filled\n)'";
    let (host, greedy, result) = exec_beside_another(&["--memory", "192M"], &["--shell", fill]);
    let met = cap_met(&result, "memory");
    assert_eq!(met["limit"], CAP);
    assert_eq!(result["exit"], 137, "{result}");
    if met["strength"] == "kernel" {
        assert_eq!(result["end"], "signalled", "{result}");
        assert!(met["times"].as_u64().unwrap() > 0, "{met}");
    } else {
        // Nobody can hold one command alone: the task is ended.
        assert_eq!(
            (&met["strength"], &result["end"]),
            (&"watched".into(), &"task-ended".into())
        );
        assert!(met["seen"].as_u64().unwrap() > CAP, "{met}");
        host.wait_for_state(&greedy, "stopped");
    }
    assert_eq!(refused_by(&host, &greedy), "limits.memory");
}

#[test]
fn g7_a_million_files_are_named_in_the_result_of_the_command_that_made_them() {
    if !has_perl() {
        return;
    }
    let script = "perl -e 'for my $d (1 .. 1000) { mkdir qq(d$d); for (1 .. 1000) { open my $f, q(>), qq(d$d/$_) or die $! } }'; echo all";
    let (host, greedy, result) = exec_beside_another(&["--quota", "16M"], &["--shell", script]);
    let met = cap_met(&result, "disk");
    assert_eq!(
        (&met["limit"], &met["strength"]),
        (&(16 << 20).into(), &"watched".into())
    );
    assert!(met["seen"].as_u64().unwrap() > 16 << 20, "{met}");
    assert_eq!(result["end"], "task-ended", "{result}");
    assert_eq!(refused_by(&host, &greedy), "limits.disk");
    let task = host.wait_for_state(&greedy, "stopped");
    assert!(
        task["reason"].as_str().unwrap().contains("limits.disk"),
        "{task}"
    );
}

#[test]
fn g7_a_hundred_thousand_open_files_are_named_in_the_result_of_the_command() {
    if !has_perl() {
        return;
    }
    let counts = std::fs::metadata("/proc/self/fd").unwrap().len() > 0;
    if !counts {
        return skip(
            "open files in a result",
            "their number is told since Linux 6.2",
        );
    }
    // Nobody counts refusals: it is seen as long as they are open.
    let script = "perl -e 'my @f; while (open my $f, q(<), q(/dev/null)) { push @f, $f; last if @f >= 100000 } print scalar(@f), qq( $!\n); sleep 5'";
    let (host, greedy, result) = exec_beside_another(&[], &["--shell", script]);
    assert!(
        result["output"]
            .as_str()
            .unwrap()
            .ends_with("Too many open files\n"),
        "{result}"
    );
    let met = cap_met(&result, "open-files");
    let (_, limit) = host.exec(&greedy, "ulimit -n");
    let limit: u64 = limit.trim().parse().unwrap();
    assert!(limit <= 65_536, "{limit}");
    assert_eq!(
        (&met["limit"], &met["strength"], &met["seen"], &met["times"]),
        (&limit.into(), &"kernel".into(), &limit.into(), &Value::Null)
    );
    assert_eq!(refused_by(&host, &greedy), "limits.open-files");
}

#[test]
fn g7_output_that_is_not_kept_is_named_in_the_result_of_the_command() {
    let script = "head -c 8M /dev/zero | tr '\\0' x; echo";
    let (_, _, result) = exec_beside_another(&[], &["--shell", script]);
    let met = cap_met(&result, "output");
    assert_eq!(
        (&met["limit"], &met["strength"]),
        (&65_536.into(), &"supervisor".into())
    );
    assert_eq!(met["seen"], result["output_bytes"], "{result}");
    assert_eq!(result["truncated"], true);
}

#[test]
fn g7_a_busy_loop_is_named_in_the_result_by_its_own_cap_and_by_the_tasks() {
    const LOOPS: &str =
        "for i in $(seq $(($(nproc) * 4))); do while :; do :; done & done; while :; do :; done";
    let own = ["--cpu", "1", "--timeout", "3m", "--shell", LOOPS];
    let (_, _, result) = exec_beside_another(&[], &own);
    let met = cap_met(&result, "processor-time");
    assert_eq!(
        (&met["limit"], &met["strength"], &met["times"]),
        (&1.into(), &"kernel".into(), &1.into())
    );
    assert_eq!(result["signal"], 24, "{result}");

    let refused = Host::new().stockade(&["run", "--cpus", "0.1", "--", "true"]);
    if refused.code != 0 {
        assert!(
            refused.stderr.contains("nobody can keep it here"),
            "{refused:?}"
        );
        return skip("a share of the processors", "no control group can be made");
    }
    // Far less than such a busy machine leaves it.
    let shared = ["--timeout", "10s", "--shell", LOOPS];
    let (host, greedy, result) = exec_beside_another(&["--cpus", "0.1"], &shared);
    let met = cap_met(&result, "processors");
    assert_eq!(
        (&met["limit"], &met["strength"]),
        (&10.into(), &"kernel".into())
    );
    assert!(met["times"].as_u64().unwrap() > 0, "{met}");
    eventually("the task's state tells it", || {
        host.status(&greedy)["caps_met"].is_array()
    });
}
