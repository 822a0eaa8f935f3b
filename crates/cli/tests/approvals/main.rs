//! Questions to a person, from the request that waits to the signature that
//! lets it pass, and what an agent can do about them: nothing.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

#[path = "../host/mod.rs"]
mod host;

mod agent;
mod answers;
mod attacks;
mod commands;
mod people;

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{Host, Task, has, server::Server, skip};

/// A command that a task runs for as long as it is looked at.
const WAIT: &str = "sleep 600";

/// A server that a task knows as `web.test`, if there is a client for it.
fn server() -> Option<Server> {
    if !has("curl") {
        skip("requests that wait for a person", "curl is not installed");
        return None;
    }
    Some(Server::start("web.test"))
}

/// A task that asks about every host but `ruled.test`.
fn asking(host: &Host, server: &Server) -> Task {
    let ruled = server.service.replace("web.test", "ruled.test");
    let words = ["--service", &server.service, "--service", &ruled];
    let rules = ["--allow", "ruled.test", "--ask", "--yes"];
    host.start_with(&[&words[..], &rules].concat(), WAIT)
}

/// What curl prints inside of a reply's body and status.
fn curl(host: &Host, task: &Task, words: &str) -> String {
    let script = format!("curl -sS --max-time 20 -w ' %{{http_code}}' {words}");
    host.exec(task, &script).1
}

/// A refusal, as programs read it.
fn refusal(printed: &str) -> Value {
    let document = printed.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    serde_json::from_str(document.trim()).unwrap_or_else(|_| panic!("no refusal: {printed}"))
}

/// Asks for `words` and gives the number of the question that waits then.
fn question(host: &Host, task: &Task, words: &str) -> String {
    let refused = refusal(&curl(host, task, words));
    assert_eq!(refused["rule"], "approval.pending", "{refused}");
    let command = refused["allow"].as_str().unwrap().to_owned();
    command
        .strip_prefix("stockade approve ")
        .unwrap()
        .to_owned()
}

/// The bodies of a task's events of one kind.
fn events(task: &Task, kind: EventKind) -> Vec<Value> {
    let records = task.record().into_iter();
    let of_kind = records.filter(|record| record.kind == RecordKind::Event(kind));
    of_kind.map(|record| record.body).collect()
}
