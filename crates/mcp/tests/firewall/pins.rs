//! What of a server is seen, of what was approved and what it tells now.

use serde_json::{Value, json};
use stockade_mcp::{Catalogue, Era, Pins, Seen};

use crate::{
    ADD, EVIL, is_refused, names,
    server::{self, Pair, Server, tool},
    text,
};

#[test]
fn only_tools_that_were_approved_are_listed_and_called() {
    let known = [tool("add", ADD), tool("sub", "Subtracts.")];
    let approved = server::catalogue(&known).digests();
    // One is another now, one is new.
    let now = [
        tool("add", ADD),
        tool("sub", "Subtracts, and more."),
        tool("late", "x"),
    ];
    let server = Server::new(Era::Legacy, &now);
    let mut pair = Pair::with_pins(Era::Legacy, server, Pins::Approved(approved));
    pair.open();
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["add"]);
    assert_eq!(text(&pair.call("add", &json!({}))), "called add");
    assert!(is_refused(&pair.call("sub", &json!({})), "R01"));
    assert!(is_refused(&pair.call("late", &json!({})), "R02"));
    assert_eq!(pair.call("nothing", &json!({}))["error"]["code"], -32602);
    assert_eq!(pair.server.count("tools/call"), 1);
    let withheld = pair
        .seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Withheld { .. }));
    assert_eq!(withheld.count(), 2);
}

#[test]
fn another_order_of_tools_and_members_changes_nothing() {
    let known = [tool("add", ADD), tool("sub", "Subtracts.")];
    let approved = server::catalogue(&known).digests();
    let turned = json!({ "inputSchema": { "type": "object" }, "description": ADD, "name": "add" });
    let server = Server::new(Era::Modern, &[tool("sub", "Subtracts."), turned]);
    let mut pair = Pair::with_pins(Era::Modern, server, Pins::Approved(approved));
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["sub", "add"]);
}

#[test]
fn a_tool_that_changes_after_it_was_seen_is_withheld_from_then_on() {
    let mut pair = Pair::new(
        Era::Legacy,
        Server::new(Era::Legacy, &[tool("add", ADD), tool("b", "B.")]),
    );
    pair.open();
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["add", "b"]);
    pair.server.tools[0] = tool("add", EVIL);
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["b"]);
    assert!(is_refused(&pair.call("add", &json!({})), "P01"));
    // Nobody approved anything: what only reads differently is taken over.
    pair.server.tools[0] = tool("add", "Adds three numbers.");
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["add", "b"]);
    let more = json!({ "name": "add", "description": ADD, "inputSchema": { "properties": { "url": {} } } });
    pair.server.tools[0] = more;
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["b"]);
    assert!(is_refused(&pair.call("add", &json!({})), "R01"));
    pair.server.tools[0] = tool("add", ADD);
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["add", "b"]);
}

#[test]
fn a_server_that_alternates_is_judged_by_what_the_client_is_shown() {
    let mut server = Server::new(Era::Modern, &[tool("add", ADD)]);
    server.alternates = Some(tool("add", EVIL));
    let mut pair = Pair::new(Era::Modern, server);
    for _ in 0..6 {
        let list = pair.ask("tools/list", json!({}));
        for tool in list["result"]["tools"].as_array().unwrap() {
            assert_eq!(tool["description"], ADD);
        }
    }
}

#[test]
fn a_change_that_the_server_tells_of_counts_before_the_next_call() {
    for era in [Era::Legacy, Era::Modern] {
        let mut pair = Pair::new(era, Server::new(era, &[tool("add", ADD)]));
        pair.open();
        pair.ask("tools/list", json!({}));
        pair.server.tools[0] = tool("add", EVIL);
        pair.server_tells("notifications/tools/list_changed", &json!({}));
        assert!(is_refused(&pair.call("add", &json!({})), "P01"), "{era:?}");
    }
}

#[test]
fn a_storm_of_changes_is_told_once_and_asked_about_once() {
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &[tool("add", ADD)]));
    pair.open();
    pair.ask("tools/list", json!({}));
    let before = pair.server.count("tools/list");
    for _ in 0..10_000 {
        pair.server_tells("notifications/tools/list_changed", &json!({}));
    }
    let told = pair.heard();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(pair.server.count("tools/list"), before);
    pair.call("add", &json!({}));
    pair.call("add", &json!({}));
    assert_eq!(pair.server.count("tools/list"), before + 1);
}

#[test]
fn a_server_that_changes_at_every_list_holds_nobody_up() {
    let mut server = Server::new(Era::Legacy, &[tool("add", ADD)]);
    server.changes_at_every_list = true;
    let mut pair = Pair::new(Era::Legacy, server);
    pair.open();
    assert_eq!(text(&pair.call("add", &json!({}))), "called add");
    assert_eq!(names(&pair.ask("tools/list", json!({}))), ["add"]);
    assert!(pair.server.count("tools/list") <= 4);
}

#[test]
fn a_modern_client_hears_of_changes_by_its_subscription() {
    for era in [Era::Legacy, Era::Modern] {
        let mut pair = Pair::new(Era::Modern, Server::new(era, &[tool("add", ADD)]));
        let mut request = pair.request("subscriptions/listen", json!({}));
        request["id"] = json!("s1");
        request["params"]["notifications"] =
            json!({ "toolsListChanged": true, "resourcesListChanged": true });
        pair.send(&request);
        let heard = pair.heard();
        assert_eq!(
            heard[0]["method"],
            "notifications/subscriptions/acknowledged"
        );
        assert_eq!(
            heard[0]["params"]["notifications"],
            json!({ "toolsListChanged": true })
        );
        pair.server_tells("notifications/tools/list_changed", &json!({}));
        let told = &pair.heard()[0];
        assert_eq!(
            told["method"], "notifications/tools/list_changed",
            "{era:?}"
        );
        assert_eq!(
            told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            "s1"
        );
        let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "s1" } });
        pair.send(&cancelled);
        pair.ask("tools/list", json!({}));
        pair.server_tells("notifications/tools/list_changed", &json!({}));
        assert_eq!(pair.heard(), Vec::<Value>::new());
    }
}

#[test]
fn a_list_that_has_a_name_twice_shows_it_once() {
    let twice = [tool("add", ADD), tool("add", "Another."), tool("b", "B.")];
    let mut pair = Pair::new(Era::Legacy, Server::new(Era::Legacy, &twice));
    pair.open();
    let list = pair.ask("tools/list", json!({}));
    assert_eq!(names(&list), ["add", "b"]);
    assert_eq!(list["result"]["tools"][0]["description"], ADD);
}

#[test]
fn a_list_of_many_pages_is_one_and_one_without_end_ends() {
    let many: Vec<_> = (0..25).map(|n| tool(&format!("t{n}"), "x")).collect();
    let mut server = Server::new(Era::Legacy, &many);
    server.page = 10;
    let mut pair = Pair::new(Era::Legacy, server);
    pair.open();
    assert_eq!(names(&pair.ask("tools/list", json!({}))).len(), 25);
    let mut server = Server::new(Era::Legacy, &many);
    server.has_no_end = true;
    let mut pair = Pair::new(Era::Legacy, server);
    pair.open();
    assert!(pair.server.count("tools/list") <= 64);
    assert_eq!(names(&pair.ask("tools/list", json!({}))).len(), 25);
}

#[test]
fn instructions_that_were_not_approved_are_not_told() {
    let mut approved = server::catalogue(&[]);
    approved
        .items
        .retain(|item| item.kind != stockade_mcp::ItemKind::Instructions);
    let pins = Pins::Approved(Catalogue::digests(&approved));
    let mut pair = Pair::with_pins(Era::Legacy, Server::new(Era::Legacy, &[]), pins);
    let opened = pair.open();
    assert_eq!(opened["result"].get("instructions"), None, "{opened}");
}

#[test]
fn what_a_server_calls_itself_is_told_only_if_it_was_approved() {
    for client in [Era::Legacy, Era::Modern] {
        let pins = Pins::Approved(std::collections::BTreeMap::new());
        let mut pair = Pair::with_pins(client, Server::new(Era::Legacy, &[]), pins);
        let opened = pair.open().to_string();
        assert!(
            !opened.contains("a server") && opened.contains("mcp-server"),
            "{opened}"
        );
    }
}
