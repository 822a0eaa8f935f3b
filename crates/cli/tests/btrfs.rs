//! Tasks kept on btrfs: their trees are snapshots of a subvolume.
//!
//! The file system is an image in a folder of the test's own, mounted where
//! only the test sees it; for that the tests start themselves again.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use self::host::{Host, is_root, skip};

/// Set for the test that runs on btrfs, to who runs it.
const ON_BTRFS: &str = "STOCKADE_TEST_ON_BTRFS";
/// Makes the file system, and goes on in it as the user `$3`.
const MOUNT: &str = "\
    folder=$1 user=$2; shift 2
    truncate -s 256M \"$folder/image\" && mkfs.btrfs -q \"$folder/image\" || exit
    mkdir \"$folder/there\" && mount -o loop \"$folder/image\" \"$folder/there\" || exit
    chown \"$user:$user\" \"$folder/there\"
    export TMPDIR=\"$folder/there\"
    if [ \"$user\" = 0 ]; then exec \"$@\"; fi
    exec setpriv --reuid \"$user\" --regid \"$user\" --clear-groups \"$@\"";

/// Runs the test `name` of this file on btrfs, as the user `user`.
#[expect(
    clippy::disallowed_methods,
    reason = "the test starts itself, in a mount namespace of its own"
)]
fn again(name: &str, user: &str) {
    let tools = ["/usr/sbin/mkfs.btrfs", "/sbin/mkfs.btrfs"];
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let missing = if !is_root() {
        "only root can mount an image"
    } else if !tools.iter().any(|tool| Path::new(tool).exists()) {
        "there is no mkfs.btrfs (package btrfs-progs)"
    } else if !known.contains("\tbtrfs\n") {
        "the kernel has no btrfs"
    } else {
        ""
    };
    if !missing.is_empty() {
        skip(&format!("btrfs as user {user}"), missing);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = Command::new("unshare")
        .args(["--mount", "sh", "-c", MOUNT, "sh"])
        .arg(folder.path())
        .arg(user)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ON_BTRFS, user)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    let failed = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{said}{failed}");
    assert!(said.contains("1 passed"), "{said}{failed}");
}

#[test]
fn a_task_of_root_on_btrfs_works_in_a_snapshot_and_comes_back() {
    match std::env::var(ON_BTRFS) {
        Ok(_) => a_life_on_btrfs(&["--backend", "btrfs"]),
        Err(_) => again(
            "a_task_of_root_on_btrfs_works_in_a_snapshot_and_comes_back",
            "0",
        ),
    }
}

#[test]
fn a_task_of_an_ordinary_user_on_btrfs_works_in_a_snapshot_and_comes_back() {
    match std::env::var(ON_BTRFS) {
        Ok(_) => a_life_on_btrfs(&[]),
        Err(_) => again(
            "a_task_of_an_ordinary_user_on_btrfs_works_in_a_snapshot_and_comes_back",
            "65534",
        ),
    }
}

/// A task from its start to its removal.
fn a_life_on_btrfs(words: &[&str]) {
    let host = Host::new();
    for number in 0..50 {
        let folder = host.repository().join(format!("folder/{}", number % 5));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{number}.txt")), "base\n").unwrap();
    }
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "more"]);

    // rename(2) of a folder of the base, which an overlay refuses.
    let script = "perl -e 'rename(\"folder/1\", \"folder/moved\") or die \"$!\"' && \
        echo changed > folder/2/2.txt && rm folder/3/3.txt && echo new > new.txt && \
        git status --porcelain | wc -l; grep -c there /proc/self/mountinfo; true";
    let mut made = vec!["run", "--name", "first"];
    made.extend(words);
    made.extend(["--", "true"]);
    let made = host.json(&made);
    assert_eq!(made["back_end"], "btrfs", "{made}");
    assert!(made["workspace_ms"].as_f64().unwrap() > 0.0, "{made}");
    host.json(&["rm", "first"]);

    let mut run = vec!["run", "--yes", "--name", "work"];
    run.extend(words);
    run.extend(["--", "bash", "-c", script]);
    let outcome = host.stockade(&run);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("a btrfs snapshot of the base tree"),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "14\n0\n", "{outcome:?}");

    let review = host.json(&["review", "work"]);
    let files = review["files"].as_array().unwrap();
    let paths: Vec<&str> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    for path in [
        "folder/moved/1.txt",
        "folder/1/1.txt",
        "folder/2/2.txt",
        "folder/3/3.txt",
        "new.txt",
    ] {
        assert!(paths.contains(&path), "{path} not in {paths:?}");
    }
    assert_eq!(paths.len(), 23, "{paths:?}");
    host.json(&["merge", "work", "--yes"]);
    let there = |path: &str| host.repository().join(path).exists();
    assert!(there("folder/moved/1.txt") && there("new.txt"));
    assert!(!there("folder/1/1.txt") && !there("folder/3/3.txt"));

    // A second task starts from the same subvolume, which is as it was.
    let mut second = vec!["run", "--yes", "--name", "second", "--base", "HEAD~1"];
    second.extend(words);
    second.extend([
        "--",
        "bash",
        "-c",
        "ls folder/1 | wc -l; echo mine > own.txt; rm -r folder/4",
    ]);
    let outcome = host.stockade(&second);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "10\n"),
        "{outcome:?}"
    );
    host.json(&["undo", "second", "--to", "0"]);
    let looked = host.stockade(&[
        "exec",
        "second",
        "--",
        "bash",
        "-c",
        "ls folder/4 | wc -l; ! test -e own.txt",
    ]);
    assert_eq!(
        (looked.code, looked.stdout.as_str()),
        (0, "10\n"),
        "{looked:?}"
    );

    host.json(&["rm", "second"]);
    let trash = host.json(&["restore"]).to_string();
    assert!(trash.contains("t-"), "{trash}");
    host.json(&["uninstall", "--yes"]);
    assert!(!host.state().exists());
}
