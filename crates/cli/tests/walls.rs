//! What the record says of a sandbox's walls was found by looking.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, process::Stdio};

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use self::host::{
    Host, finish,
    without::{takes_away, with_landlock},
};

const RUN: [&str; 4] = [env!("CARGO_BIN_EXE_stockade"), "run", "--", "true"];

/// The contract of the one task that there is.
fn contract(host: &Host) -> Value {
    let plan = fs::read(host.only_task().folder.join("plan.json")).unwrap();
    serde_json::from_slice::<Value>(&plan).unwrap()["contract"].clone()
}

/// What the record of the one task says was found when its sandbox was looked at.
fn found(host: &Host) -> Value {
    let record = host.only_task().record();
    let verified = RecordKind::Event(EventKind::SandboxVerified);
    let found = record.iter().find(|record| record.kind == verified);
    found.unwrap().body.clone()
}

/// The lines of a list in what was found.
fn lines(found: &Value, list: &str) -> Vec<String> {
    let lines = found[list].as_array().unwrap().iter();
    lines
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}

const BY_LANDLOCK: &str = "a file without a Landlock rule is refused";

#[test]
fn g8_what_the_record_says_of_the_walls_was_found_by_looking() {
    let host = Host::new();
    let outcome = host.stockade(&["run", "--", "true"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let whole = found(&host);
    let outside = lines(&whole, "seen_outside");
    for seen in [
        "CapEff 0000000000000000",
        "NoNewPrivs 1",
        "Seccomp 2",
        "namespaces of its own: cgroup, ipc, mnt, net, pid, user, uts",
    ] {
        assert!(outside.iter().any(|line| line == seen), "{seen}: {whole}");
    }
    let mounts = outside
        .iter()
        .find(|line| line.ends_with(" mounts, each as asked for"));
    let mounts: u32 = mounts.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(mounts > 8, "{whole}");
    assert!(whole["landlock_abi"].as_u64().unwrap() >= 2, "{whole}");
    assert!(
        lines(&whole, "checked_inside")
            .iter()
            .any(|line| line == BY_LANDLOCK)
    );

    // Given up for sandboxes of the task's own, it is not said to be there.
    let host = Host::new();
    let outcome = host.stockade(&["run", "--nested", "--", "true"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let nested = found(&host);
    assert_eq!(nested["landlock_abi"], Value::Null, "{nested}");
    assert!(
        !lines(&nested, "checked_inside")
            .iter()
            .any(|line| line == BY_LANDLOCK)
    );

    if takes_away() {
        let host = Host::new();
        let mut older = with_landlock(&host, 3, &RUN);
        older.stdin(Stdio::null());
        let outcome = finish(older);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(found(&host)["landlock_abi"], 3);
        let weaker = contract(&host)["weaker"].to_string();
        assert!(weaker.contains("device control (Linux 6.10)"), "{weaker}");
        // TCP is the network namespace's part alone, whatever the kernel's Landlock.
        assert!(!weaker.contains("TCP"), "{weaker}");
    }
}
