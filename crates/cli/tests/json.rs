//! `--json`: one document on standard output, or one on standard error.

#![expect(clippy::panic, reason = "a step that fails fails its test")]

mod host;

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::host::{
    Host, Outcome,
    failure::{NOT_FOUND, REFUSED, USAGE},
};

/// Verbs of which other tests read the document, or that answer in somebody else's form:
/// `hook` in the agent's, a server by what it serves.
const ELSEWHERE: [&str; 6] = ["demo", "attack", "bench", "hook", "model-server", "help"];

fn run(host: &Host, words: &[&str]) -> Outcome {
    host.stockade(&[&["--json"], words].concat())
}

/// The one document of `text`.
fn document(words: &[&str], text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

/// What `words` answer; they must succeed and say nothing else.
fn answer(host: &Host, words: &[&str]) -> Value {
    let outcome = run(host, words);
    assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
    assert_eq!(outcome.stderr, "", "{words:?}");
    document(words, &outcome.stdout)
}

/// Why `words` fail, with `code`; they must say nothing else.
fn failure(host: &Host, words: &[&str], code: i32) -> Value {
    let outcome = run(host, words);
    assert_eq!(outcome.code, code, "{words:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{words:?}");
    let failure = document(words, &outcome.stderr);
    assert!(failure["error"].is_string(), "{words:?}: {failure}");
    failure
}

/// The verbs that the help lists.
fn verbs(host: &Host) -> BTreeSet<String> {
    let help = host.stockade(&["--help"]).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // What goes on from the line before is further in.
    let verbs = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    verbs
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Words that answer about an ended task `work`, and about no task at all.
const ANSWERED: &[&[&str]] = &[
    &["ls"],
    &["doctor", "--apparmor-profile"],
    &["logs", "work"],
    &["logs", "work", "--network"],
    &["exec", "work", "--", "cat", "one"],
    &["diff", "work"],
    &["diff", "work", "--stat"],
    &["diff", "work", "--risk"],
    &["review", "work"],
    &["review", "work", "--accept", "one"],
    &["provenance", "work"],
    &["why", "0", "--task", "work"],
    &["audit", "log", "work"],
    &["audit", "query", "--kind", "denied"],
    &["audit", "checkpoint", "work"],
    &["audit", "prove", "0", "--task", "work"],
    &["audit", "verify", "work"],
    &["budget"],
    &["allow", "--presets"],
    &["inbox"],
    &["inbox", "--list"],
    &["inbox", "--stats"],
    &["approver", "ls"],
    &["secret", "add", "token", "--from", "env:TOKEN"],
    &[
        "secret",
        "bind",
        "token",
        "--host",
        "api.example.com",
        "--header",
        "X-Token={}",
    ],
    &["secret", "ls"],
    &["secret", "test", "token"],
    &["secret", "unbind", "token", "--host", "api.example.com"],
    &["secret", "rm", "token"],
    &["policy", "check"],
    &["policy", "test", "--", "ls"],
    &["policy", "explain", "git.push-force"],
    &["policy", "ls"],
    &["policy", "schema"],
    &["policy", "replay"],
    &["policy", "diff"],
    &["mcp", "ls"],
    &["completions", "bash"],
    &["serve", "--describe"],
    &["undo", "work"],
    &["undo", "work", "--to", "1"],
    &["checkout", "work", "--on-host", "look"],
    &["cp", "work:one", "copy"],
    &["push", "work", "--yes"],
    &["push", "work", "--yes"],
    &["merge", "work", "--yes"],
    &["merge", "work", "--yes"],
    &["verify-commit"],
    &["rm", "work"],
    &["restore"],
];

/// Words that fail, and with which code.
const FAILING: &[(&[&str], i32)] = &[
    (&["attach", "living"], USAGE),
    (&["shell", "living"], USAGE),
    (&["checkout", "living"], USAGE),
    (&["run", "--interactive", "--", "true"], USAGE),
    (&["audit", "export"], USAGE),
    (&["mcp", "wrap", "nobody"], USAGE),
    (&["ls", "--nonsense"], USAGE),
    (&["why", "--task", "living"], NOT_FOUND),
    (&["approve", "deadbeef"], NOT_FOUND),
    (&["deny", "deadbeef"], NOT_FOUND),
    (&["restore", "nothing"], NOT_FOUND),
    (&["rm", "living"], REFUSED),
    (&["uninstall"], REFUSED),
];

#[test]
fn every_verb_answers_json_with_one_document_or_refuses_with_one() {
    let mut host = Host::new();
    host.set("TOKEN", "a-value-of-the-callers");
    let remote = host.path("remote.git");
    let remote = remote.to_string_lossy();
    host.git(&["init", "-q", "--bare", "-b", "main", &remote]);
    host.git(&["remote", "add", "origin", &remote]);
    let ran = answer(
        &host,
        &[
            "run",
            "--name",
            "work",
            "--",
            "sh",
            "-c",
            "echo 1 > one; echo said",
        ],
    );
    assert_eq!(ran["state"]["name"], "done", "{ran}");
    assert_eq!(ran["state"]["exit"], 0, "{ran}");
    assert_eq!(answer(&host, &["logs", "work"])["output"], "said\n");
    // Nothing ran in between but what asked.
    assert_eq!(answer(&host, &["stop", "--all"]), Value::Array(Vec::new()));
    let mut tried = BTreeSet::from(["run", "stop", "pause", "resume", "uninstall", "policy"]);
    for words in ANSWERED {
        answer(&host, words);
        tried.insert(words[0]);
    }
    assert!(host.repository().join("one").exists(), "merged");
    assert_eq!(
        fs::read_to_string(host.repository().join("copy")).unwrap(),
        "1\n"
    );

    let mut living = vec!["run", "--yes", "--detach", "--name", "living"];
    living.extend(["--max-commands", "5", "--", "sleep", "1000"]);
    let living = answer(&host, &living);
    assert_eq!(living["state"], Value::Null, "{living}");
    for words in [
        &["allow", "--list", "--task", "living"][..],
        &["allow", "example.com", "--task", "living"],
        &["budget", "raise", "living", "--commands", "5"],
        &["policy", "reload", "living"],
        &["pause", "living"],
        &["resume", "living"],
    ] {
        answer(&host, words);
    }
    for (words, code) in FAILING {
        failure(&host, words, *code);
        tried.insert(words[0]);
    }
    let stopped = answer(&host, &["stop", "--all"]);
    assert_eq!(stopped.as_array().map(Vec::len), Some(1), "{stopped}");
    assert_eq!(stopped[0]["state"], "stopped");
    answer(&host, &["uninstall", "--yes"]);

    let all = verbs(&host);
    assert!(all.len() > 30, "{all:?}");
    let untried: Vec<_> = all
        .iter()
        .filter(|verb| !tried.contains(verb.as_str()) && !ELSEWHERE.contains(&verb.as_str()))
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn a_task_run_for_a_program_ends_it_as_the_task_ended_and_says_so_in_the_document() {
    let host = Host::new();
    let outcome = |words: &[&str]| {
        let outcome = run(&host, words);
        let told = document(words, &outcome.stdout);
        (outcome, told["state"].clone())
    };
    let (failed, state) = outcome(&["run", "--", "sh", "-c", "exit 7"]);
    assert_eq!(
        (failed.code, &state["name"], &state["exit"]),
        (7, &"done".into(), &7.into())
    );
    assert_eq!(failed.stderr, "");

    let (late, state) = outcome(&["run", "--wall", "1s", "--", "sleep", "1000"]);
    assert_eq!(
        (late.code, &state["name"]),
        (REFUSED, &"stopped".into()),
        "{late:?}"
    );
    assert!(
        document(&["run"], &late.stderr)["error"]
            .as_str()
            .is_some_and(|sentence| sentence.contains("its time of 1 s is up")),
        "{late:?}"
    );
}

#[test]
fn how_the_workspace_was_made_and_how_long_that_took_stands_in_the_document() {
    let host = Host::new();
    for (back_end, words) in [
        ("overlay", "copy-on-write over the base tree"),
        ("checkout", "a copy of the base tree"),
    ] {
        let made = answer(
            &host,
            &["run", "--yes", "--backend", back_end, "--", "true"],
        );
        assert_eq!(made["back_end"], back_end, "{made}");
        assert_eq!(made["contract"]["workspace"], words, "{made}");
        for time in ["workspace_ms", "running_after_ms"] {
            let time = made[time].as_f64();
            // Made in no time at all, or in an hour, was not measured.
            assert!(
                time.is_some_and(|ms| ms > 0.0 && ms < 3_600_000.0),
                "{made}"
            );
        }
        assert!(made["running_after_ms"].as_f64() >= made["workspace_ms"].as_f64());
    }
    // What nobody chose is said as well.
    let chosen = answer(&host, &["run", "--yes", "--", "true"])["back_end"].clone();
    assert!(
        ["overlay", "checkout", "btrfs"]
            .map(Value::from)
            .contains(&chosen),
        "{chosen}"
    );
}

#[test]
fn stopping_several_tasks_is_one_document_too() {
    let host = Host::new();
    let tasks = [host.start("sleep 1000"), host.start("sleep 1000")];
    let stopped = answer(&host, &["stop", "--all"]);
    let stopped: BTreeSet<_> = stopped
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["task"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(stopped, tasks.iter().map(|task| task.id.as_str()).collect());
    let one = host.start("sleep 1000");
    assert_eq!(answer(&host, &["stop", &one.id])["task"], one.id.as_str());
}
