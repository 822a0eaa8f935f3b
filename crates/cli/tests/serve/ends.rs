//! Who reaches the server, and how it ends.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Stdio,
};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    Server, exec,
    host::{self, Host, eventually, failure, has, skip},
    marker, named, other_socket, standing, sure_to_end, text,
};

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_server() {
    let host = Host::new();
    let server = Server::start(&host);
    let socket = server.socket.clone();
    assert_eq!(socket, host.state().join("serve/socket"));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(
        (mode(&socket), mode(socket.parent().unwrap())),
        (0o600, 0o700)
    );
    let outcome = server.stop();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(!socket.exists());
}

#[test]
fn another_user_is_refused_even_where_the_files_would_let_it_in() {
    if !host::is_root() || !has("setpriv") || !has("curl") {
        return skip("another user at the socket", "needs root, setpriv and curl");
    }
    let host = Host::new();
    let server = Server::start_with(&host, &["--socket", text(&other_socket(&host))]);
    let mut open = server.socket.as_path();
    fs::set_permissions(open, Permissions::from_mode(0o666)).unwrap();
    while let Some(folder) = open
        .parent()
        .filter(|folder| folder.starts_with(host.path("")))
    {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        open = folder;
    }
    let mut other = host.other_command("setpriv");
    other.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "curl",
        "-s",
    ]);
    other.args([
        "--unix-socket",
        text(&server.socket),
        "http://localhost/v1/health",
    ]);
    let outcome = host::finish(other);
    assert!(
        outcome.stdout.contains("urn:stockade:problem:foreign"),
        "{outcome:?}"
    );
    assert_eq!(server.get("/v1/health").status, 200);
}

#[test]
fn a_socket_others_could_replace_or_that_is_taken_is_refused() {
    let host = Host::new();
    let shared = host.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    let refused = host.stockade(&["serve", "--socket", text(&shared.join("socket"))]);
    assert_eq!(refused.code, failure::REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("chmod 700"), "{refused:?}");

    let mut first = Server::start(&host);
    let refused = host.stockade(&["serve"]);
    assert_eq!(refused.code, failure::REFUSED, "{refused:?}");
    assert!(
        refused.stderr.contains("another `stockade serve`"),
        "{refused:?}"
    );
    let beside = Server::start_with(&host, &["--socket", text(&other_socket(&host))]);
    assert_eq!(beside.get("/v1/health").status, 200);

    // What a server leaves that was killed is no obstacle.
    first.signal(Signal::KILL);
    first.ended();
    assert!(first.socket.exists());
    let next = Server::start(&host);
    assert_eq!(next.get("/v1/health").status, 200);
}

#[test]
fn at_its_end_commands_get_their_last_words_or_end_and_sandboxes_go_on() {
    let (host, task, mut server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    let marker = marker("served-at-the-end");
    let long = json!({ "shell": format!("exec -a {marker}-long sleep 1000") });
    let short = json!({ "shell": format!("bash -c 'exec -a {marker}-short sleep 1'; echo done") });
    let streamed = server.open(&exec(&task), &long, &[("accept", "text/event-stream")]);
    let waiting = server.open(&exec(&task), &short, &[]);
    eventually("both run", || named(&marker) == 2);
    server.signal(Signal::TERM);
    assert_eq!(waiting.finish().done(200)["stdout"]["text"], "done\n");
    let outcome = server.ended();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    drop(streamed);
    eventually("the long one has ended", || named(&marker) == 0);
    assert_eq!(host.exec(&task, "echo here"), (0, "here\n".to_owned()));
}

#[test]
fn a_server_that_is_killed_takes_its_commands_along() {
    let (host, task, mut server) = standing();
    if !sure_to_end(&host, &task) {
        return;
    }
    let marker = marker("served-by-the-killed");
    let command = json!({ "shell": crate::stubborn(&marker) });
    let _waiting = server.open(&exec(&task), &command, &[]);
    eventually("it runs", || named(&marker) == 3);
    server.signal(Signal::KILL);
    server.ended();
    eventually("all of it is gone", || named(&marker) == 0);
    assert_eq!(host.status(&task)["state"]["name"], "running");
}

#[test]
fn help_shows_how_to_ask_and_bad_words_are_refused() {
    let host = Host::new();
    let help = host.stockade(&["serve", "--help"]);
    assert!(help.stdout.contains("curl --unix-socket"), "{help:?}");
    for words in [["--commands", "0"], ["--commands", "many"]] {
        let refused = host.stockade(&[&["serve"], &words[..]].concat());
        assert_eq!(refused.code, failure::USAGE, "{refused:?}");
    }
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let (_host, task, server) = standing();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (server, task) = (&server, &task);
            scope.spawn(move || {
                for turn in 0..10 {
                    let words = format!("{client} {turn}");
                    let said = server.exec(task, &format!("echo {words}"));
                    assert_eq!(said["output"]["text"], format!("{words}\n"));
                }
            });
        }
    });
    assert_eq!(server.get("/v1/health").done(200)["commands"], 0);
}

#[test]
fn people_are_told_where_it_listens() {
    let host = Host::new();
    let mut command = host.command(&["serve"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let socket = host.state().join("serve/socket");
    let mut line = String::new();
    let mut source = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut source, &mut line).unwrap();
    assert_eq!(line, format!("listening at {}\n", socket.display()));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::INT).unwrap();
    let outcome = host::wait_within(child, host::LONGEST).unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("curl --unix-socket"), "{outcome:?}");
}
