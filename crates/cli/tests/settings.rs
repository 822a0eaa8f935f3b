//! What a repository and its user say in files of settings is what a task meets.

mod host;

use std::{fs, os::unix::fs::symlink};

use self::host::{
    Host,
    failure::{FAILED, REFUSED, sentence},
};

#[test]
fn g1_files_that_a_project_asks_for_come_along_and_through_no_link_of_the_base() {
    let host = Host::new();
    let repository = host.repository();
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("log"), "outside\n").unwrap();
    let listed = "cache/\nkept.log\n";
    fs::write(repository.join(".gitignore"), format!("{listed}other\n")).unwrap();
    fs::write(repository.join(".worktreeinclude"), listed).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Settings"]);
    // A branch that has links where the listed files go.
    host.git(&["checkout", "--quiet", "-b", "trap"]);
    symlink(&outside, repository.join("cache")).unwrap();
    symlink(outside.join("log"), repository.join("kept.log")).unwrap();
    host.git(&["add", "--force", "cache", "kept.log"]);
    host.git(&["commit", "--quiet", "--message", "Trap"]);
    host.git(&["checkout", "--quiet", "main"]);
    fs::create_dir(repository.join("cache")).unwrap();
    for (name, text) in [
        ("cache/data", "data\n"),
        ("kept.log", "log\n"),
        ("other", ""),
    ] {
        fs::write(repository.join(name), text).unwrap();
    }

    let look = "cat cache/data kept.log 2>/dev/null; test ! -e other; git status --short";
    for (base, backend) in [
        ("main", "overlay"),
        ("main", "checkout"),
        ("trap", "overlay"),
        ("trap", "checkout"),
    ] {
        let words = ["run", "--yes", "--base", base, "--backend", backend];
        let outcome = host.stockade(&[&words[..], &["--", "bash", "-c", look]].concat());
        assert_eq!(outcome.code, 0, "{base}, {backend}: {outcome:?}");
        // What a base has itself stays as it is; its links lead nowhere inside.
        let seen = if base == "main" { "data\nlog\n" } else { "" };
        assert_eq!(outcome.stdout, seen, "{base}, {backend}: {outcome:?}");
        let there: Vec<_> = fs::read_dir(&outside).unwrap().collect();
        assert_eq!(there.len(), 1, "{base}, {backend}: {there:?}");
        let log = fs::read_to_string(outside.join("log")).unwrap();
        assert_eq!(log, "outside\n", "{base}, {backend}");
    }
}

#[test]
fn setup_that_was_agreed_to_asks_no_more_until_another_is_committed() {
    let host = Host::new();
    let commit = |run: &str| {
        let text = format!("[setup]\nrun = [\"{run}\"]\n");
        fs::write(host.repository().join("stockade.toml"), text).unwrap();
        host.git(&["add", "--all"]);
        host.git(&["commit", "--quiet", "--message", "Setup"]);
    };
    let run = |yes: bool| {
        let words = ["run", "--yes", "--", "cat", "/tmp/setup"];
        host.stockade(if yes {
            &words[..]
        } else {
            &["run", "--", "cat", "/tmp/setup"]
        })
    };
    commit("echo first > /tmp/setup");
    assert_eq!(run(false).code, REFUSED);
    assert_eq!(run(true).stdout, "first\n");
    assert_eq!(run(false).stdout, "first\n");

    commit("echo second > /tmp/setup");
    let before = host.json(&["ls"]).as_array().unwrap().len();
    let outcome = run(false);
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(outcome.stderr.contains("echo second"), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), before);
    assert_eq!(run(true).stdout, "second\n");
    assert_eq!(run(false).stdout, "second\n");

    // A base commit from before asks again: what ran last is what was agreed to.
    let words = ["run", "--base", "HEAD~1", "--", "cat", "/tmp/setup"];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(outcome.stderr.contains("echo first"), "{outcome:?}");
}

#[test]
fn g3_paths_that_a_user_hides_are_hidden_in_every_folder_that_a_task_is_shown() {
    let host = Host::new();
    let shown = host.path("shown");
    for name in [
        "notes/own",
        "below/notes/own",
        "notes-of-others",
        "below/deep/notes",
    ] {
        let path = shown.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{name}\n")).unwrap();
    }
    let place = shown.to_str().unwrap();
    let look = format!("cd {place}; cat $(find . -type f 2>/dev/null | sort)");
    let run = || host.stockade(&["run", "--yes", "--ro", place, "--", "bash", "-c", &look]);
    let everything = "below/deep/notes\nbelow/notes/own\nnotes-of-others\nnotes/own\n";
    let outcome = run();
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (0, everything),
        "{outcome:?}"
    );

    let configuration = host.home().join(".config/stockade");
    fs::create_dir_all(&configuration).unwrap();
    let write = |text: &str| fs::write(configuration.join("config.toml"), text).unwrap();
    write("[hide]\npaths = [\"notes\"]\n");
    let outcome = run();
    let rest = "below/deep/notes\nnotes-of-others\n";
    assert_eq!((outcome.code, &*outcome.stdout), (0, rest), "{outcome:?}");

    // One that is not there no longer hides, which is wider, and is said.
    write("[hide]\npath = [\"notes\"]\n");
    let outcome = run();
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(sentence(&outcome).contains("config.toml"), "{outcome:?}");
    assert!(outcome.stderr.contains("path"), "{outcome:?}");
    assert_ne!(outcome.code, FAILED);
}

/// Where agents look for settings that bind every user of a machine.
const MANAGED: [&str; 8] = [
    "/etc/claude-code/managed-settings.json",
    "/etc/claude-code/managed-mcp.json",
    "/etc/claude-code/CLAUDE.md",
    "/etc/codex/config.toml",
    "/etc/codex/managed_config.toml",
    "/etc/codex/requirements.toml",
    "/etc/gemini-cli/settings.json",
    "/etc/opencode/opencode.json",
];

#[test]
fn g6_settings_that_bind_every_user_of_an_agent_are_neither_shown_nor_made_inside() {
    let host = Host::new();
    let attempts: Vec<String> = MANAGED
        .iter()
        .map(|path| {
            format!(
                "test -e {path} && echo shown {path}; mkdir -p $(dirname {path}) && echo {{}} > {path} && echo made {path}; \
                 ln -s /tmp {path} && echo linked {path}"
            )
        })
        .collect();
    let script = format!(
        "exec 2>/dev/null; {}; mv /etc /etc2 && echo moved; echo tried",
        attempts.join("; ")
    );
    assert_eq!(host.look(&script), "tried\n");
}
