//! Which requests reach the server, and whose answers reach the client.

use serde_json::{Value, json};
use stockade_mcp::{Era, Seen};

use crate::{
    ADD, EVIL, is_refused,
    server::{Pair, Server, tool},
    text,
};

#[test]
fn arguments_that_the_schema_has_no_place_for_do_not_reach_the_server() {
    let strict = json!({ "name": "add", "inputSchema": {
        "type": "object", "properties": { "a": { "type": "number" } }, "required": ["a"],
    } });
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[strict]));
    pair.open();
    for arguments in [
        json!({}),
        json!({ "a": "1" }),
        json!({ "a": 1, "b": 1 }),
        json!([1]),
    ] {
        assert!(
            is_refused(&pair.call("add", &arguments), "C02"),
            "{arguments}"
        );
    }
    assert_eq!(pair.server.count("tools/call"), 0);
    assert_eq!(text(&pair.call("add", &json!({ "a": 1 }))), "called add");
}

#[test]
fn an_answer_that_cannot_be_read_is_told_to_who_waits() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    pair.server.is_slow = true;
    let request = pair.request("tools/call", json!({ "name": "add" }));
    pair.send(&request);
    let asked = pair.server.last("tools/call")["id"].clone();
    pair.server_line(
        format!(r#"{{"jsonrpc":"2.0","id":{asked},"result":[],"result":{{}}}}"#).as_bytes(),
    );
    assert_eq!(pair.heard()[0]["error"]["code"], -32603);
}

#[test]
fn answers_and_news_that_nobody_waits_for_go_nowhere() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    for line in [
        r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
        "no json",
        "\u{feff}{}",
    ] {
        pair.server_line(line.as_bytes());
    }
    pair.server_line(b"\xff\xfe");
    assert_eq!(pair.heard(), Vec::<Value>::new());
    let dropped = pair.seen.iter().filter(|seen| {
        matches!(
            seen,
            Seen::Dropped {
                from_server: true,
                ..
            }
        )
    });
    // One of them is told twice: as unreadable, and as an answer to nothing.
    assert_eq!(dropped.count(), 10);
}

#[test]
fn progress_reaches_whoever_asked_for_it() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    pair.server.is_slow = true;
    let mut request = pair.request("tools/call", json!({ "name": "add" }));
    request["params"]["_meta"] = json!({ "progressToken": "t" });
    pair.send(&request);
    pair.server_tells(
        "notifications/progress",
        &json!({ "progressToken": "t", "progress": 1, "message": "a\u{1b}[0m" }),
    );
    pair.server_tells(
        "notifications/progress",
        &json!({ "progressToken": "other", "progress": 1 }),
    );
    let heard = pair.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0]["params"]["message"], "a");
}

#[test]
fn an_id_that_is_waited_for_is_not_taken_again_and_a_cancelled_one_gets_no_answer() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    pair.server.is_slow = true;
    let request = pair.request("tools/call", json!({ "name": "add" }));
    pair.send(&request);
    pair.send(&request);
    assert_eq!(pair.server.count("tools/call"), 1);
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": request["id"] } });
    pair.send(&cancel);
    // The server knows the request by the firewall's own number.
    let asked = pair.server.last("tools/call")["id"].clone();
    assert_eq!(
        pair.server.last("notifications/cancelled")["params"]["requestId"],
        asked
    );
    pair.server_line(
        format!(r#"{{"jsonrpc":"2.0","id":{asked},"result":{{"content":[]}}}}"#).as_bytes(),
    );
    assert_eq!(pair.heard(), Vec::<Value>::new());
}

#[test]
fn a_request_that_is_not_of_the_protocol_is_not_passed_on() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    for method in [
        "tools/install",
        "initialize",
        "tasks/get",
        "resources/subscribe",
        "x",
    ] {
        let answer = pair.ask(method, json!({}));
        assert!(answer["error"]["code"].is_i64(), "{method}: {answer}");
        assert!(method == "initialize" || pair.server.count(method) == 0);
    }
    pair.client_line(b"[1,2]");
    assert_eq!(pair.heard()[0]["error"]["code"], -32700);
}

#[test]
fn resources_are_read_if_a_list_has_them_or_a_family_does() {
    let mut server = Server::new(Era::Legacy, &[]);
    server.resources = vec![
        json!({ "uri": "file:///a", "name": "a" }),
        json!({ "uri": "file:///evil", "name": "b", "description": EVIL }),
    ];
    server.templates = vec![json!({ "uriTemplate": "db://{table}", "name": "t" })];
    let mut pair = Pair::new(Era::Legacy, server);
    pair.open();
    let read = |pair: &mut Pair, uri: &str| pair.ask("resources/read", json!({ "uri": uri }));
    assert_eq!(read(&mut pair, "file:///a")["error"]["code"], -32602);
    let list = pair.ask("resources/list", json!({}));
    assert_eq!(
        list["result"]["resources"],
        json!([{ "uri": "file:///a", "name": "a" }])
    );
    assert_eq!(
        read(&mut pair, "file:///a")["result"]["contents"][0]["text"],
        "read"
    );
    assert_eq!(
        read(&mut pair, "db://users")["result"]["contents"][0]["text"],
        "read"
    );
    for uri in [
        "file:///evil",
        "db://..%2f..%2fetc/passwd",
        "db://%252e%252e/x",
    ] {
        assert_eq!(read(&mut pair, uri)["error"]["code"], -32602, "{uri}");
    }
}

#[test]
fn a_client_that_asks_for_too_much_at_once_is_told_so() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    pair.server.is_slow = true;
    for _ in 0..300 {
        let request = pair.request("tools/call", json!({ "name": "add" }));
        pair.send(&request);
    }
    let heard = pair.heard();
    assert_eq!(heard.len(), 44);
    assert_eq!(heard[0]["error"]["code"], -32600);
}
