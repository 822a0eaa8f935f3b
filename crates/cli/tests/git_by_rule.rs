//! Git over HTTP through the gateway: fetching by the preset, pushing by none.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::path::{Path, PathBuf};

use crate::host::{Host, Task, git_server::GitServer};

#[test]
fn g2_git_fetches_by_the_preset_and_pushes_by_none() {
    let host = Host::new();
    let Some((server, bare)) = served_library(&host) else {
        return;
    };
    let service = format!("github.com={}", server.url);
    let words = ["--service", &service, "--preset", "git-read", "--yes"];
    let task = host.start_with(&words, "sleep 600");
    let (exit, printed) = host.exec(
        &task,
        "git clone -q https://github.com/own/lib.git /tmp/lib && cat /tmp/lib/lib.txt && \
         cd /tmp/lib && for i in $(seq 40); do git tag t$i; done && git fetch -q && git branch -r",
    );
    assert_eq!(exit, 0, "{printed}");
    for expected in ["a library", "origin/from-outside"] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    push_is_refused(&host, &task, &bare);
    let why = host.stockade(&["why", "--task", &task.id]).stdout;
    assert!(why.contains("GET /own/lib.git/info/refs"), "{why}");
    assert!(
        why.contains("git.push-unread") && why.contains("stockade push"),
        "{why}"
    );
}

#[test]
fn g4_a_push_is_refused_where_the_host_is_allowed_for_anything() {
    let host = Host::new();
    let Some((server, bare)) = served_library(&host) else {
        return;
    };
    let service = format!("github.com={}", server.url);
    let words = ["--service", &service, "--allow", "ANY github.com", "--yes"];
    let task = host.start_with(&words, "sleep 600");
    let (exit, printed) = host.exec(
        &task,
        "git clone -q https://github.com/own/lib.git /tmp/lib && cat /tmp/lib/lib.txt",
    );
    assert_eq!(exit, 0, "{printed}");
    push_is_refused(&host, &task, &bare);
    // What git prints of any other refusal, too.
    let (exit, printed) = host.exec(&task, "git ls-remote https://gitlab.com/own/lib.git 2>&1");
    assert_ne!(exit, 0, "{printed}");
    assert!(
        printed.contains("remote: stockade refused") && printed.contains("stockade allow"),
        "{printed}"
    );
}

/// A commit that is pushed from inside does not arrive, and git says why.
fn push_is_refused(host: &Host, task: &Task, bare: &Path) {
    let (exit, printed) = host.exec(
        task,
        "cd /tmp/lib && git -c user.name=a -c user.email=a@b.c commit -q --allow-empty -m x && \
         git push https://github.com/own/lib.git HEAD:refs/heads/from-inside 2>&1",
    );
    assert_ne!(exit, 0, "{printed}");
    for expected in [
        "remote: stockade refused",
        "git.push-unread",
        "stockade merge",
        "stockade push",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    let branches = host.git_in(bare, &["branch", "--list"]);
    assert!(
        branches.contains("from-outside") && !branches.contains("from-inside"),
        "{branches}"
    );
}

/// A server with one repository, to which anybody may push from outside, and
/// that repository.
fn served_library(host: &Host) -> Option<(GitServer, PathBuf)> {
    let bare = host.path("served/own/lib.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    let source = host.make_repository("lib", &[("lib.txt", "a library\n")]);
    let bare_text = bare.to_str().unwrap();
    host.git_in(&source, &["clone", "-q", "--bare", ".", bare_text]);
    host.git_in(&bare, &["config", "http.receivepack", "true"]);
    let server = GitServer::start(host, host.path("served"))?;
    let url = format!("{}/own/lib.git", server.url);
    host.git_in(
        &source,
        &["push", "-q", &url, "main:refs/heads/from-outside"],
    );
    Some((server, bare))
}
