//! What servers reach: what their approval names, in a task and outside of one.

use serde_json::json;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::{
    COMMAND, calls, client,
    host::{Host, eventually, failure::REFUSED, server::Server, tls_server::TlsServer},
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

#[test]
fn g3_a_server_uses_a_secret_that_neither_it_nor_the_agent_holds() {
    let real = ["ghp_decoy-REAL-value-", "0123456789abcdefg"].concat();
    let asks = "echo token $GH_TOKEN; curl -sS -H \"Authorization: Bearer $GH_TOKEN\" https://api.test/v1/x; \
                curl -sS -H \"Authorization: Bearer $GH_TOKEN\" https://api.test/v2/x";
    let mut host = Host::new();
    let certificate = host.path("certificate.pem");
    let server = TlsServer::start(&certificate);
    host.set("SSL_CERT_FILE", certificate);
    host.set("GITHUB", &real);
    host.json(&["secret", "add", "github", "--from", "env:GITHUB"]);
    let words = [
        "secret", "bind", "github", "--host", "api.test", "--env", "GH_TOKEN",
    ];
    let header = ["--header", "Authorization=Bearer {}", "--path", "/v1/**"];
    host.json(&[&words[..], &header].concat());
    let folder = of_task::files(&host, asks);
    let script = folder.join("server.sh");
    let service = format!("api.test={}", server.url);
    let words = [
        "--secret",
        "github",
        "--allow",
        "ANY api.test",
        "--service",
        &service,
        "--ro",
    ];
    let command = [
        folder.to_str().unwrap(),
        "--",
        "/bin/sh",
        script.to_str().unwrap(),
    ];
    let given = [&words[..], &command].concat();

    let alone = [&["--first-use"][..], &given].concat();
    let (heard, outcome) = client(&host, &alone, &[calls("list", &json!({}))]);
    let said = text(&heard[0]).to_owned();
    assert!(
        !said.contains(&real) && said.contains("misplaced"),
        "{said} {outcome:?}"
    );
    let added = mcp(&host, &[&["add", "notes", "--yes"][..], &given].concat());
    assert_eq!(added.code, 0, "{added:?}");
    let task = host.start_with(&["--mcp", "notes", "--yes"], "sleep 600");
    let (heard, error) = of_task::client(&host, &task, &[of_task::calls("list")]);
    let said = text(&heard[0]);
    assert!(
        !said.contains(&real) && said.contains("misplaced"),
        "{said} {error}"
    );
    // Both times the value reached the one place that it is bound to.
    let seen = server.seen();
    let bearer = format!("Bearer {real}");
    for request in &seen {
        assert_eq!(request.header("authorization"), Some(&*bearer), "{seen:?}");
        assert!(request.line.contains("/v1/x"), "{seen:?}");
    }
    assert_eq!(seen.len(), 2, "{seen:?}");

    // Taken back, it is used no more.
    let removed = host.stockade(&["secret", "rm", "github"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    let (heard, _) = of_task::client(&host, &task, &[of_task::calls("list")]);
    assert!(text(&heard[0]).contains("token"), "{heard:?}");
    assert_eq!(server.seen().len(), 2);
}
