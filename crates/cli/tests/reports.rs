//! `stockade audit report`: every line rests on events that can be proved, and
//! nothing is said by a record that was changed.
#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use self::host::{Host, Task};

const FRAMEWORKS: [&str; 3] = ["soc2", "iso27001", "eu-ai-act"];

/// A task that was refused something, and whose work was merged.
fn merged(host: &Host) -> Task {
    let script = "curl -s http://203.0.113.7/ ; echo 1 > one.txt";
    let words = ["run", "--yes", "--name", "work", "--", "bash", "-c", script];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let task = host.only_task();
    task.wait_until_settled();
    host.json(&["review", "work", "--accept-all"]);
    host.json(&["merge", "work", "--yes"]);
    task
}

fn report(host: &Host, framework: &str, more: &[&str]) -> Value {
    let words = ["audit", "report", "--framework", framework];
    host.json(&[&words[..], more].concat())
}

/// Every event that a report cites.
fn cited(report: &Value) -> Vec<&Value> {
    let controls = report["controls"].as_array().unwrap().iter();
    let lines = controls.flat_map(|control| control["evidence"].as_array().unwrap());
    lines
        .flat_map(|line| line["events"].as_array().unwrap())
        .collect()
}

#[test]
fn g5_each_event_that_a_report_cites_is_there_and_proves() {
    let host = Host::new();
    let task = merged(&host);
    let records = task.record();
    let mut proved: BTreeMap<u64, Value> = BTreeMap::new();
    for framework in FRAMEWORKS {
        let report = report(&host, framework, &[]);
        assert_eq!(report["complete"], true);
        let log = &report["logs"][0];
        assert_eq!(
            (&log["task"], &log["covered"]),
            (&task.id.as_str().into(), &records.len().into())
        );
        let all = cited(&report);
        assert!(all.len() > 5, "{report}");
        for event in all {
            assert_eq!(event["task"], task.id);
            let number = event["event"].as_u64().unwrap();
            let proof = proved.entry(number).or_insert_with(|| {
                // The words that the report itself gives.
                let words: Vec<_> = event["prove"]
                    .as_str()
                    .unwrap()
                    .split(' ')
                    .skip(1)
                    .collect();
                let proof = host.stockade(&words);
                assert_eq!(proof.code, 0, "{proof:?}");
                let file = host.path("event.tlog-proof");
                fs::write(&file, proof.stdout).unwrap();
                host.json(&["audit", "verify", "--proof", file.to_str().unwrap()])
            });
            assert_eq!(proof["record"]["seq"], number);
            for name in ["kind", "at"] {
                assert_eq!(proof["record"][name], event[name]);
            }
        }
    }
    // What was done is where it belongs.
    let soc2 = report(&host, "soc2", &[]);
    let control = |id: &str| -> Value {
        let mut controls = soc2["controls"].as_array().unwrap().iter();
        controls
            .find(|control| control["control"] == id)
            .unwrap()
            .clone()
    };
    let kinds = |id: &str| -> Vec<String> {
        let control = control(id);
        let lines = control["evidence"].as_array().unwrap().iter();
        let events = lines.flat_map(|line| line["events"].as_array().unwrap());
        events
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    for (id, kind) in [
        ("CC8.1", "approved"),
        ("CC8.1", "merged"),
        ("CC6.6", "denied"),
        ("CC6.1", "task-started"),
    ] {
        assert!(
            kinds(id).iter().any(|one| one == kind),
            "{id}: {:?}",
            kinds(id)
        );
    }
    assert!(kinds("CC1.4").is_empty());
}

#[test]
fn a_report_says_where_there_is_no_evidence_and_counts_only_its_period() {
    let host = Host::new();
    merged(&host);
    for framework in FRAMEWORKS {
        let words = ["audit", "report", "--framework", framework];
        let text = host.stockade(&words);
        assert_eq!(text.code, 0, "{text:?}");
        assert!(
            text.stdout.contains("no evidence in this period"),
            "{text:?}"
        );
        assert!(text.stdout.contains("not shown: "), "{text:?}");
        assert!(text.stdout.contains("stockade audit prove "), "{text:?}");
        let before = report(&host, framework, &["--until", "2001-01-01"]);
        assert!(cited(&before).is_empty());
        let controls = before["controls"].as_array().unwrap();
        assert!(
            controls
                .iter()
                .any(|control| !control["no_evidence"].as_array().unwrap().is_empty())
        );
        assert!(
            !cited(&report(
                &host,
                framework,
                &["--since", "1d", "--task", "work"]
            ))
            .is_empty()
        );
    }
}

#[test]
fn g5_nothing_is_reported_of_a_record_that_was_changed() {
    let host = Host::new();
    let task = merged(&host);
    let folder = task.folder.join("record/tile/entries/000.p");
    let entries = fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bytes = fs::read(&entries).unwrap();
    let at = bytes
        .windows(8)
        .position(|part| part == b"approved")
        .unwrap();
    let mut changed = bytes.clone();
    changed[at..at + 8].copy_from_slice(b"reviewed");
    fs::write(&entries, changed).unwrap();
    for framework in FRAMEWORKS {
        let refused = host.stockade(&["audit", "report", "--framework", framework]);
        assert_eq!(refused.code, 8, "{refused:?}");
        assert_eq!(refused.stdout, "", "{refused:?}");
        assert!(refused.stderr.contains(&task.id), "{refused:?}");
    }
    fs::write(&entries, bytes).unwrap();
    assert!(!cited(&report(&host, "soc2", &[])).is_empty());
}
