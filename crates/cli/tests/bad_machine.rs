//! Full disks, damaged files and missing namespaces are told in one sentence
//! with the documented exit code, and lose nothing.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, os::unix::fs::PermissionsExt};

use self::host::{
    Host, Outcome, eventually,
    failure::{FAILED, WALL, nothing_is_left, sentence},
    finish, is_root, processes, skip,
};

#[test]
fn state_that_cannot_be_kept() {
    let mut host = Host::new();
    host.set("STOCKADE_STATE_DIR", "/dev/null");
    let outcome = host.stockade(&["run", "--", "true"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(sentence(&outcome).contains("/dev/null"), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("STOCKADE_STATE_DIR names another folder"),
        "{outcome:?}"
    );

    host.unset("STOCKADE_STATE_DIR");
    host.unset("HOME");
    let outcome = host.stockade(&["ls"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        sentence(&outcome).contains("there is no home directory"),
        "{outcome:?}"
    );

    let home = host.path("locked");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o555)).unwrap();
    host.set("HOME", home.as_os_str());
    if is_root() {
        skip("a home that cannot be written", "root writes anywhere");
    } else {
        let outcome = host.stockade(&["run", "--", "true"]);
        assert_eq!(outcome.code, FAILED, "{outcome:?}");
        assert!(
            sentence(&outcome).contains("Permission denied"),
            "{outcome:?}"
        );
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    host.set("STOCKADE_STATE_DIR", host.path("state"));
    host.set("PATH", "/nonexistent");
    let outcome = host.stockade(&["run", "--", "true"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        sentence(&outcome).contains("git was not found"),
        "{outcome:?}"
    );
}

#[test]
fn damaged_files_of_a_task_are_named_and_hurt_no_other_task() {
    let host = Host::new();
    let bad = host.start("sleep 1000");
    let good = host.start("sleep 1000");
    assert_eq!(host.stockade(&["stop", &bad.id]).code, 0);
    bad.wait_until_settled();
    fs::write(bad.folder.join("plan.json"), "{").unwrap();
    let outcome = host.stockade(&["resume", &bad.id]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(sentence(&outcome).contains("plan.json"), "{outcome:?}");
    fs::write(bad.folder.join("status.json"), "nonsense").unwrap();
    let tasks = host.json(&["ls"]);
    assert!(
        tasks
            .as_array()
            .unwrap()
            .iter()
            .any(|task| task["id"] == *good.id && task["state"]["name"] == "running")
    );
    assert_eq!(host.exec(&good, "echo lives"), (0, "lives\n".to_owned()));
}

/// Runs `script` in a mount namespace with a file system of `size` at the
/// folder of the state directory; `None` if that cannot be had.
fn on_a_small_disk(host: &Host, size: &str, arguments: &[&str]) -> Option<Outcome> {
    let state = host.state();
    fs::create_dir_all(&state).unwrap();
    let mut shell = host.other_command("unshare");
    if !is_root() {
        shell.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=$1 none $2 || exit 99; program=$3; shift 3; \
                  \"$program\" \"$@\"; code=$?; echo '--- tasks'; \"$program\" ls; ls -A $STOCKADE_STATE_DIR/tasks; exit $code";
    shell.args([
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        size,
        state.to_str().unwrap(),
        env!("CARGO_BIN_EXE_stockade"),
    ]);
    shell.args(arguments);
    let outcome = finish(shell);
    (outcome.code != 99).then_some(outcome)
}

#[test]
fn g8_a_full_disk_is_told_and_loses_nothing() {
    if !is_root() {
        skip(
            "a full disk",
            "only root has file systems of its own without a user namespace",
        );
        return;
    }
    let host = Host::new();
    for size in [
        "4k", "24k", "32k", "36k", "40k", "44k", "48k", "72k", "100k",
    ] {
        let Some(outcome) = on_a_small_disk(&host, size, &["run", "--", "true"]) else {
            skip("a full disk", "a tmpfs cannot be mounted here");
            return;
        };
        assert_eq!(outcome.code, FAILED, "{size}: {outcome:?}");
        // Whatever stopped for it, and however git words it.
        let told = sentence(&outcome).contains("No space left on device");
        assert!(told, "{size}: {outcome:?}");
        let (_, tasks) = outcome.stdout.split_once("--- tasks\n").unwrap();
        assert!(tasks.starts_with("no tasks"), "{size}: {outcome:?}");
        assert_eq!(
            tasks.lines().count(),
            1,
            "{size}: something is left: {outcome:?}"
        );
    }
    // It gets full while the task runs, of what cannot be packed: the work that was written
    // is kept, and what was printed last has its room.
    let script = "echo work > kept; sync; dd if=/dev/urandom of=big bs=64k count=1000 2>/dev/null; cat kept; echo end";
    let outcome = on_a_small_disk(
        &host,
        "1m",
        &["run", "--name", "full", "--", "sh", "-c", script],
    )
    .unwrap();
    let (printed, tasks) = outcome.stdout.split_once("--- tasks\n").unwrap();
    assert_eq!(printed, "work\nend\n", "{outcome:?}");
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        sentence(&outcome).contains("the work is kept"),
        "{outcome:?}"
    );
    assert!(tasks.contains("failed"), "{outcome:?}");
    let state = host.state();
    eventually("nothing runs", || processes::naming(&state).is_empty());
}

#[test]
fn g8_without_namespaces_nothing_starts_and_the_code_says_why() {
    let host = Host::new();
    let mut shell = host.other_command("unshare");
    let script = "echo 0 > /proc/sys/user/max_user_namespaces || exit 99; exec \"$@\"";
    shell.args([
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        "--keep-caps",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    shell.args([env!("CARGO_BIN_EXE_stockade"), "run", "--", "true"]);
    let outcome = finish(shell);
    if outcome.code == 99 || outcome.stderr.contains("unshare:") {
        skip("a machine without namespaces", &outcome.stderr);
        return;
    }
    assert_eq!(outcome.code, WALL, "{outcome:?}");
    assert!(outcome.stderr.contains("stockade doctor"), "{outcome:?}");
    nothing_is_left(&host);
}
