//! `stockade audit` and `stockade verify-commit`: what is found, by whom, and how
//! it is told.
#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::host::{Host, Outcome, Task};

/// A task that ran to its end.
fn done(host: &Host, name: &str, script: &str) -> Task {
    let outcome = host.stockade(&["run", "--yes", "--name", name, "--", "bash", "-c", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().unwrap().iter();
    let task = tasks.find(|task| task["slug"] == name).unwrap();
    let task = host.task(task["id"].as_str().unwrap());
    task.wait_until_settled();
    task
}

fn verify(host: &Host, words: &[&str]) -> Outcome {
    host.stockade(&[&["audit", "verify"], words].concat())
}

/// The file of the last entries of a log.
fn entries(log: &Path) -> PathBuf {
    let folder = log.join("tile/entries/000.p");
    let mut files = fs::read_dir(folder).unwrap();
    files.next().unwrap().unwrap().path()
}

fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len(), "lengths of entries stay");
    let mut changed = fs::read(path).unwrap();
    let place = changed
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .unwrap();
    changed[place..place + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, changed).unwrap();
}

/// Copies a folder with all below it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn g5_a_changed_record_is_named_on_another_machine_with_nothing_but_a_copy_and_the_key() {
    let host = Host::new();
    let task = done(&host, "work", "echo 1 > one.txt");
    let records = task.record().len();
    let all = host.json(&["audit", "verify", "--all"]);
    assert_eq!(
        (&all["sound"], &all["complete"]),
        (&true.into(), &true.into())
    );
    assert_eq!(all["found"][0]["records"], records);

    // Another machine: another state directory, and no service of ours.
    let mut auditor = Host::new();
    let held = auditor.path("copy");
    copy(&task.folder.join("record"), &held);
    let key = auditor.path("audit.pub");
    fs::copy(host.state().join("audit/key.pub"), &key).unwrap();
    auditor.set("STOCKADE_STATE_DIR", auditor.path("elsewhere"));
    let words = [held.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let sound = verify(&auditor, &words);
    assert_eq!(sound.code, 0, "{sound:?}");
    // Without the key the signature is not looked at, which is said.
    let unkeyed = verify(&auditor, &words[..1]);
    assert_eq!(unkeyed.code, 9, "{unkeyed:?}");

    replace(&entries(&held), "task-ended", "task-edned");
    let found = verify(&auditor, &words);
    assert_eq!(found.code, 8, "{found:?}");
    let name = format!("record {} of ", records - 1);
    assert!(
        found.stdout.contains(&name) && found.stdout.contains("was edited"),
        "{found:?}"
    );
    // The original is what it was.
    assert_eq!(verify(&host, &["work"]).code, 0);
}

#[test]
fn g5_a_log_that_is_gone_cut_or_put_back_shows() {
    let host = Host::new();
    let task = done(&host, "work", "echo 1 > one.txt");
    let other = done(&host, "other", "true");
    let checkpoint = task.folder.join("record/checkpoint");
    let kept = host.path("kept");
    let early = host.path("early");
    copy(&task.folder.join("record"), &early);
    host.json(&["review", "work", "--accept-all"]);
    let note = host.stockade(&["audit", "checkpoint", "work"]).stdout;
    assert_eq!(
        note.trim_end(),
        fs::read_to_string(&checkpoint).unwrap().trim_end()
    );
    fs::write(&kept, note).unwrap();
    let kept = kept.to_str().unwrap();
    assert_eq!(verify(&host, &["work", "--against", kept]).code, 0);

    // Everything of this task as it was before: only who knows later states sees it.
    let record = task.folder.join("record");
    let whole = host.path("whole");
    fs::rename(&record, &whole).unwrap();
    copy(&early, &record);
    let back = verify(&host, &["work"]);
    assert_eq!(back.code, 8, "{back:?}");
    assert!(back.stdout.contains("was cut"), "{back:?}");
    fs::remove_dir_all(&record).unwrap();
    let gone = verify(&host, &["work"]);
    assert_eq!(gone.code, 8, "{gone:?}");
    fs::rename(&whole, &record).unwrap();
    assert_eq!(verify(&host, &["--all"]).code, 0);

    // A task is missed, unless it lies in the trash.
    host.json(&["rm", "other"]);
    assert_eq!(verify(&host, &["--all"]).code, 0);
    let thrown_away = host.state().join("trash").join(&other.id);
    fs::rename(thrown_away, host.path("elsewhere")).unwrap();
    let missed = verify(&host, &["--all"]);
    assert_eq!(missed.code, 8, "{missed:?}");
    let line = format!("{}  is missing", other.id);
    assert!(missed.stdout.contains(&line), "{missed:?}");
    // So is the host log.
    fs::remove_dir_all(host.state().join("audit/log")).unwrap();
    assert_eq!(verify(&host, &["--all"]).code, 8);
}

#[test]
fn one_event_is_proved_and_a_changed_proof_is_refused() {
    let host = Host::new();
    let task = done(&host, "work", "true");
    let outcome = host.stockade(&["audit", "prove", "2", "--task", "work"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let proof = host.path("event.tlog-proof");
    fs::write(&proof, &outcome.stdout).unwrap();
    let words = ["audit", "verify", "--proof", proof.to_str().unwrap()];
    let proved = host.json(&words);
    assert_eq!(proved["record"]["seq"], 2);
    assert!(proved["log"].as_str().unwrap().ends_with(&task.id));
    fs::write(&proof, outcome.stdout.replace("index 2", "index 1")).unwrap();
    assert_eq!(host.stockade(&words).code, 8);
    let none = host.stockade(&["audit", "prove", "9999", "--task", "work"]);
    assert_eq!(none.code, 3, "{none:?}");
}

#[test]
fn g5_a_merged_commit_leads_to_agent_policy_approver_and_cost_by_the_record_alone() {
    let host = Host::new();
    let task = done(&host, "work", "echo 1 > one.txt");
    host.json(&["merge", "work", "--yes"]);
    let head = host.git(&["rev-parse", "HEAD"]);
    let told = host.json(&["verify-commit"]);
    assert_eq!(told["commit"], head.trim());
    assert_eq!(told["task"], task.id);
    assert_eq!(told["branch"], "refs/heads/main");
    assert_eq!(told["cost"], "$0.00");
    assert!(told["approver"].as_str().unwrap().contains("local process"));
    assert!(
        told["policy"]
            .as_str()
            .unwrap()
            .starts_with("rules sha256:")
    );
    let message = host.git(&["log", "-1", "--format=%B"]);
    let trailer = message
        .lines()
        .find(|line| line.starts_with("Stockade-Record: "));
    let size = trailer.unwrap().split(' ').nth(1).unwrap();
    assert!(size.parse::<u64>().unwrap() > 0, "{message}");

    // An ordinary commit is none of Stockade's.
    let ordinary = host.stockade(&["verify-commit", "HEAD~1"]);
    assert_eq!(ordinary.code, 3, "{ordinary:?}");
    // A message that somebody wrote is not in the record.
    let forged = message.replace("echo 1", "echo 2");
    host.git(&["commit", "--amend", "--allow-empty", "-m", forged.trim()]);
    let refused = host.stockade(&["verify-commit"]);
    assert_eq!(refused.code, 8, "{refused:?}");
    host.git(&["reset", "-q", "--hard", head.trim()]);
    assert_eq!(host.stockade(&["verify-commit"]).code, 0);
    // Nor is a record that somebody wrote.
    replace(
        &entries(&task.folder.join("record")),
        "local process",
        "board meeting",
    );
    let refused = host.stockade(&["verify-commit"]);
    assert_eq!(refused.code, 8, "{refused:?}");
}

#[test]
fn events_are_listed_found_and_exported() {
    let host = Host::new();
    let task = done(&host, "work", "curl -sS http://203.0.113.7/ ; true");
    let records = task.record();
    let listed = host.stockade(&["audit", "log", "work"]);
    assert_eq!(listed.stdout.lines().count(), records.len(), "{listed:?}");
    let found = host.json(&["audit", "query", "--kind", "task-ended"]);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["task"], task.id);
    let seq = found[0]["event"]["seq"].as_u64().unwrap();
    assert_eq!(seq, records.last().unwrap().seq);
    let none = host.json(&["audit", "query", "--until", "2001-01-01"]);
    assert_eq!(none.as_array().unwrap().len(), 0);
    let said = host.json(&[
        "audit",
        "query",
        "--contains",
        "203.0.113.7",
        "--since",
        "2001-01-01",
    ]);
    assert!(!said.as_array().unwrap().is_empty());

    for (format, head) in [("jsonl", 0), ("csv", 1), ("ocsf", 0), ("syslog", 0)] {
        let exported = host.stockade(&["audit", "export", "--format", format]);
        assert_eq!(
            exported.stdout.lines().count(),
            records.len() + head,
            "{format}"
        );
        let json = ["jsonl", "ocsf"].contains(&format);
        for line in exported.stdout.lines().filter(|_| json) {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(event.is_object());
        }
    }
}

#[test]
fn the_record_of_a_task_that_runs_can_be_checked_meanwhile() {
    let host = Host::new();
    let task = host.start("for i in $(seq 1000); do true; done; sleep 1000");
    for number in 0..20 {
        host.exec(&task, &format!("echo {number}"));
        let found = verify(&host, &[&task.id]);
        assert_eq!(found.code, 0, "{found:?}");
    }
}
