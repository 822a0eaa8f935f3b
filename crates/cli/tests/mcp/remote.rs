//! Servers over HTTP: reached by a bridge in the server's own sandbox, through its gateway.

use serde_json::{Value, json};
use stockade_types::EventKind;

use crate::{
    host::{Host, Outcome, tls_server::TlsServer},
    mcp, of_task, text,
};

const URL: &str = "https://remote.test/mcp";

/// What a server of this era answers to `request`.
fn answer(request: &Value, modern: bool) -> (u16, String) {
    let method = request["method"].as_str().unwrap_or_default();
    let server = json!({ "name": "remote", "version": "1" });
    let capabilities = json!({ "tools": {} });
    let result = match method {
        "initialize" if !modern => json!({
            "protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": server,
        }),
        "server/discover" if modern => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": capabilities,
            "_meta": { "io.modelcontextprotocol/serverInfo": server },
        }),
        "tools/list" => json!({ "tools": [{ "name": "list", "description": "Lists." }] }),
        "tools/call" => json!({ "content": [{ "type": "text", "text": "from afar" }] }),
        _ if request.get("id").is_none() => return (202, String::new()),
        _ => return (404, "no such thing".to_owned()),
    };
    let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    (200, answer.to_string())
}

/// A host with a server over TLS that answers who has the secret, which is bound.
fn stage(modern: bool) -> (Host, TlsServer, String) {
    let real = ["ghp_decoy-REAL-value-", "0123456789abcdefg"].concat();
    let mut host = Host::new();
    let certificate = host.path("certificate.pem");
    let bearer = format!("Bearer {real}");
    let server = TlsServer::answering(&certificate, move |seen| {
        if seen.header("authorization") != Some(&*bearer) {
            return Some((401, "who asks?".to_owned()));
        }
        let request = serde_json::from_str(&seen.body).unwrap_or_default();
        Some(answer(&request, modern))
    });
    host.set("SSL_CERT_FILE", certificate);
    host.set("GITHUB", &real);
    host.json(&["secret", "add", "github", "--from", "env:GITHUB"]);
    let bind = ["secret", "bind", "github", "--host", "remote.test"];
    let place = ["--env", "GH_TOKEN", "--header", "Authorization=Bearer {}"];
    host.json(&[&bind[..], &place].concat());
    (host, server, real)
}

fn add(host: &Host, server: &TlsServer, more: &[&str], words: &[&str]) -> Outcome {
    let service = format!("remote.test={}", server.url);
    let given = ["add", "notes", "--yes", "--service", &service];
    mcp(host, &[&given[..], more, &["--", URL], words].concat())
}

const HEADER: &str = "Authorization: Bearer ${GH_TOKEN}";

#[test]
fn g3_a_server_over_https_is_used_with_a_secret_that_nothing_inside_holds() {
    for modern in [false, true] {
        let (host, server, real) = stage(modern);
        let added = add(&host, &server, &["--secret", "github"], &[HEADER]);
        assert_eq!(added.code, 0, "{added:?}");
        let task = host.start_with(&["--mcp", "notes"], "sleep 600");
        let (heard, error) = of_task::client(&host, &task, &[of_task::calls("list")]);
        let seen = server.seen();
        assert_eq!(text(&heard[0]), "from afar", "{error} {seen:?}");
        let mut said = seen.iter().map(|seen| seen.header("mcp-protocol-version"));
        assert!(said.any(|version| version.is_some()), "{seen:?}");
        assert!(
            seen.iter().all(|seen| seen.line.contains(" /mcp ")),
            "{seen:?}"
        );
        // The record has each request, and the value nowhere.
        assert!(!of_task::bodies(&task, EventKind::NetworkRequest).is_empty());
        assert!(!format!("{:?}", task.record()).contains(&real));
    }
}

#[test]
fn a_server_over_https_that_cannot_be_used_is_told_in_a_sentence() {
    let (host, server, _) = stage(false);
    let unset = add(&host, &server, &[], &[HEADER]);
    assert_ne!(unset.code, 0);
    assert!(
        unset
            .stderr
            .contains("the variable GH_TOKEN, which is not set"),
        "{unset:?}"
    );
    let nobody = add(&host, &server, &[], &[]);
    assert_ne!(nobody.code, 0);
    assert!(
        nobody.stderr.contains("wants to know who asks"),
        "{nobody:?}"
    );
    let absent = mcp(
        &host,
        &["add", "notes", "--yes", "--", "https://absent.test/mcp"],
    );
    assert_ne!(absent.code, 0, "{absent:?}");
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}
