//! A person decides at a terminal: `review`, `merge` and a contract; and where a merge
//! goes.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::fs;

use serde_json::Value;

use crate::host::{
    Host,
    failure::{REFUSED, USAGE},
    terminal::Terminal,
};

/// What `review` asks about each file.
const ABOUT_FILE: &str = "[a]ccept  [r]eject  [h]unk by hunk  [s]kip  [q]uit: ";
/// What it asks about each hunk.
const ABOUT_HUNK: &str = "[a]ccept this hunk, anything else rejects it: ";
/// What `merge` asks.
const MERGE: &str = "Type `yes` to merge this into refs/heads/main: ";
/// What `run` asks.
const WIDER: &str = "This is more than last time. Type `yes` to go on: ";

fn done(host: &Host, script: &str) {
    let outcome = host.stockade(&["run", "--name", "work", "--", "bash", "-euc", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// What was decided about each file, in the order of the review.
fn choices(host: &Host) -> Vec<(String, Value)> {
    let review = host.json(&["review", "work"]);
    let files = review["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            (
                file["path"].as_str().unwrap().to_owned(),
                file["choice"].clone(),
            )
        })
        .collect()
}

#[test]
fn g6_files_and_hunks_are_accepted_rejected_and_skipped_at_a_terminal() {
    let host = Host::new();
    let lines: Vec<String> = (1..=60).map(|line| format!("line {line}")).collect();
    fs::write(host.repository().join("3.txt"), lines.join("\n") + "\n").unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Lines"]);
    done(
        &host,
        "for n in 1 2 4 5; do echo $n > $n.txt; done; \
         sed -i -e 's/^line 5$/first change/' -e 's/^line 50$/second change/' 3.txt",
    );
    let names: Vec<_> = choices(&host).into_iter().map(|(path, _)| path).collect();
    assert_eq!(names, ["1.txt", "2.txt", "3.txt", "4.txt", "5.txt"]);

    let mut review = Terminal::start(host.command(&["review", "work"]));
    // Nothing that means nothing decides.
    review.answer(ABOUT_FILE, 1, "yes");
    review.answer(ABOUT_FILE, 2, "a");
    review.answer(ABOUT_FILE, 3, "r");
    review.answer(ABOUT_FILE, 4, "h");
    review.answer(ABOUT_HUNK, 1, "a");
    review.answer(ABOUT_HUNK, 2, "");
    review.answer(ABOUT_FILE, 5, "s");
    review.answer(ABOUT_FILE, 6, "q");
    let ended = review.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    for (count, name) in (1..).zip(&names) {
        let heading = format!("{count}/5");
        assert!(
            ended.stdout.contains(&heading) && ended.stdout.contains(name),
            "{ended:?}"
        );
    }
    assert!(ended.stdout.contains("first change"), "{ended:?}");
    assert!(
        ended.stdout.contains("next: stockade merge work"),
        "{ended:?}"
    );

    let choices = choices(&host);
    let [one, two, three, four, five] = choices.as_slice() else {
        panic!("{choices:?}");
    };
    assert_eq!([&one.1, &two.1], ["accept", "reject"], "{choices:?}");
    assert_eq!([&four.1, &five.1], [&Value::Null; 2], "{choices:?}");
    let hunks = three.1["hunks"].as_object().unwrap();
    assert_eq!(
        hunks.values().filter(|taken| **taken == true).count(),
        1,
        "{hunks:?}"
    );

    // Only what is undecided is asked about again.
    let mut again = Terminal::start(host.command(&["review", "work"]));
    again.wait_for("1/2");
    again.answer(ABOUT_FILE, 1, "r");
    again.answer(ABOUT_FILE, 2, "a");
    assert_eq!(again.finish().code, 0);
    host.json(&["merge", "work", "--yes"]);
    let there = |name: &str| fs::read_to_string(host.repository().join(name)).ok();
    let files = ["1.txt", "2.txt", "4.txt", "5.txt"].map(|name| there(name).is_some());
    assert_eq!(files, [true, false, false, true]);
    let partly = there("3.txt").unwrap();
    assert!(
        partly.contains("first change\n") && partly.contains("line 50\n"),
        "{partly}"
    );
}

#[test]
fn a_merge_is_agreed_to_by_the_word_yes_typed_after_the_question() {
    let host = Host::new();
    done(&host, "echo 1 > one.txt");
    let head = || host.git(&["rev-parse", "HEAD"]);
    let before = head();
    for answer in ["", "y", "no", "yes please"] {
        let mut merge = Terminal::start(host.command(&["merge", "work"]));
        // Too early: nobody has seen what it would be an answer to.
        merge.send("yes\r");
        merge.answer(MERGE, 1, answer);
        let ended = merge.finish();
        assert_eq!(ended.code, REFUSED, "{answer:?}: {ended:?}");
        assert!(ended.stdout.contains("not merged"), "{answer:?}: {ended:?}");
        assert_eq!(head(), before, "{answer:?}");
    }
    let mut merge = Terminal::start(host.command(&["merge", "work"]));
    merge.answer(MERGE, 1, "yes");
    let ended = merge.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("one.txt"), "{ended:?}");
    assert_ne!(head(), before);
    assert!(host.repository().join("one.txt").exists());
}

#[test]
fn a_wider_contract_is_agreed_to_by_the_word_yes_typed_after_the_question() {
    let host = Host::new();
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
    let wider = ["run", "--allow", "example.com", "--", "echo", "ran"];
    for answer in ["", "y", "no"] {
        let mut run = Terminal::start(host.command(&wider));
        run.send("yes\r");
        run.answer(WIDER, 1, answer);
        let ended = run.finish();
        assert_eq!(ended.code, REFUSED, "{answer:?}: {ended:?}");
        assert!(ended.stdout.contains("example.com"), "{ended:?}");
    }
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 1);
    let mut run = Terminal::start(host.command(&wider));
    run.answer(WIDER, 1, "yes");
    let ended = run.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("ran\r\n"), "{ended:?}");
    // It was agreed to, so it is not asked about again.
    assert_eq!(host.stockade(&wider).code, 0);
}

#[test]
fn an_agents_program_that_was_swapped_between_two_runs_asks_before_it_runs() {
    let mut host = Host::new();
    // A native program by that name, which nothing but its start looks into.
    let tool = host.path("tool/bin");
    fs::create_dir_all(&tool).unwrap();
    let install = |program: &str| fs::copy(program, tool.join("codex")).unwrap();
    install("/bin/true");
    host.set("PATH", format!("{}:{}", tool.display(), host::PATH));
    host.set("OPENAI_API_KEY", "sk-decoy-of-the-swapped-agent");
    let run = ["run", "codex", "hello"];
    for _ in 0..2 {
        assert_eq!(host.stockade(&run).code, 0);
    }
    fs::remove_file(tool.join("codex")).unwrap();
    install("/bin/false");
    let refused = host.stockade(&run);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    let told = "codex is another program now";
    assert!(refused.stderr.contains(told), "{refused:?}");
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 2);

    let mut person = Terminal::start(host.command(&run));
    person.answer(WIDER, 1, "yes");
    let ended = person.finish();
    assert_eq!(ended.code, 1, "it is `false` that ran: {ended:?}");
    assert!(ended.stdout.contains(told), "{ended:?}");
    // It is the known one from now on.
    let again = host.stockade(&run);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(!again.stderr.contains(told), "{again:?}");
}

#[test]
fn a_merge_goes_into_the_branch_that_is_named_and_leaves_the_checkout_alone() {
    let host = Host::new();
    host.git(&["branch", "release"]);
    done(&host, "echo 1 > one.txt");
    let main = host.git(&["rev-parse", "main"]);
    let merged = host.stockade(&["merge", "work", "--into", "release", "--yes"]);
    assert_eq!(merged.code, 0, "{merged:?}");
    assert!(
        merged.stdout.contains("into refs/heads/release"),
        "{merged:?}"
    );
    assert!(
        merged.stdout.contains("your checkout was not touched"),
        "{merged:?}"
    );
    assert_eq!(host.git(&["show", "release:one.txt"]), "1\n");
    assert_eq!(host.git(&["rev-parse", "main"]), main);
    assert!(!host.repository().join("one.txt").exists());
    assert_eq!(host.git(&["status", "--porcelain"]), "");

    let before = host.git(&["for-each-ref", "refs/heads/"]);
    for name in ["nosuch", "", "-x", "refs/tags/x"] {
        let words = format!("--into={name}");
        let outcome = host.stockade(&["merge", "work", &words, "--yes"]);
        assert_ne!(outcome.code, 0, "{name:?}: {outcome:?}");
    }
    assert_eq!(host.git(&["for-each-ref", "refs/heads/"]), before);
}

#[test]
fn work_on_a_detached_head_is_merged_only_into_a_branch_that_is_named() {
    let host = Host::new();
    host.git(&["checkout", "--quiet", "--detach"]);
    done(&host, "echo 1 > one.txt");
    let main = host.git(&["rev-parse", "main"]);
    let unnamed = host.stockade(&["merge", "work", "--yes"]);
    assert_eq!(unnamed.code, USAGE, "{unnamed:?}");
    assert!(unnamed.stderr.contains("--into BRANCH"), "{unnamed:?}");
    assert_eq!(host.git(&["rev-parse", "main"]), main);

    host.json(&["merge", "work", "--into", "main", "--yes"]);
    assert_eq!(host.git(&["show", "main:one.txt"]), "1\n");
    // HEAD is where it was.
    assert_eq!(host.git(&["rev-parse", "HEAD"]), main);
    assert!(!host.repository().join("one.txt").exists());
}

#[test]
fn the_risk_of_each_file_is_told_without_its_content_and_the_riskiest_first() {
    let host = Host::new();
    done(
        &host,
        "echo 'echo inner-text' > .envrc; echo plain-text > a.txt; \
         mkdir -p .github/workflows; echo 'on: push' > .github/workflows/ci.yml",
    );
    let told = host.stockade(&["diff", "work", "--risk"]);
    assert_eq!(told.code, 0, "{told:?}");
    let place = |word: &str| told.stdout.find(word);
    let places = [".envrc", ".github/workflows/ci.yml", "a.txt"].map(place);
    assert!(places.is_sorted() && places[0].is_some(), "{told:?}");
    assert_eq!(told.stdout.matches("held back").count(), 2, "{told:?}");
    for hunk in ["inner-text", "plain-text", "on: push", "@@"] {
        assert!(!told.stdout.contains(hunk), "{hunk}: {told:?}");
    }
    // Each that is held back says why, in a line of its own.
    let reasons = told
        .stdout
        .lines()
        .filter(|line| line.starts_with("         "));
    assert!(reasons.count() >= 2, "{told:?}");
}
