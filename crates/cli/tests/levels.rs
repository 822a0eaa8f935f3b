//! The level that a task starts at is the one that was agreed to.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use serde_json::Value;

use self::host::{
    Host,
    failure::{REFUSED, WALL, sentence},
    finish, is_root, skip,
    without::{lacking, takes_away, when, without},
};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");
const RUN: [&str; 7] = [STOCKADE, "run", "--name", "lacking", "--", "echo", "ran"];
const DOCTOR: [&str; 3] = [STOCKADE, "--json", "doctor"];

/// The contract of the one task that there is.
fn contract(host: &Host) -> Value {
    let plan = fs::read(host.only_task().folder.join("plan.json")).unwrap();
    serde_json::from_slice::<Value>(&plan).unwrap()["contract"].clone()
}

#[test]
fn g8_without_overlays_the_tree_is_copied_or_nothing_starts() {
    if !takes_away() {
        return;
    }
    // FSCONFIG_SET_FLAG of fsconfig(2): only an overlay is given a flag.
    let gone = [when(libc::SYS_fsconfig, 1, 0, libc::EINVAL)];
    let host = Host::new();
    let overlay = ["run", "--backend", "overlay", "--", "echo", "ran"];
    let refused = lacking(&host, &gone, &[&[STOCKADE][..], &overlay].concat());
    assert_eq!(refused.code, WALL, "{refused:?}");
    assert!(
        sentence(&refused).contains("--backend checkout"),
        "{refused:?}"
    );
    let mut doctor = without(&host, &gone, &DOCTOR);
    doctor.stdin(Stdio::null());
    let report: Value = serde_json::from_str(&finish(doctor).stdout).unwrap();
    let mut layers = report["probes"].as_array().unwrap().iter();
    let layer = layers.find(|layer| layer["name"] == "copy-on-write workspaces");
    assert_eq!(layer.unwrap()["outcome"], "weaker", "{report}");
    // One that has agreed to nothing yet.
    let host = Host::new();
    let demanding = ["run", "--require", "full", "--", "echo", "ran"];
    let full = lacking(&host, &gone, &[&[STOCKADE][..], &demanding].concat());
    assert_eq!(full.code, REFUSED, "{full:?}");
    assert!(
        sentence(&full).contains("folders are shown as they are"),
        "{full:?}"
    );
    let outcome = lacking(&host, &gone, &RUN);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "ran\n"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("weaker      folders are shown"),
        "{outcome:?}"
    );
    let contract = contract(&host);
    assert_eq!(contract["assurance"], "reduced", "{contract}");
    assert_eq!(contract["workspace"], "a copy of the base tree");
}

#[test]
fn g8_a_level_below_the_one_that_was_agreed_to_is_refused_and_asked_for_the_next_time() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let first = host.stockade(&["run", "--name", "first", "--", "true"]);
    assert_eq!(first.code, 0, "{first:?}");
    // It has worked here, so that the contract says so, and does no more.
    let gone = [when(libc::SYS_fsconfig, 1, 0, libc::EINVAL)];
    let refused = lacking(&host, &gone, &RUN);
    assert_eq!(refused.code, WALL, "{refused:?}");
    assert!(
        refused.stderr.contains("copy-on-write over the base tree"),
        "{refused:?}"
    );
    let said = sentence(&refused);
    assert!(said.starts_with("workspace: "), "{refused:?}");
    assert!(said.contains("--backend checkout"), "{refused:?}");
    assert!(!refused.stdout.contains("ran"), "{refused:?}");
    // Now it is known before, and less than the last time needs a yes.
    let asked = lacking(&host, &gone, &RUN);
    assert_eq!(asked.code, REFUSED, "{asked:?}");
    assert!(
        asked.stderr.contains("weaker: folders are shown"),
        "{asked:?}"
    );
    let tasks = host.json(&["ls"]);
    assert_eq!(tasks.as_array().unwrap().len(), 1, "{tasks}");
    let accepted = [&RUN[..2], &["--accept", "reduced"], &RUN[2..]].concat();
    let outcome = lacking(&host, &gone, &accepted);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "ran\n"),
        "{outcome:?}"
    );
}

#[test]
fn g8_a_program_where_only_root_may_look_is_shown_without_a_lower_level() {
    if !is_root() {
        skip(
            "a program where only root may look",
            "tasks of an ordinary user look as that user",
        );
        return;
    }
    let mut host = Host::new();
    let tool = host.path("tool/bin");
    fs::create_dir_all(&tool).unwrap();
    fs::copy("/bin/true", tool.join("codex")).unwrap();
    fs::write(tool.join("other"), "of root alone").unwrap();
    for path in [tool.join("codex"), tool.clone()] {
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    }
    host.set("PATH", format!("{}:{}", tool.display(), host::PATH));
    host.set("OPENAI_API_KEY", "sk-decoy-of-the-closed-folder");
    let outcome = host.stockade(&["run", "codex", "hello"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let workspace = &contract(&host)["workspace"];
    assert_eq!(*workspace, "copy-on-write over the base tree");
}
