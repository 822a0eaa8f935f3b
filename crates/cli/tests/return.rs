//! How work comes back: review, decisions, merge, checks, undo, trash.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{fs, process::Stdio};

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::Host;

/// A task that ran `script` to its end.
fn done(host: &Host, name: &str, script: &str) {
    let outcome = host.stockade(&["run", "--yes", "--name", name, "--", "bash", "-c", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

fn file<'a>(review: &'a Value, path: &str) -> &'a Value {
    let mut files = review["files"].as_array().unwrap().iter();
    files.find(|file| file["path"] == path).unwrap()
}

#[test]
fn g6_nothing_changes_on_the_host_until_the_merge_and_then_exactly_what_was_reviewed() {
    let host = Host::new();
    done(
        &host,
        "work",
        "echo new > new.txt; echo more >> README.md; rm -f nothing",
    );
    let repository = host.repository();
    assert!(!repository.join("new.txt").exists());
    let review = host.json(&["review", "work"]);
    assert_eq!(file(&review, "new.txt")["status"], "added");
    assert_eq!(file(&review, "README.md")["added"], 1);
    assert!(!repository.join("new.txt").exists());
    let merged = host.json(&["merge", "work", "--yes"]);
    assert_eq!(merged["merged"], true);
    assert_eq!(
        fs::read_to_string(repository.join("new.txt")).unwrap(),
        "new\n"
    );
    assert_eq!(
        fs::read_to_string(repository.join("README.md")).unwrap(),
        "a project\nmore\n"
    );
    assert_eq!(host.git(&["status", "--porcelain"]), "");
    assert_eq!(
        host.git(&["rev-parse", "HEAD"]).trim(),
        merged["landed"]["commit"]
    );
}

#[test]
fn g6_two_of_five_hunks_come_back_when_two_are_accepted() {
    let host = Host::new();
    let lines: Vec<String> = (1..=100).map(|number| format!("line {number}")).collect();
    fs::write(host.repository().join("long.txt"), lines.join("\n") + "\n").unwrap();
    host.git(&["add", "long.txt"]);
    host.git(&["commit", "--quiet", "--message", "A long file"]);
    done(
        &host,
        "work",
        "sed -i -e '5s/.*/five/' -e '25s/.*/twentyfive/' -e '45s/.*/x/' -e '65s/.*/y/' -e '85s/.*/z/' long.txt",
    );
    let review = host.json(&["review", "work"]);
    let hunks = file(&review, "long.txt")["hunks"].as_array().unwrap();
    assert_eq!(hunks.len(), 5);
    let id = |index: usize| hunks[index]["id"].as_str().unwrap();
    let choice = format!("long.txt#{},{}", id(0), id(3));
    host.json(&["review", "work", "--accept", &choice]);
    host.json(&["merge", "work", "--yes"]);
    let mut expected = lines;
    expected[4] = "five".to_owned();
    expected[64] = "y".to_owned();
    let merged = fs::read_to_string(host.repository().join("long.txt")).unwrap();
    assert_eq!(merged, expected.join("\n") + "\n");
}

#[test]
fn g6_what_would_run_by_itself_is_held_back_until_it_is_accepted_by_name() {
    let host = Host::new();
    done(
        &host,
        "work",
        "echo ok > ok.txt; echo evil > .envrc; mkdir -p .github/workflows .vscode .git2; echo a > .github/workflows/ci.yml; echo b > .vscode/tasks.json; echo c > CLAUDE.md",
    );
    let review = host.json(&["review", "work"]);
    for path in [".envrc", ".github/workflows/ci.yml", ".vscode/tasks.json"] {
        assert_eq!(file(&review, path)["held_back"], true, "{path}");
    }
    let refused = host.stockade(&["--json", "merge", "work", "--yes"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    let document: Value = serde_json::from_str(refused.stderr.trim()).unwrap();
    assert_eq!(document["denial"]["rule"], "merge.held-back", "{document}");
    assert_eq!(document["denial"]["allow"], "stockade review work");
    let told = host.stockade(&["why", "--task", "work"]).stdout;
    assert!(told.contains("merge.held-back"), "{told}");
    assert!(!host.repository().join("ok.txt").exists());
    host.json(&[
        "review",
        "work",
        "--reject",
        ".envrc",
        "--reject",
        ".vscode/tasks.json",
        "--accept",
        ".github/workflows/ci.yml",
    ]);
    host.json(&["merge", "work", "--yes"]);
    let there = |path: &str| host.repository().join(path).exists();
    assert!(there("ok.txt") && there(".github/workflows/ci.yml"));
    assert!(!there(".envrc") && !there(".vscode/tasks.json"));
}

#[test]
fn g6_a_conflict_is_shown_and_the_checkout_is_not_touched() {
    let host = Host::new();
    done(&host, "work", "echo theirs > README.md");
    fs::write(host.repository().join("README.md"), "mine\n").unwrap();
    host.git(&["commit", "--quiet", "--all", "--message", "Mine"]);
    let head = host.git(&["rev-parse", "HEAD"]);
    let refused = host.stockade(&["merge", "work", "--yes"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("README.md"), "{refused:?}");
    assert_eq!(host.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(
        fs::read_to_string(host.repository().join("README.md")).unwrap(),
        "mine\n"
    );
}

#[test]
fn g6_uncommitted_changes_in_the_way_are_never_overwritten_and_a_patch_is_offered() {
    let host = Host::new();
    done(&host, "work", "echo theirs >> README.md");
    fs::write(host.repository().join("README.md"), "not committed\n").unwrap();
    let refused = host.stockade(&["merge", "work", "--yes"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("git apply"), "{refused:?}");
    assert_eq!(
        fs::read_to_string(host.repository().join("README.md")).unwrap(),
        "not committed\n"
    );
}

#[test]
fn g6_two_merges_at_once_do_not_lose_one() {
    let host = Host::new();
    done(&host, "one", "echo 1 > one.txt");
    done(&host, "two", "echo 2 > two.txt");
    let merges: Vec<_> = ["one", "two"]
        .map(|name| {
            host.command(&["--json", "merge", name, "--yes"])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .into_iter()
        .map(|merge| merge.wait_with_output().unwrap())
        .collect();
    let landed = |merge: &std::process::Output| merge.status.success();
    assert!(merges.iter().any(landed), "{merges:?}");
    for (name, landed) in ["one", "two"].iter().zip(merges.iter().map(landed)) {
        assert_eq!(
            host.repository().join(format!("{name}.txt")).exists(),
            landed
        );
        if !landed {
            host.json(&["merge", name, "--yes"]);
        }
    }
    assert!(
        host.repository().join("one.txt").exists() && host.repository().join("two.txt").exists()
    );
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}

#[test]
fn g6_a_required_check_blocks_and_cannot_be_passed_by_changing_the_test() {
    let host = Host::new();
    let repository = host.repository();
    fs::write(
        repository.join("stockade.toml"),
        "[checks]\ntest = \"sh test.sh\"\n",
    )
    .unwrap();
    fs::write(repository.join("test.sh"), "grep -q good value\n").unwrap();
    fs::write(repository.join("value"), "bad\n").unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "A check"]);
    done(&host, "cheat", "echo 'exit 0' > test.sh");
    let refused = host.stockade(&["merge", "cheat", "--yes"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    done(&host, "honest", "echo good > value");
    assert_eq!(host.json(&["merge", "honest", "--yes"])["merged"], true);
    done(&host, "break", "echo bad > value");
    assert_eq!(host.stockade(&["merge", "break", "--yes"]).code, 4);
    let merged = host.stockade(&[
        "merge",
        "break",
        "--yes",
        "--override-checks",
        "a decoy reason",
    ]);
    assert_eq!(merged.code, 0, "{merged:?}");
    assert_eq!(
        fs::read_to_string(repository.join("value")).unwrap(),
        "bad\n"
    );
    // Why it was merged all the same stands in the record, before the approval.
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().unwrap().iter();
    let task = tasks.find(|task| task["slug"] == "break").unwrap();
    let task = host.task(task["id"].as_str().unwrap());
    assert_eq!(
        task.last_events(3),
        [
            EventKind::Overridden,
            EventKind::Approved,
            EventKind::Merged
        ]
    );
    let record = task.record();
    let overridden = RecordKind::Event(EventKind::Overridden);
    let mut found = record.iter().filter(|record| record.kind == overridden);
    let body = &found.next().unwrap().body;
    assert_eq!(body["reason"], "a decoy reason");
    assert_eq!(body["checks"][0]["name"], "test");
}

#[test]
fn the_words_of_a_remark_are_the_agents_next_prompt() {
    let mut host = Host::new();
    // An agent that does nothing but say what it is told.
    let folder = host.path("bin");
    fs::create_dir(&folder).unwrap();
    fs::copy("/bin/echo", folder.join("claude")).unwrap();
    host.set(
        "PATH",
        format!("{}:{}", folder.display(), host::search_path()),
    );
    host.set("ANTHROPIC_API_KEY", "sk-decoy");
    let mut echo = host.other_command("claude");
    echo.arg("word");
    if host::finish(echo).stdout != "word\n" {
        return host::skip(
            "a remark's words",
            "/bin/echo does not work under another name",
        );
    }
    let started = host.stockade(&["run", "claude", "first words", "--name", "work", "--yes"]);
    assert_eq!(started.code, 0, "{started:?}");
    let remarks = [
        "work",
        "--comment",
        "two is missing",
        "--comment",
        "so is $HOME \"three\"",
    ];
    let resumed = host.stockade(&[&["review"], &remarks[..]].concat());
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let said = host.stockade(&["logs", "work"]).stdout;
    let turns: Vec<&str> = said.split("--print").skip(1).collect();
    assert_eq!(turns.len(), 2, "{said}");
    assert!(turns[0].contains("-- first words"), "{said}");
    assert!(
        !turns[0].contains("--continue") && turns[1].contains("--continue"),
        "{said}"
    );
    let lines: Vec<&str> = turns[1].lines().map(str::trim_end).collect();
    assert!(lines.contains(&"- two is missing"), "{said}");
    assert!(lines.contains(&"- so is $HOME \"three\""), "{said}");
}

#[test]
fn g5_approval_and_merge_stand_in_the_record_with_their_manifest() {
    let host = Host::new();
    done(&host, "work", "echo 1 > one.txt");
    host.json(&["merge", "work", "--yes"]);
    let tasks = host.json(&["ls"]);
    let record = host.task(tasks[0]["id"].as_str().unwrap()).record();
    for kind in [EventKind::Approved, EventKind::Merged] {
        let found = record
            .iter()
            .find(|record| record.kind == RecordKind::Event(kind));
        let body = found.unwrap().body.to_string();
        assert!(body.contains("manifest_sha256"), "{body}");
    }
    assert_eq!(tasks[0]["state"]["name"], "merged");
}

#[test]
fn uncommitted_work_comes_along_when_asked_for_and_the_checkout_stays_as_it_is() {
    let host = Host::new();
    let repository = host.repository();
    fs::write(repository.join("README.md"), "edited\n").unwrap();
    fs::write(repository.join("fresh.txt"), "fresh\n").unwrap();
    let outcome = host.stockade(&["run", "--with-dirty", "--", "cat", "README.md", "fresh.txt"]);
    assert_eq!(outcome.stdout, "edited\nfresh\n");
    assert_eq!(
        host.look("cat README.md; ls fresh.txt 2>&1 | tail -c 10"),
        "a project\ndirectory\n"
    );
    assert_eq!(
        host.git(&["status", "--porcelain"]),
        " M README.md\n?? fresh.txt\n"
    );
}

#[test]
fn g3_a_hidden_file_that_came_along_is_no_part_of_the_result() {
    let host = Host::new();
    fs::write(host.repository().join(".env.local"), "TOKEN=decoy\n").unwrap();
    let words = [
        "run",
        "--with-dirty",
        "--name",
        "work",
        "--",
        "bash",
        "-c",
        "cat .env.local; echo 1 > one.txt",
    ];
    let outcome = host.stockade(&words);
    assert!(
        outcome.stdout.contains("TOKEN=stockade-hidden") && !outcome.stdout.contains("decoy"),
        "{outcome:?}"
    );
    let review = host.json(&["review", "work"]);
    let files: Vec<&str> = review["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(files, ["one.txt"]);
    host.json(&["merge", "work", "--yes"]);
    assert_eq!(
        fs::read_to_string(host.repository().join(".env.local")).unwrap(),
        "TOKEN=decoy\n"
    );
}

#[test]
fn setup_of_the_base_commit_runs_inside_and_only_after_a_yes() {
    let host = Host::new();
    fs::write(
        host.repository().join("stockade.toml"),
        "[setup]\nrun = [\"echo prepared > /tmp/setup\"]\n",
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Setup"]);
    let refused = host.stockade(&["run", "--", "cat", "/tmp/setup"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("echo prepared"), "{refused:?}");
    let outcome = host.stockade(&["run", "--yes", "--", "cat", "/tmp/setup"]);
    assert_eq!(outcome.stdout, "prepared\n");
    // A file that is not committed says nothing.
    fs::write(
        host.repository().join("stockade.toml"),
        "[setup]\nrun = [\"exit 9\"]\n",
    )
    .unwrap();
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
}

#[test]
fn undo_brings_a_task_back_to_any_snapshot_and_keeps_what_was_there() {
    let host = Host::new();
    done(&host, "work", "echo 1 > one.txt; rm README.md");
    let task = host.task(host.json(&["ls"])[0]["id"].as_str().unwrap());
    assert_eq!(host.exec(&task, "ls").1, "one.txt\n");
    host.json(&["undo", "work", "--to", "0"]);
    assert_eq!(host.exec(&task, "ls").1, "README.md\n");
    host.json(&["undo", "work", "--to", "1"]);
    assert_eq!(host.exec(&task, "ls; echo 2 > two.txt").1, "one.txt\n");
    assert_eq!(host.exec(&task, "ls").1, "one.txt\ntwo.txt\n");
}

#[test]
fn a_removed_task_comes_back_whole() {
    let host = Host::new();
    done(&host, "work", "echo 1 > one.txt");
    let id = host.json(&["ls"])[0]["id"].as_str().unwrap().to_owned();
    host.json(&["rm", "work"]);
    assert_eq!(host.json(&["ls"]), Value::Array(Vec::new()));
    host.json(&["restore", &id]);
    let review = host.json(&["review", "work"]);
    assert_eq!(file(&review, "one.txt")["status"], "added");
}

#[test]
fn deceptive_characters_are_spelled_out_wherever_they_are_shown() {
    let host = Host::new();
    done(
        &host,
        "work",
        "printf 'if admin\\342\\200\\256 { }\\342\\200\\213\\033[2J\\n' > a.rs",
    );
    let review = host.json(&["review", "work"]);
    assert!(
        !file(&review, "a.rs")["marks"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let shown = host.stockade(&["diff", "work"]).stdout;
    assert!(
        shown.contains("\\u{202e}") && shown.contains("\\u{200b}"),
        "{shown}"
    );
    assert!(
        !shown.contains('\u{202e}') && !shown.contains('\u{1b}'),
        "{shown}"
    );
}

#[test]
fn a_reader_that_stands_still_does_not_keep_work_from_coming_back() {
    let host = Host::new();
    let mut reader = host
        .command(&[
            "run",
            "--name",
            "work",
            "--",
            "bash",
            "-c",
            "echo 1 > one.txt; seq 1 300000",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    host::eventually("the task is done", || {
        host.json(&["ls"])[0]["state"]["name"] == "done"
    });
    assert_eq!(host.json(&["merge", "work", "--yes"])["merged"], true);
    reader.kill().unwrap();
    reader.wait().unwrap();
}
