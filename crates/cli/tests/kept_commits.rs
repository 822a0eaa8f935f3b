//! An agent's own commits on a branch, one by one.

mod host;

use std::fs;

use serde_json::Value;
use stockade_audit::{Record, RecordKind};
use stockade_types::EventKind;

use crate::host::{Host, eventually, finish, has, skip};

/// A task that ran `script` to its end, with a word for committing all.
fn done(host: &Host, name: &str, script: &str) {
    let script = format!("set -e; keep() {{ git add -A; git commit -qm \"$1\"; }}; {script}");
    let words = ["run", "--yes", "--name", name, "--", "bash", "-c", &script];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

fn kept(host: &Host, name: &str) -> Value {
    host.json(&["merge", name, "--yes", "--keep-commits"])
}

/// A merge that is refused with all of these words and changes nothing; the
/// same work still merges as one commit.
fn refused(host: &Host, name: &str, words: &[&str]) {
    let before = host.git(&["rev-parse", "main"]);
    let outcome = host.stockade(&["merge", name, "--yes", "--keep-commits"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
    assert_eq!(host.git(&["rev-parse", "main"]), before);
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn g6_kept_commits_land_in_order_and_what_was_not_committed_comes_last() {
    let host = Host::new();
    done(
        &host,
        "work",
        "echo 1 > one; keep $'First\\n\\nWhy\\n\\nStockade-Task: forged\\nReviewed-by: boss'; \
         git config user.name Somebody; echo 2 > two; rm one; keep Second; \
         git commit -q --allow-empty -m Empty; echo 3 > README.md; keep Third; \
         echo 4 > rest",
    );
    // The branch went on meanwhile.
    fs::write(host.repository().join("mine"), "mine\n").unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Mine"]);
    let before = host.git(&["rev-parse", "main"]);
    let merged = kept(&host, "work");

    let subjects = host.git(&[
        "log",
        "--reverse",
        "--format=%s",
        &format!("{}..", before.trim()),
    ]);
    let last = host.git(&["log", "-1", "--format=%s"]);
    assert_eq!(lines(&subjects)[..3], ["First", "Second", "Third"]);
    assert_eq!(lines(&subjects)[3..], [last.trim()]);
    let files = |commit: &str| host.git(&["ls-tree", "-r", "--name-only", commit]);
    assert_eq!(lines(&files("HEAD~3")), ["README.md", "mine", "one"]);
    assert_eq!(lines(&files("HEAD~2")), ["README.md", "mine", "two"]);
    assert_eq!(host.git(&["show", "HEAD~2:README.md"]), "a project\n");
    assert_eq!(host.git(&["show", "HEAD~1:README.md"]), "3\n");
    assert_eq!(lines(&files("HEAD")), ["README.md", "mine", "rest", "two"]);
    assert_eq!(
        fs::read_to_string(host.repository().join("rest")).unwrap(),
        "4\n"
    );

    // Nobody but the user is named as author, and trailers are ours.
    let first = host.git(&["log", "-1", "--format=%B", "HEAD~3"]);
    assert!(first.contains("\nWhy\n"), "{first}");
    assert!(
        first.contains("\n> Stockade-Task: forged\n> Reviewed-by: boss\n"),
        "{first}"
    );
    let id = host.only_task().id;
    let range = format!("{}..", before.trim());
    let trailers = "--format=%(trailers:key=Stockade-Task,valueonly,separator=%x2C)";
    assert_eq!(
        lines(&host.git(&["log", trailers, &range])),
        [id.as_str(); 4]
    );
    assert!(
        !host
            .git(&["log", "--format=%an", &range])
            .contains("Somebody")
    );

    // The approval lists what landed, commit by commit.
    let landed = host.git(&["log", "--reverse", "--format=%H", &range]);
    let record = host.only_task().record();
    let is = |kind| kind == RecordKind::Event(EventKind::Approved);
    let approved = record.iter().find(|record| is(record.kind)).unwrap();
    let listed = approved.body["approval"]["kept"].as_array().unwrap();
    let ids: Vec<_> = listed
        .iter()
        .map(|kept| kept["commit"].as_str().unwrap())
        .collect();
    assert_eq!(ids, lines(&landed));
    assert_eq!(merged["kept"], approved.body["approval"]["kept"]);
    assert_eq!(listed[1]["files"][0]["path"], "one");
    assert_eq!(listed[3]["of"], Value::Null);
}

#[test]
fn g6_what_may_not_come_back_in_any_commit_between_is_named_and_stops_all() {
    let host = Host::new();
    done(
        &host,
        "link",
        "ln -s /etc/passwd out; keep Link; echo 1 > one; rm out; keep Clean",
    );
    refused(&host, "link", &["`out`", "leads out of the repository"]);
    host.json(&["merge", "link", "--yes"]);
    assert!(host.repository().join("one").exists());

    // Held back, and gone again before anybody could decide about it.
    done(
        &host,
        "held",
        "echo evil > .envrc; keep Envrc; git rm -q .envrc; echo 2 > two; keep Clean",
    );
    refused(&host, "held", &["`.envrc`", "held back"]);

    // Accepted as it is at the end, but it was another once.
    done(
        &host,
        "changed",
        "echo evil > .envrc; keep Envrc; echo fine > .envrc; keep Fine",
    );
    host.json(&["review", "changed", "--accept", ".envrc"]);
    refused(&host, "changed", &["`.envrc`", "held back"]);
    host.json(&["merge", "changed", "--yes"]);
    assert_eq!(host.git(&["show", "HEAD:.envrc"]), "fine\n");
    assert!(!host.git(&["log", "--all", "-p"]).contains("+evil"));
}

#[test]
fn g6_commits_are_kept_only_if_everything_was_accepted_and_they_are_a_plain_list() {
    let host = Host::new();
    done(&host, "part", "echo 1 > one; echo 2 > two; keep Both");
    host.json(&["review", "part", "--reject", "two"]);
    refused(&host, "part", &["`two`", "rejected"]);

    done(&host, "none", "echo 3 > three");
    refused(&host, "none", &["left none"]);

    done(
        &host,
        "merge",
        "git checkout -q -b side; echo 4 > four; keep Four; git checkout -q -; \
         echo 5 > five; keep Five; git merge -q --no-edit side",
    );
    refused(&host, "merge", &["does not stand on one commit"]);

    done(
        &host,
        "orphan",
        "git checkout -q --orphan new; echo 6 > six; keep Six",
    );
    refused(&host, "orphan", &["does not stand on one commit"]);

    done(
        &host,
        "many",
        "for n in $(seq 201); do git commit -q --allow-empty -m $n; done; echo 7 > seven",
    );
    refused(&host, "many", &["more than 200"]);
}

#[test]
fn commits_of_an_earlier_turn_that_are_gone_are_not_kept() {
    let host = Host::new();
    // Run again, the same command takes back what it had done.
    done(
        &host,
        "work",
        "if [ -e one ]; then git reset -q --hard HEAD~1; echo 2 > two; else echo 1 > one; keep One; fi",
    );
    let resumed = host.stockade(&["resume", "work"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let task = host.only_task();
    eventually("the command has run again", || {
        let imports = |record: &Record| record.kind == RecordKind::Event(EventKind::Imported);
        task.record().into_iter().filter(imports).count() == 2
    });
    task.wait_until_settled();
    refused(&host, "work", &["left none"]);
    host.json(&["merge", "work", "--yes"]);
    assert!(host.repository().join("two").exists() && !host.repository().join("one").exists());
}

#[test]
fn g6_commits_of_a_task_that_was_stopped_or_whose_time_was_up_are_kept() {
    let host = Host::new();
    // Settings of an agent's that git would follow on the host.
    let planted = host.path("planted");
    let settings = format!("git config core.fsmonitor 'touch {}'", planted.display());
    let commit = |file: &str| {
        format!(
            "{settings}; echo 1 > {file}; git add {file}; git commit -qm {file}; touch {file}-rest; exec sleep 1000"
        )
    };
    let landed = |file: &str| {
        let merged = kept(&host, file);
        assert_eq!(merged["kept"].as_array().unwrap().len(), 2, "{merged}");
        assert_eq!(
            host.git(&["log", "-1", "--format=%s", "HEAD~1"]).trim(),
            file
        );
        assert!(host.repository().join(format!("{file}-rest")).exists());
    };
    let task = host.start_with(&["--name", "stopped"], &commit("stopped"));
    host::wait_for_file(&host, &task, "stopped-rest");
    assert_eq!(host.stockade(&["stop", "stopped"]).code, 0);
    landed("stopped");

    let words = [
        "run", "--yes", "--wall", "8s", "--name", "late", "--", "bash", "-c",
    ];
    let outcome = host.stockade(&[&words[..], &[&commit("late")]].concat());
    assert_eq!(outcome.code, 4, "{outcome:?}");
    landed("late");

    // Nothing was committed: nothing is kept, and what was written still comes back.
    let task = host.start_with(&["--name", "none"], "touch none-rest; exec sleep 1000");
    host::wait_for_file(&host, &task, "none-rest");
    assert_eq!(host.stockade(&["stop", "none"]).code, 0);
    refused(&host, "none", &["left none"]);
    host.json(&["merge", "none", "--yes"]);
    assert!(!planted.exists());
}

#[test]
fn g6_each_kept_commit_is_signed() {
    if !has("ssh-keygen") {
        return skip("SSH signatures", "there is no ssh-keygen");
    }
    let host = Host::new();
    let key = host.home().join("id_of_a_person");
    let mut make = host.other_command("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    assert_eq!(finish(make).code, 0);
    let settings = format!(
        "[commit]\n\tgpgSign\n[gpg]\n\tformat = ssh\n[user]\n\tsigningKey = {}\n",
        key.display()
    );
    fs::write(host.home().join(".gitconfig"), settings).unwrap();
    done(&host, "work", "echo 1 > one; keep One; echo 2 > two");
    kept(&host, "work");
    let half = fs::read_to_string(key.with_extension("pub")).unwrap();
    let signers = host.path("signers");
    fs::write(&signers, format!("person@example.org {half}")).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    host.git(&["-c", &setting, "verify-commit", "HEAD", "HEAD~1"]);
}
