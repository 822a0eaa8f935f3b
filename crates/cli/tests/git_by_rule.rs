//! Git over HTTP through the gateway: fetching by the preset, pushing by none.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::host::{Host, Task, skip};

/// Git's own server over HTTP, which lets anybody push.
struct GitServer {
    url: String,
}

impl GitServer {
    /// Serves the bare repositories in `root`; nothing where git cannot.
    fn start(host: &Host, root: PathBuf) -> Option<Self> {
        let programs = PathBuf::from(host.git(&["--exec-path"]).trim());
        if !programs.join("git-http-backend").exists() {
            skip("git over HTTP", "this git has no http-backend");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let backend = {
            let mut backend = host.other_command("git");
            backend.arg("http-backend").env("GIT_PROJECT_ROOT", root);
            backend
                .env("GIT_HTTP_EXPORT_ALL", "1")
                .env("REMOTE_USER", "anybody");
            backend
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            std::sync::Mutex::new(backend)
        };
        // It ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &mut backend.lock().unwrap());
            }
        });
        Some(Self { url })
    }
}

/// One request by the rules of CGI.
fn serve(mut stream: TcpStream, backend: &mut Command) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let (path, query) = words[1].split_once('?').unwrap_or((&words[1], ""));
    backend
        .env("REQUEST_METHOD", &words[0])
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query);
    let mut length = 0;
    for name in [
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "HTTP_CONTENT_ENCODING",
        "HTTP_GIT_PROTOCOL",
    ] {
        backend.env_remove(name);
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-type" => drop(backend.env("CONTENT_TYPE", value)),
            "content-encoding" => drop(backend.env("HTTP_CONTENT_ENCODING", value)),
            "git-protocol" => drop(backend.env("HTTP_GIT_PROTOCOL", value)),
            "content-length" => {
                length = value.parse().unwrap_or(0);
                backend.env("CONTENT_LENGTH", value);
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut running = backend.spawn()?;
    running.stdin.take().unwrap().write_all(&body)?;
    let reply = running.wait_with_output()?.stdout;
    let status = reply
        .strip_prefix(b"Status: ")
        .map(|rest| rest[..3].to_vec());
    let status = status.unwrap_or_else(|| b"200".to_vec());
    stream.write_all(
        &[
            b"HTTP/1.1 ",
            &status[..],
            b" CGI\r\nconnection: close\r\n",
            &reply[..],
        ]
        .concat(),
    )
}

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
        why.contains("git.push-unread") && why.contains("stockade merge"),
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
