//! What servers reach: what their approval names, in a task and outside of one.

use serde_json::json;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::{
    COMMAND, calls, client,
    host::{Host, eventually, failure::REFUSED, server::Server},
    mcp, of_task, plain, stage, text,
};

/// Asks for a page that may be had, one that may not, another host and an address.
const ASKS: &str = "curl -s http://known.example/page; curl -s -X DELETE http://known.example/page; \
     curl -s --max-time 5 http://other.example/; curl -s --max-time 5 http://127.0.0.1/";

const RULE: &str = "GET http://known.example";

#[test]
fn g2_a_server_reaches_the_hosts_that_it_was_given_and_no_others() {
    let known = Server::start("known.example");
    let (host, _) = stage(&plain(), ASKS);
    let given = ["--first-use", "--allow", RULE, "--service", &known.service];
    let words = [&given[..], &COMMAND].concat();
    let (heard, outcome) = client(&host, &words, &[calls("list", &json!({}))]);
    let said = text(&heard[0]);
    assert!(said.contains("from outside"), "{said} {outcome:?}");
    assert_eq!(known.lines(), ["GET /page HTTP/1.1"]);
    assert!(
        outcome
            .stderr
            .contains("the server may not reach other.example"),
        "{outcome:?}"
    );
    // Without the rule it reaches nothing.
    let words = [&["--first-use", "--service", &known.service][..], &COMMAND].concat();
    let (heard, _) = client(&host, &words, &[calls("list", &json!({}))]);
    assert!(!text(&heard[0]).contains("from outside"), "{heard:?}");
    assert_eq!(known.lines().len(), 1);
}

#[test]
fn g3_a_server_of_a_task_reaches_what_its_approval_names_and_the_record_has_it() {
    let known = Server::start("known.example");
    let host = Host::new();
    let folder = of_task::files(&host, ASKS);
    let script = folder.join("server.sh");
    let words = [
        "add",
        "notes",
        "--yes",
        "--allow",
        RULE,
        "--service",
        &known.service,
        "--ro",
    ];
    let server = [
        folder.to_str().unwrap(),
        "--",
        "/bin/sh",
        script.to_str().unwrap(),
    ];
    let added = mcp(&host, &[&words[..], &server].concat());
    assert_eq!(added.code, 0, "{added:?}");
    let task = host.start_with(&["--mcp", "notes"], "sleep 600");
    let (heard, error) = of_task::client(&host, &task, &[of_task::calls("list")]);
    assert!(
        text(&heard[0]).contains("from outside"),
        "{heard:?} {error}"
    );
    assert_eq!(known.lines(), ["GET /page HTTP/1.1"]);
    // The task itself reaches nothing of that.
    let (_, said) = host.exec(&task, "curl -s --max-time 5 http://known.example/page");
    assert!(!said.contains("from outside"), "{said}");
    let of_server = |kind: EventKind| {
        let records = task.record().into_iter();
        let of_kind = records.filter(|record| record.kind == RecordKind::Event(kind));
        let of_server = of_kind.filter(|record| record.body["by"] == "mcp server");
        of_server.count()
    };
    eventually("what it was refused is recorded", || {
        of_server(EventKind::Denied) >= 2
    });
    assert_eq!(of_server(EventKind::NetworkRequest), 1);
}

#[test]
fn g3_a_server_that_is_shown_the_repository_reaches_nothing_in_a_task() {
    let (host, folder) = stage(&plain(), ASKS);
    host.git_in(&folder, &["add", "-A"]);
    host.git_in(&folder, &["commit", "-qm", "a server"]);
    let words = [&["add", "notes", "--yes", "--allow", RULE][..], &COMMAND].concat();
    assert_eq!(mcp(&host, &words).code, 0);
    let refused = host.stockade(&["run", "--yes", "--mcp", "notes", "--", "true"]);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(
        refused.stderr.contains("reaches nothing in a task"),
        "{refused:?}"
    );
}
