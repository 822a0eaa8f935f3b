//! Caps on what a task uses, and what becomes of those who want more.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, process::Stdio};

use serde_json::Value;

use self::host::{COUNTING, Host, Outcome, count, eventually, finish, is_root, processes, skip};

/// Fills memory a mebibyte at a time, far beyond any cap in these tests.
const FILLING: &str =
    "perl -e 'my @f; push @f, \"x\" x (1 << 20) for 1 .. 4096; print \"filled\\n\"'";

/// Who keeps a cap of this contract.
fn keeper(contract: &Value, of: &str) -> String {
    let caps = contract["caps"].as_array().unwrap();
    let cap = caps.iter().find(|cap| cap["of"] == of).unwrap();
    cap["strength"].as_str().unwrap().to_owned()
}

/// The contract of the only task that has no id in `before`.
fn contract(host: &Host, slug: &str) -> Value {
    let tasks = host.json(&["ls"]);
    let task = tasks
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["slug"] == slug);
    let id = task.unwrap()["id"].as_str().unwrap();
    let plan = fs::read(host.task(id).folder.join("plan.json")).unwrap();
    serde_json::from_slice::<Value>(&plan).unwrap()["contract"].clone()
}

fn fill(host: &Host, name: &str, wrapper: &[&str]) -> Outcome {
    let stockade = env!("CARGO_BIN_EXE_stockade");
    let words = [stockade, "run", "--name", name, "--memory", "192M", "--"];
    let words: Vec<&str> = wrapper.iter().copied().chain(words).collect();
    let mut command = host.other_command(words[0]);
    command.args(&words[1..]).args(["bash", "-c", FILLING]);
    command.stdin(Stdio::null());
    finish(command)
}

#[test]
fn g7_a_task_that_fills_memory_is_ended_alone_and_told_why() {
    let host = Host::new();
    let other = host.start(COUNTING);
    let outcome = fill(&host, "greedy", &[]);
    assert!(!outcome.stdout.contains("filled"), "{outcome:?}");
    let kept = keeper(&contract(&host, "greedy"), "memory");
    assert_eq!(
        outcome.code,
        if kept == "kernel" { 137 } else { 4 },
        "{outcome:?}"
    );
    assert!(
        outcome
            .stderr
            .contains("use more than 192 MiB of memory (limits.memory)"),
        "{outcome:?}"
    );
    let why = host.json(&["why", "--task", "greedy"]);
    assert_eq!(why["body"]["denial"]["rule"], "limits.memory");
    assert!(
        why["body"]["denial"]["allow"]
            .as_str()
            .unwrap()
            .contains("--memory 384M")
    );

    let before = count(&host, &other);
    eventually("the other task goes on", || count(&host, &other) > before);
    let id = contract(&host, "greedy");
    drop(id);
    eventually("its groups are gone", || {
        let task = host.json(&["ls"]);
        let greedy = task
            .as_array()
            .unwrap()
            .iter()
            .find(|task| task["slug"] == "greedy");
        let id = greedy.unwrap()["id"].as_str().unwrap().to_owned();
        !processes::groups().iter().any(|name| name.contains(&id))
    });
}

#[test]
fn g7_without_control_groups_memory_is_watched_and_the_contract_says_so() {
    if !is_root() {
        skip(
            "memory without control groups",
            "only root can hide them from the program",
        );
        return;
    }
    let host = Host::new();
    let hide = "umount -l /sys/fs/cgroup && exec \"$@\"";
    let outcome = fill(&host, "greedy", &["unshare", "-m", "sh", "-c", hide, "sh"]);
    assert_eq!(keeper(&contract(&host, "greedy"), "memory"), "watched");
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(
        outcome.stderr.contains("when it was looked at"),
        "{outcome:?}"
    );
}

#[test]
fn g7_a_task_that_fills_the_disk_is_ended_soon_and_told_by_how_much() {
    let host = Host::new();
    let fill = "for i in $(seq 400); do head -c 8M /dev/zero > file-$i || exit; sleep 0.01; done; echo filled";
    let run = [
        "run", "--name", "full", "--quota", "64M", "--", "bash", "-c",
    ];
    let outcome = host.stockade(&[&run[..], &[fill]].concat());
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(!outcome.stdout.contains("filled"), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("fill more than 64 MiB of the disk (limits.disk): it used "),
        "{outcome:?}"
    );
    assert_eq!(keeper(&contract(&host, "full"), "disk"), "watched");
    assert_eq!(contract(&host, "full")["assurance"], "reduced");
    // Closed to its owner, a folder counts by the room that is gone.
    let hidden = format!("mkdir closed && cd closed && chmod 300 . && {fill}");
    let outcome = host.stockade(&["run", "--quota", "64M", "--", "bash", "-c", &hidden]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let small = "head -c 8M /dev/zero > file; echo fits";
    let outcome = host.stockade(&["run", "--quota", "64M", "--", "bash", "-c", small]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "fits\n"),
        "{outcome:?}"
    );
}

#[test]
fn g7_processor_time_is_shared_out_or_the_cap_is_refused() {
    let host = Host::new();
    let burn = "for i in 1 2; do timeout 2 sh -c 'while :; do :; done' & done; wait; cat /proc/self/stat > /dev/null; times";
    let outcome = host.stockade(&["run", "--cpus", "0.4", "--", "bash", "-c", burn]);
    if outcome.code == 4 {
        assert!(
            outcome.stderr.contains("nobody can keep it here"),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains("stockade doctor"), "{outcome:?}");
        assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 0);
        if is_root() {
            skip(
                "processor time",
                "this machine's root can make no control group",
            );
        }
        return;
    }
    // `times` of bash: user and system time of the shell, then of its children.
    let children = outcome.stdout.lines().last().unwrap();
    let seconds: f64 = children
        .split_whitespace()
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        })
        .sum();
    // Two busy processes for two seconds: 0.8 s at this cap, 4 s without it on
    // two idle processors, 2 s on one.
    assert!(seconds < 1.4, "{seconds} s: {outcome:?}");
}

#[test]
fn g7_a_bomb_of_processes_stops_at_its_cap_and_another_task_goes_on() {
    let host = Host::new();
    let other = host.start(COUNTING);
    let bomb = "perl -e '$| = 1; my $n = 0; while (defined(my $p = fork)) { if (!$p) { sleep 1000; exit } $n++ } \
                print \"$n $!\\n\"; kill 9, -1'; true";
    let outcome = host.stockade(&["run", "--", "bash", "-c", bomb]);
    let (count_of, error) = outcome.stdout.trim().split_once(' ').unwrap();
    assert_eq!(error, "Resource temporarily unavailable");
    let number: u64 = count_of.parse().unwrap();
    assert!((1000..4096).contains(&number), "{number}");
    let before = count(&host, &other);
    eventually("the other task goes on", || count(&host, &other) > before);
}

#[test]
fn g8_a_level_that_cannot_be_kept_is_refused_before_anything_is_made() {
    let host = Host::new();
    let full = host.stockade(&["run", "--require", "full", "--", "true"]);
    let reduced = host.stockade(&[
        "run",
        "--require",
        "reduced",
        "--name",
        "plain",
        "--",
        "true",
    ]);
    assert_eq!(reduced.code, 0, "{reduced:?}");
    let assurance = contract(&host, "plain")["assurance"]
        .as_str()
        .unwrap()
        .to_owned();
    if assurance == "full" {
        assert_eq!(full.code, 0, "{full:?}");
    } else {
        assert_eq!(full.code, 4, "{full:?}");
        assert!(
            full.stderr.contains("assurance full is required"),
            "{full:?}"
        );
        assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 1);
    }
    let checkout = [
        "run",
        "--require",
        "full",
        "--backend",
        "checkout",
        "--",
        "true",
    ];
    let outcome = host.stockade(&checkout);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(outcome.stderr.contains("mountinfo"), "{outcome:?}");
}

#[test]
fn sizes_and_numbers_that_make_no_sense_are_named() {
    let host = Host::new();
    for (flag, value, says) in [
        ("--memory", "4", "at least 16M"),
        ("--memory", "much", "such as 512M"),
        ("--cpus", "0", "such as 2 or 0.5"),
        ("--cpus", "1.234", "such as 2 or 0.5"),
        ("--require", "total", "possible values"),
    ] {
        let outcome = host.stockade(&["run", flag, value, "--", "true"]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{outcome:?}");
    }
}
