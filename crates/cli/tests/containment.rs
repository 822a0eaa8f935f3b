//! A task that uses up whatever it can is stopped at its cap, which is named;
//! another task goes on meanwhile.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{process::Stdio, time::Duration};

use self::host::{COUNTING, Host, Outcome, Task, count, eventually, finish_within, has, skip};

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
    let mut command = host.command(&words);
    command.stdin(Stdio::null());
    let outcome = std::thread::scope(|scope| {
        let greedy = scope.spawn(|| finish_within(command, LONGEST).unwrap());
        let before = count(&host, &other);
        eventually("the other task goes on", || count(&host, &other) > before);
        greedy.join().unwrap()
    });
    let before = count(&host, &other);
    eventually("the other task goes on", || count(&host, &other) > before);
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().unwrap().iter();
    let greedy = tasks.find(|task| task["slug"] == "greedy").unwrap();
    let greedy = host.task(greedy["id"].as_str().unwrap());
    (host, greedy, outcome)
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
