//! How client and server find a version that each of them speaks.

use serde_json::{Value, json};
use stockade_mcp::Era;

use crate::{
    ADD, names,
    server::{Pair, Server, modern, tool},
    text,
};

#[test]
fn clients_and_servers_of_either_era_understand_each_other() {
    for client in [Era::Legacy, Era::Modern] {
        for server in [Era::Legacy, Era::Modern] {
            let mut pair = Pair::new(client, Server::new(server, &[tool("add", ADD)]));
            let opened = pair.open();
            let is_modern = client == Era::Modern;
            let server_name = if is_modern {
                &opened["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"]
            } else {
                &opened["result"]["serverInfo"]["name"]
            };
            assert_eq!(server_name, "a server", "{client:?} {server:?}: {opened}");
            assert_eq!(opened["result"]["instructions"], "Be kind.");
            let list = pair.ask("tools/list", json!({}));
            assert_eq!(names(&list), ["add"]);
            // What only the other era has is not there.
            assert_eq!(list["result"].get("ttlMs").is_some(), is_modern, "{list}");
            let called = pair.call("add", &json!({ "a": 1 }));
            assert_eq!(text(&called), "called add");
            assert_eq!(called["result"].get("resultType").is_some(), is_modern);
            // And each request tells the server what its era wants told.
            let seen = pair.server.last("tools/call");
            let version = &seen["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
            assert_eq!(version.is_string(), server == Era::Modern, "{seen}");
        }
    }
}

#[test]
fn a_server_that_ends_when_it_is_asked_in_the_other_era_is_started_again() {
    for (client, era) in [(Era::Modern, Era::Legacy), (Era::Legacy, Era::Modern)] {
        let mut server = Server::new(era, &[tool("add", ADD)]);
        server.ends_at_the_unknown = true;
        let mut pair = Pair::new(client, server);
        assert_eq!(pair.open()["result"]["instructions"], "Be kind.", "{era:?}");
        assert_eq!(pair.server.starts, 2);
    }
}

#[test]
fn a_server_that_passes_over_what_it_does_not_know_is_asked_in_the_other_era() {
    let mut server = Server::new(Era::Legacy, &[tool("add", ADD)]);
    server.is_silent_at_the_unknown = true;
    let mut pair = Pair::new(Era::Modern, server);
    pair.send(&pair.request("tools/list", json!({})));
    assert_eq!(pair.heard(), Vec::<Value>::new());
    pair.waits_long();
    assert_eq!(names(&pair.heard()[0]), ["add"]);
}

#[test]
fn a_server_that_never_answers_leaves_nobody_waiting() {
    let mut server = Server::new(Era::Legacy, &[]);
    server.is_deaf = true;
    let mut pair = Pair::new(Era::Modern, server);
    pair.send(&pair.request("tools/list", json!({})));
    pair.waits_long();
    pair.waits_long();
    assert_eq!(pair.heard(), Vec::<Value>::new());
    assert_eq!(
        pair.server.count("server/discover") + pair.server.count("initialize"),
        2
    );
    pair.waits_too_long();
    assert_eq!(pair.heard()[0]["error"]["code"], -32603);
}

#[test]
fn a_version_that_nobody_speaks_is_answered_with_those_that_are_spoken() {
    let mut pair = Pair::new(Era::Modern, Server::new(Era::Modern, &[]));
    let mut request = pair.request("tools/list", json!({}));
    request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1900-01-01");
    pair.send(&request);
    let answer = &pair.heard()[0];
    assert_eq!(answer["error"]["code"], -32022);
    assert_eq!(answer["error"]["data"]["supported"], json!(["2026-07-28"]));
    // Nor does a request without any era reach the server.
    pair.send(&json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/list" }));
    assert_eq!(pair.heard()[0]["error"]["code"], -32602);
    assert_eq!(pair.server.count("tools/list"), 0);
}

#[test]
fn a_server_that_ends_leaves_nobody_waiting() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    pair.server.is_slow = true;
    let request = pair.request("tools/call", json!({ "name": "add" }));
    pair.send(&request);
    pair.server_ends();
    assert_eq!(pair.heard()[0]["error"]["code"], -32603);
}

#[test]
fn a_modern_client_may_keep_nothing_longer_than_an_approval() {
    let mut server = Server::new(Era::Modern, &[tool("add", ADD)]);
    server.keeps = true;
    let mut pair = Pair::new(Era::Modern, server);
    for method in ["server/discover", "tools/list"] {
        let answer = pair.ask(method, json!({}));
        let result = &answer["result"];
        assert_eq!(
            (&result["ttlMs"], &result["cacheScope"]),
            (&json!(0), &json!("private"))
        );
    }
    assert!(modern(json!({})).get("_meta").is_some());
}
