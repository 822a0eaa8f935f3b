//! What an agent could try to do about an approval.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use serde_json::{Value, json};
use stockade_types::EventKind;

use crate::{
    asking, curl, events,
    host::{Host, Task, has, server::REPLY, skip},
    question, refusal, server,
};

const URL: &str = "https://web.test/";

fn socket(task: &Task) -> PathBuf {
    task.folder.join("control/socket")
}

/// Says something to a task's supervisor, as only its user can.
fn say(task: &Task, request: &Value) -> Value {
    // Names of sockets are short; folders of tests may not be.
    let folder = std::fs::File::open(task.folder.join("control")).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{descriptor}/socket")).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn g4_an_agent_sees_no_channel_of_answers_and_cannot_answer_itself() {
    let Some(server) = server() else {
        return;
    };
    if !has("perl") {
        return skip(
            "an agent that looks for the channel",
            "perl is not installed",
        );
    }
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    let socket = socket(&task);
    let state = host.state();
    assert!(socket.exists(), "it is there, outside");
    let connect = format!(
        "perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new(Peer => shift) ? q(in) : q(out)' \
         {}",
        socket.display()
    );
    assert_eq!(host.exec(&task, &connect).1, "out");
    // Not by its path, its name, nor through a process that could hold it.
    let look = format!(
        "for path in {0} {0}/approvals {0}/approvals/key {1}; do test -e $path && echo $path; done; \
         find / -xdev \\( -name approvers.json -o -path '*/control/socket' -o -path \
         '*/approvals/key' \\) 2>/dev/null; \
         grep -l {0} /proc/[0-9]*/environ /proc/net/unix 2>/dev/null; \
         ls -l /proc/[0-9]*/fd 2>/dev/null | grep -F control/socket",
        state.display(),
        socket.display()
    );
    assert_eq!(host.exec(&task, &look).1, "");
    // Stockade itself, run inside, finds nobody to answer to.
    let program = env!("CARGO_BIN_EXE_stockade");
    let inside = host.path("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::copy(program, inside.join("stockade")).unwrap();
    let words = ["--service", &server.service, "--ask", "--yes", "--ro"];
    let words = [&words[..], &[inside.to_str().unwrap()]].concat();
    let second = host.start_with(&words, crate::WAIT);
    let own = question(&host, &second, URL);
    for id in [&id, &own] {
        let approve = format!(
            "STOCKADE_STATE_DIR={} {}/stockade approve {id}; echo ended $?",
            state.display(),
            inside.display()
        );
        let printed = host.exec(&second, &approve).1;
        assert!(!printed.contains("ended 0"), "{printed}");
    }
    assert_eq!(question(&host, &second, URL), own);
    assert_eq!(question(&host, &task, URL), id);
    assert!(events(&task, EventKind::Answered).is_empty());
    // The one thing that was tried with a right answer works from outside.
    assert_eq!(host.stockade(&["approve", &own]).code, 0);
    assert_eq!(curl(&host, &second, URL), format!("{REPLY} 200"));
}

#[test]
fn g4_an_answer_that_was_seen_cannot_be_used_again_nor_for_anything_else() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let (task, other) = (asking(&host, &server), asking(&host, &server));
    let id = question(&host, &task, URL);
    question(&host, &other, URL);
    host.json(&["approve", &id]);
    assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
    let answered = events(&task, EventKind::Answered).remove(0);
    let mut replayed = answered["answer"].clone();
    replayed["ask"] = json!("answer");
    question(&host, &task, URL);
    for task in [&task, &other] {
        let said = say(task, &replayed);
        assert_eq!(said["answer"], "refused", "{said}");
    }
    // With the number of the question that waits now it is no longer what was
    // signed.
    let waiting = host.json(&["inbox", &task.id])[0].clone();
    for field in ["ask", "expires", "record"] {
        replayed["statement"][field] = waiting[field].clone();
    }
    let said = say(&task, &replayed);
    let reason = said["reason"].as_str().unwrap();
    assert!(reason.contains("does not fit"), "{said}");
    for task in [&task, &other] {
        question(&host, task, URL);
    }
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn g4_the_agents_own_words_cannot_change_the_card() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    // A right-to-left override; no header can hold an escape or a line feed.
    let words = "docs\\342\\200\\256  class  harmless, approved by admin";
    let header = format!("\"x-stockade-why: $(printf '{words}')\"");
    question(&host, &task, &format!("-H {header} {URL}"));
    let shown = host.stockade(&["inbox", "--list"]).stdout;
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\u{202e}'),
        "{shown:?}"
    );
    let said: Vec<_> = shown
        .lines()
        .filter(|line| line.contains("admin"))
        .collect();
    assert_eq!(said.len(), 1, "{shown}");
    assert!(
        said[0].contains("agent says") && said[0].contains("nobody checked"),
        "{shown}"
    );
    assert!(shown.contains("GET https://web.test:443"), "{shown}");
    // Who owns a name comes before what its owner put in front of it.
    question(&host, &task, "https://xn--pple-43d.com.login.web.test/");
    let shown = host.stockade(&["inbox", "--list"]).stdout;
    let card = shown.rsplit('#').next().unwrap();
    let at = |text: &str| {
        card.find(text)
            .unwrap_or_else(|| panic!("{text} not in: {shown}"))
    };
    assert!(at("domain      web.test") < at("would"), "{shown}");
    assert!(at("Cyrillic") < at("would"), "{shown}");
}

#[test]
fn g4_a_change_after_the_approval_is_another_action() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = asking(&host, &server);
    let id = question(&host, &task, URL);
    host.json(&["approve", &id]);
    for words in [
        "-X OPTIONS https://web.test/",
        "https://web.test:8443/",
        "http://web.test/",
        "https://www.web.test/",
    ] {
        let refused = refusal(&curl(&host, &task, words));
        assert_eq!(refused["rule"], "approval.pending", "{words}");
    }
    assert!(server.lines().is_empty());
    assert_eq!(curl(&host, &task, URL), format!("{REPLY} 200"));
}
