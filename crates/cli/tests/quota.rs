//! Quotas that the kernel keeps: what a task fills is on a disk of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;

use self::host::{Host, Task, eventually, finish, is_root, processes, skip};

/// Whether such tasks can be had here; says so if not.
fn has_disks(what: &str) -> bool {
    let reason = if !is_root() {
        "only root may mount a disk"
    } else if !Path::new("/dev/loop-control").exists() {
        "there are no loop devices"
    } else if !["/usr/sbin", "/sbin", "/usr/bin"]
        .iter()
        .any(|folder| Path::new(folder).join("mkfs.ext4").exists())
    {
        "`mkfs.ext4` is not installed"
    } else {
        return true;
    };
    skip(what, reason);
    false
}

/// Files of `task` that loop devices hold, and mounts that this process sees.
fn held(task: &Task) -> Vec<String> {
    let folder = task.folder.to_str().unwrap();
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let held = devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts.lines().map(str::to_owned);
    let all = held.chain(mounts);
    all.filter(|line| line.contains(folder)).collect()
}

#[test]
fn g7_a_hard_quota_cannot_be_passed_and_what_is_within_it_comes_back() {
    if !has_disks("a hard quota") {
        return;
    }
    let host = Host::new();
    let script = "dd if=/dev/zero of=big bs=1M count=200 2>&1; rm big; \
                  dd if=/dev/zero of=$HOME/big bs=1M count=200 2>&1; rm $HOME/big; \
                  i=0; while echo > file-$i; do i=$((i+1)); [ $i -lt 60000 ] || break; done 2>&1 | tail -1; \
                  rm -f file-*; mkdir new; mv new renamed; echo kept > renamed/file";
    let words = ["run", "--quota", "hard:64M", "--", "bash", "-c", script];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let full = outcome.stdout.matches("No space left on device").count();
    assert_eq!(full, 3, "the tree, the home, many files: {outcome:?}");
    assert!(
        outcome.stderr.contains("disk 64 MiB (kernel)"),
        "{outcome:?}"
    );

    let task = host.only_task();
    task.wait_until_settled();
    eventually("the disk is let go", || held(&task).is_empty());
    let changed = host.json(&["diff", &task.id]);
    assert!(changed.to_string().contains("renamed/file"), "{changed}");
    let outcome = host.stockade(&["merge", &task.id, "--yes"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let landed = host.git(&["show", "HEAD:renamed/file"]);
    assert_eq!(landed.trim_end(), "kept");
    assert_eq!(host.stockade(&["rm", &task.id]).code, 0);
    assert!(held(&task).is_empty());
}

#[test]
fn g7_a_disk_that_is_full_is_named_in_the_result_of_a_command_until_there_is_room_again() {
    if !has_disks("a full disk in a result") {
        return;
    }
    let host = Host::new();
    let task = host.start_with(&["--quota", "hard:64M"], "sleep 1000");
    let fill = "dd if=/dev/zero of=big bs=1M count=200";
    let mut full = host.command(&["--json", "exec", &task.id, "--shell", fill]);
    full.stdin(Stdio::null());
    let full: Value = serde_json::from_str(&finish(full).stdout).unwrap();
    assert_eq!(full["exit"], 1, "{full}");
    let met = &full["caps"][0];
    assert_eq!(
        (&met["cap"], &met["strength"]),
        (&"disk".into(), &"kernel".into())
    );
    assert_eq!(met["limit"], 64 << 20, "{full}");
    assert!(met["seen"].as_u64().unwrap() > 32 << 20, "{full}");
    let room = host.json(&["exec", &task.id, "--", "rm", "big"]);
    assert!(room["caps"].is_null(), "{room}");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
}

#[test]
fn a_task_with_a_disk_goes_on_after_its_supervisor_was_killed_and_is_undone() {
    if !has_disks("a disk that outlives its supervisor") {
        return;
    }
    let host = Host::new();
    let script = "[ -e first ] && echo again > second; echo once > first; sync; sleep 1000";
    let task = host.start_with(&["--quota", "hard:64M"], script);
    host::wait_for_file(&host, &task, "first");
    let all = processes::all();
    let supervisor = all.iter().find(|one| one.is_supervisor_of(&task.folder));
    supervisor.unwrap().kill();
    task.wait_until_settled();
    eventually("the disk is let go", || held(&task).is_empty());

    host.json(&["resume", &task.id, "--detach"]);
    host::wait_for_file(&host, &task, "second");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
    task.wait_until_settled();
    let changed = host.json(&["diff", &task.id]).to_string();
    assert!(
        changed.contains("first") && changed.contains("second"),
        "{changed}"
    );

    let outcome = host.stockade(&["undo", &task.id, "--to", "0"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    eventually("the disk is let go", || held(&task).is_empty());
    host.json(&["resume", &task.id, "--detach"]);
    let (code, seen) = host.exec(&task, "sleep 0.2; ls second 2>&1");
    assert_ne!(code, 0, "{seen}");
    assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
}

#[test]
fn a_hard_quota_that_nobody_can_keep_is_refused_with_what_can_be() {
    let host = Host::new();
    let outcome = host.stockade(&["run", "--quota", "hard:1M", "--", "true"]);
    assert_eq!(outcome.code, host::failure::REFUSED, "{outcome:?}");
    assert!(outcome.stderr.contains("at least 64 MiB"), "{outcome:?}");
    let outcome = host.stockade(&["run", "--quota", "soft:1G", "--", "true"]);
    assert!(outcome.stderr.contains("hard:4G"), "{outcome:?}");
    if is_root() {
        let words = [
            "run",
            "--quota",
            "hard:64M",
            "--backend",
            "checkout",
            "--",
            "true",
        ];
        let outcome = host.stockade(&words);
        assert!(outcome.stderr.contains("--backend overlay"), "{outcome:?}");
    } else {
        let outcome = host.stockade(&["run", "--quota", "hard", "--", "true"]);
        assert_eq!(outcome.code, host::failure::REFUSED, "{outcome:?}");
        assert!(outcome.stderr.contains("needs root"), "{outcome:?}");
        assert!(outcome.stderr.contains("`--quota SIZE`"), "{outcome:?}");
    }
    let state = host.state().join("tasks");
    assert!(!state.exists() || fs::read_dir(state).unwrap().next().is_none());
}
