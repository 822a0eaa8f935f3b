//! Secrets stay out of the record, whatever the words in which they would get there.

use std::fs;

use serde_json::Value;
use stockade_types::EventKind;

use crate::{REAL, Stage, events, holding, host::tls_server::forms, rule};

/// A password of a file that is hidden inside.
const PASSWORD: &str = "pa55word-of-the-database1";
/// What a command tells when it is asked.
const TOLD: &str = "told-0123456789-decoy-abcdef";

/// A key as its issuer writes them; its issuer has long taken it back.
fn key() -> String {
    ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat()
}

/// A stage with a bound secret, one that a command tells, and a hidden file.
fn stage() -> Option<Stage> {
    let stage = Stage::bound()?;
    let told = stage.host.path("told");
    fs::write(&told, TOLD).unwrap();
    let source = format!("command:cat {}", told.display());
    stage.secret(&["add", "told", "--from", &source]);
    let words = [
        "bind",
        "told",
        "--host",
        "other.test",
        "--env",
        "TOLD_TOKEN",
    ];
    let header = ["--header", "Authorization=Bearer {}"];
    stage.secret(&[&words[..], &header].concat());
    let project = stage.host.repository();
    fs::write(project.join(".env"), format!("DB_PASSWORD={PASSWORD}\n")).unwrap();
    stage.host.git(&["add", "-A"]);
    stage.host.git(&["commit", "-q", "-m", "hidden"]);
    Some(stage)
}

/// What the bodies say was taken out.
fn redacted(bodies: &[Value]) -> Vec<&str> {
    let lists = bodies.iter().filter_map(|body| body["redacted"].as_array());
    let mut all: Vec<_> = lists.flatten().filter_map(Value::as_str).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Asserts that no file of the state directory holds any form of `secret`.
fn nowhere(stage: &Stage, folder: &str, secret: &str) {
    for form in forms(secret) {
        let form = form.trim_matches('"').trim_end_matches('=');
        let found = holding(&stage.host.state().join(folder), form);
        assert!(found.is_empty(), "{form} in {found:?}");
    }
}

#[test]
fn g3_no_file_of_the_state_directory_holds_a_secret_that_a_command_or_a_url_had_and_the_record_says_so()
 {
    let Some(stage) = stage() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    // A value is told when it is used for the first time.
    let bearer = "-H \"Authorization: Bearer $TOLD_TOKEN\" https://other.test/";
    assert_eq!(stage.curl(&task, bearer), "ok 200");
    let secrets = [REAL, PASSWORD, TOLD];
    for secret in secrets {
        for form in forms(secret) {
            let quoted = format!("'{form}'");
            let (exit, _) = stage.host.exec(&task, &format!("true -- {quoted}"));
            assert_eq!(exit, 0);
        }
        let query = format!("'https://api.test/v1/x?q={}'", forms(secret)[3]);
        let printed = stage.curl(&task, &query);
        // What a command tells is guarded where it is bound, and recorded nowhere.
        assert!(secret == TOLD || printed != "ok 200", "{printed}");
    }
    let key = key();
    assert_eq!(stage.host.exec(&task, &format!("true {key}")).0, 0);
    let query = format!("https://other.test/?q={key}");
    assert_eq!(rule(&stage.curl(&task, &query)), "scan.key-format");
    // A cut must not leave the beginning of a value.
    let long = format!("true {} {PASSWORD}", "x".repeat(490));
    assert_eq!(stage.host.exec(&task, &long).0, 0);
    stage.host.json(&["stop", &task.id]);

    for secret in secrets.into_iter().chain([key.as_str()]) {
        nowhere(&stage, "", secret);
    }
    assert!(holding(&stage.host.state(), &PASSWORD[..12]).is_empty());
    let verified = stage.host.stockade(&["audit", "verify", &task.id]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let started = events(&task, EventKind::ExecStarted);
    let expected = [
        "the value of DB_PASSWORD of .env",
        "the value of github",
        "the value of told",
        "what looks like a GitHub token",
    ];
    assert_eq!(redacted(&started), expected);
    let words = serde_json::to_string(&started).unwrap();
    assert!(
        words.contains("true -- '[redacted: the value of github]'"),
        "{words}"
    );
    let refused = events(&task, EventKind::Denied);
    assert!(!refused.is_empty());
}

#[test]
fn g3_a_file_that_is_named_like_a_secret_is_reviewed_without_the_record_having_its_name() {
    let Some(stage) = stage() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let (exit, _) = stage
        .host
        .exec(&task, &format!("echo 1 > n-{PASSWORD}.txt"));
    assert_eq!(exit, 0);
    stage.host.json(&["stop", &task.id]);
    let name = format!("n-{PASSWORD}.txt");
    stage.host.json(&["review", &task.id, "--accept", &name]);
    for folder in [format!("tasks/{}/record", task.id), "audit".to_owned()] {
        nowhere(&stage, &folder, PASSWORD);
    }
    let reviewed = events(&task, EventKind::Reviewed);
    let said = ["the value of DB_PASSWORD of .env"];
    assert_eq!(redacted(&reviewed), said, "{reviewed:?}");
    let marked = "n-[redacted: the value of DB_PASSWORD of .env].txt";
    assert_eq!(reviewed[0]["accepted"][0], marked);
    // The work itself is what it was.
    stage.host.json(&["merge", &task.id, "--yes"]);
    assert!(stage.host.repository().join(&name).exists());
    let verified = stage.host.stockade(&["verify-commit"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let verified = stage.host.stockade(&["audit", "verify", "--all"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    nowhere(&stage, &format!("tasks/{}/record", task.id), PASSWORD);
}

#[test]
fn a_commit_is_verified_whose_task_had_a_key_in_the_words_that_started_it() {
    let Some(stage) = stage() else {
        return;
    };
    let script = format!("true {}; echo 1 > one.txt", key());
    let words = [
        "run", "--yes", "--name", "work", "--", "bash", "-c", &script,
    ];
    let ran = stage.host.stockade(&words);
    assert_eq!(ran.code, 0, "{ran:?}");
    let task = stage.host.only_task();
    task.wait_until_settled();
    stage.host.json(&["merge", "work", "--yes"]);
    nowhere(&stage, &format!("tasks/{}/record", task.id), &key());
    let verified = stage.host.stockade(&["verify-commit"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}
