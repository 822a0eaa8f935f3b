//! What cannot be done is said in one sentence with the documented exit code,
//! and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, path::Path};

use serde_json::Value;

use self::host::{
    Host,
    failure::{FAILED, NOT_FOUND, REFUSED, USAGE, nothing_is_left, sentence},
    is_root, processes, skip,
};

/// Runs a command that must fail with `code` and a sentence that has `words`,
/// the same with `--json`, and leave no task and no process.
fn fails(host: &Host, arguments: &[&str], code: i32, words: &[&str]) {
    let outcome = host.stockade(arguments);
    assert_eq!(outcome.code, code, "{arguments:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{arguments:?}");
    for word in words {
        assert!(
            sentence(&outcome).contains(word),
            "{word}: {arguments:?}: {outcome:?}"
        );
    }
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");

    let mut with = vec!["--json"];
    with.extend(arguments);
    let outcome = host.stockade(&with);
    assert_eq!(outcome.code, code, "{with:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{with:?}");
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    for word in words {
        assert!(
            error["error"].as_str().unwrap().contains(word),
            "{word}: {error}"
        );
    }
    let kind = ["failed", "usage", "notfound", "refused", "conflict", "wall"];
    assert_eq!(
        error["kind"],
        kind[usize::try_from(code - 1).unwrap()],
        "{error}"
    );
    assert!(error["hints"].is_array(), "{error}");
    nothing_is_left(host);
}

#[test]
fn folders_that_are_no_repository_to_work_on() {
    let host = Host::new();
    let folder = |name: &str| {
        let path = host.path(name);
        fs::create_dir_all(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let run = |folder: &str, code, words: &[&str]| {
        fails(&host, &["run", "--in", folder, "--", "true"], code, words);
    };
    let plain = folder("plain");
    run(
        &plain,
        NOT_FOUND,
        &["is not in a git repository", "git init"],
    );
    run(
        "/no/such/folder",
        NOT_FOUND,
        &["`/no/such/folder` is not in a git repository"],
    );
    fs::write(host.path("file"), "").unwrap();
    run(
        host.path("file").to_str().unwrap(),
        NOT_FOUND,
        &["is not in a git repository"],
    );
    run(
        "../project/.git",
        NOT_FOUND,
        &["is not in a git repository"],
    );
    let bare = folder("bare.git");
    host.git_in(Path::new(&bare), &["init", "-q", "--bare"]);
    run(&bare, FAILED, &["is a bare repository", "git clone"]);
    let empty = folder("empty");
    host.git_in(Path::new(&empty), &["init", "-q"]);
    run(&empty, FAILED, &["has no commit yet"]);
    let broken = folder("broken/.git");
    fs::write(Path::new(&broken).join("HEAD"), "nonsense\n").unwrap();
    run(
        host.path("broken").to_str().unwrap(),
        NOT_FOUND,
        &["is not in a git repository"],
    );
    if is_root() {
        let theirs = host.make_repository("theirs", &[("a", "a\n")]);
        std::os::unix::fs::chown(&theirs, Some(4711), Some(4711)).unwrap();
        std::os::unix::fs::chown(theirs.join(".git"), Some(4711), Some(4711)).unwrap();
        run(
            theirs.to_str().unwrap(),
            FAILED,
            &["belongs to another user"],
        );
    } else {
        skip(
            "a repository of another user",
            "only root can give one away",
        );
    }
}

#[test]
fn commits_that_do_not_exist() {
    let host = Host::new();
    for name in [
        "nosuch",
        "main..HEAD",
        "HEAD^{tree}",
        "HEAD:README.md",
        "HEAD~7",
        "refs/heads/nosuch",
        ":/nothing",
        "0123456789abcdef0123456789abcdef01234567",
        "@{u}",
        "a b",
    ] {
        let words = [format!("`{name}` names no commit")];
        fails(
            &host,
            &["run", "--base", name, "--", "true"],
            NOT_FOUND,
            &[&words[0]],
        );
    }
    // An option of git's is no name; a control character is shown, not sent.
    fails(
        &host,
        &["run", "--base=--upload-pack=touch pwned", "--", "true"],
        NOT_FOUND,
        &["names no commit"],
    );
    fails(
        &host,
        &["run", "--base", "a\u{1b}[31mb", "--", "true"],
        NOT_FOUND,
        &["names no commit"],
    );
    fails(
        &host,
        &["run", "--base", "", "--", "true"],
        NOT_FOUND,
        &["names no commit"],
    );
    assert!(!host.repository().join("pwned").exists());
}

#[test]
fn words_that_are_no_command() {
    let host = Host::new();
    fails(
        &host,
        &["frobnicate"],
        USAGE,
        &["unrecognized subcommand 'frobnicate'"],
    );
    fails(&host, &["run"], USAGE, &["say what to run"]);
    fails(
        &host,
        &["run", "nosuch", "hello"],
        USAGE,
        &["`nosuch` is not a known agent", "claude"],
    );
    fails(
        &host,
        &["run", "claude"],
        USAGE,
        &["say what claude shall do"],
    );
    fails(
        &host,
        &["run", "claude", "x", "--", "true"],
        USAGE,
        &["not both"],
    );
    fails(&host, &["run", "--", ""], USAGE, &["no command given"]);
    fails(
        &host,
        &["run", "--wall", "0", "--", "true"],
        USAGE,
        &["90s, 30m or 4h"],
    );
    fails(
        &host,
        &["run", "--wall", "99999999999999999999h", "--", "true"],
        USAGE,
        &["90s, 30m or 4h"],
    );
    fails(
        &host,
        &["run", "--model-url", "ftp://x", "claude", "x"],
        USAGE,
        &["--model-url"],
    );
    fails(
        &host,
        &["stop", "--all", "x"],
        USAGE,
        &["cannot be used with"],
    );
    for verb in [
        "attach", "logs", "pause", "resume", "stop", "diff", "review",
    ] {
        fails(&host, &[verb], NOT_FOUND, &["there is no task"]);
        fails(
            &host,
            &[verb, "nosuch"],
            NOT_FOUND,
            &["there is no task `nosuch`"],
        );
    }
    fails(
        &host,
        &["exec", "nosuch", "--", "true"],
        NOT_FOUND,
        &["there is no task `nosuch`"],
    );
    fails(
        &host,
        &["attach", "../../etc"],
        NOT_FOUND,
        &["there is no task"],
    );
}

#[test]
fn a_name_that_fits_several_tasks_is_refused_with_the_list() {
    let host = Host::new();
    for name in ["twin-one", "twin-two"] {
        let outcome = host.stockade(&["run", "--name", name, "--", "true"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    for arguments in [&["logs", "twin"][..], &["logs"]] {
        let outcome = host.stockade(arguments);
        assert_eq!(outcome.code, USAGE, "{outcome:?}");
        assert!(outcome.stderr.contains("twin-one") && outcome.stderr.contains("twin-two"));
    }
    assert_eq!(host.stockade(&["logs", "twin-o"]).code, 0);
}

#[test]
fn an_agent_or_a_key_that_is_missing() {
    let mut host = Host::new();
    fails(
        &host,
        &["run", "claude", "hello"],
        NOT_FOUND,
        &["`claude` is not on PATH", "npm install"],
    );
    // A native program by that name, which nothing but its start looks into.
    let tool = host.path("tool/bin");
    fs::create_dir_all(&tool).unwrap();
    fs::copy("/bin/true", tool.join("codex")).unwrap();
    host.set("PATH", format!("{}:{}", tool.display(), host::PATH));
    fails(
        &host,
        &["run", "codex", "hello"],
        REFUSED,
        &["OPENAI_API_KEY is not set"],
    );
    host.set("OPENAI_API_KEY", "");
    fails(
        &host,
        &["run", "codex", "hello"],
        REFUSED,
        &["OPENAI_API_KEY is not set"],
    );

    // It is there when the task is made and gone when it is resumed.
    let key = format!("sk-decoy-of-{}", std::process::id());
    host.set("OPENAI_API_KEY", &*key);
    let outcome = host.stockade(&["run", "--name", "gone", "codex", "hello"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    fs::remove_file(tool.join("codex")).unwrap();
    let outcome = host.stockade(&["resume", "gone"]);
    assert!([FAILED, NOT_FOUND].contains(&outcome.code), "{outcome:?}");
    assert!(
        sentence(&outcome).contains("`codex` is not on PATH"),
        "{outcome:?}"
    );
    fs::copy("/bin/false", tool.join("codex")).unwrap();
    let outcome = host.stockade(&["resume", "gone"]);
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(
        sentence(&outcome).contains("another program"),
        "{outcome:?}"
    );
    let state = host.json(&["ls"])[0]["state"].clone();
    assert_eq!(
        state["name"], "done",
        "the task stands where it stood: {state}"
    );
    let everything = processes::with_words(&key);
    assert!(everything.is_empty(), "{everything:?}");
}

#[test]
fn a_contract_wider_than_the_last_one_needs_a_yes() {
    let mut host = Host::new();
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
    let tool = host.path("more/bin");
    fs::create_dir_all(&tool).unwrap();
    fs::write(tool.join("mytool"), "#!/bin/sh\n").unwrap();
    host.set("PATH", format!("{}:{}", tool.display(), host::PATH));
    for arguments in [&["run", "--", "true"][..], &["--json", "run", "--", "true"]] {
        let outcome = host.stockade(arguments);
        assert_eq!(outcome.code, REFUSED, "{outcome:?}");
        assert!(
            outcome.stderr.contains("wider than the last"),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("more"),
            "what is wider is named: {outcome:?}"
        );
        assert!(outcome.stderr.contains("--yes"), "{outcome:?}");
    }
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 1);
    assert_eq!(host.stockade(&["run", "--yes", "--", "true"]).code, 0);
    // It was accepted, and a narrower one never asks.
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
    host.set("PATH", host::PATH);
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
}
