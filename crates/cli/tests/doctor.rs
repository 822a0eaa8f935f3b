//! `stockade doctor`: what it says, how it ends, and that it leaves nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a step of a test that fails fails the test"
)]

use std::{
    fs,
    os::unix::fs::lchown,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// Nobody: an id without files or rights of its own on every distribution.
const ORDINARY: &str = "65534";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `stockade` with `words` for an ordinary user, after `prefix`.
fn stockade(state: &TempDir, prefix: &[&str], words: &[&str]) -> Output {
    let mut all: Vec<&str> = Vec::new();
    if is_root() {
        let id = ORDINARY.parse().ok();
        lchown(state.path(), id, id).unwrap();
        all.extend(["setpriv", "--reuid", ORDINARY, "--regid", ORDINARY]);
        all.push("--clear-groups");
    }
    all.extend(prefix);
    all.push(env!("CARGO_BIN_EXE_stockade"));
    all.extend(words);
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    let mut command = Command::new(all[0]);
    command
        .args(&all[1..])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", state.path())
        .env("STOCKADE_STATE_DIR", state.path().join("state"));
    command.output().unwrap()
}

fn outcome<'a>(report: &'a Value, name: &str) -> &'a str {
    let probes = report["probes"].as_array().unwrap();
    let probe = probes.iter().find(|probe| probe["name"] == name);
    probe.unwrap_or_else(|| panic!("no {name} in {report}"))["outcome"]
        .as_str()
        .unwrap()
}

#[test]
fn the_doctor_names_walls_git_and_agents_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let output = stockade(&state, &[], &["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for wall in ["user namespaces", "seccomp", "git"] {
        assert_eq!(outcome(&report, wall), "works");
    }
    // An unmended git is told, and keeps no task from starting.
    assert_ne!(outcome(&report, "git and CVE-2025-48384"), "missing");
    assert_eq!(report["agents"].as_array().unwrap().len(), 4);
    let probes = report["probes"].as_array().unwrap();
    let weaker = probes.iter().any(|probe| probe["outcome"] == "weaker");
    assert_eq!(output.status.code(), Some(i32::from(weaker)));
    for entry in fs::read_dir(state.path().join("state")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("probe") && !name.contains("git"), "{name}");
    }
}

#[test]
fn a_missing_wall_ends_with_its_own_code_and_the_command_that_mends_it() {
    let state = tempfile::tempdir().unwrap();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let prefix = [
        "unshare",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        script,
        "sh",
    ];
    let output = stockade(&state, &prefix, &["doctor"]);
    let said = String::from_utf8(output.stdout).unwrap();
    if said.is_empty() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("missing  user namespaces"), "{said}");
    assert!(
        said.contains("sudo sysctl user.max_user_namespaces=65536"),
        "{said}"
    );
    assert!(said.contains("not tried: it runs behind walls"), "{said}");
}

#[test]
fn the_apparmor_profile_is_for_this_very_executable() {
    let state = tempfile::tempdir().unwrap();
    let output = stockade(&state, &[], &["doctor", "--apparmor-profile"]);
    let profile = String::from_utf8(output.stdout).unwrap();
    let own = fs::canonicalize(env!("CARGO_BIN_EXE_stockade")).unwrap();
    let line = format!("profile stockade \"{}\" flags=(unconfined)", own.display());
    assert!(profile.contains(&line), "{profile}");
    assert!(profile.contains("\n  userns,\n"), "{profile}");
}
