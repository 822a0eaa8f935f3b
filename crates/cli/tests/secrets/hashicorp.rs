//! HashiCorp Vault as a source, by its documented HTTP API. The server is one of
//! ours; these were not tried against the original.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    BEARER, REAL, Stage, holding,
    host::{
        Host, eventually,
        tls_server::{Seen, TlsServer},
    },
    rule,
};

const TOKEN: &str = "hvs.decoy-of-a-user-0001";
const NEXT: &str = "ghp_decoy-the-value-after-a-rotation-0002";

/// What the server knows.
struct Kept {
    value: Value,
    ttl: u64,
    /// What it answers instead, if it answers nothing else.
    status: Option<u16>,
}

struct VaultServer {
    server: TlsServer,
    kept: Arc<Mutex<Kept>>,
}

impl VaultServer {
    /// Serves, and has the caller's programs know it.
    fn start(host: &mut Host) -> Self {
        let kept = Arc::new(Mutex::new(Kept {
            value: json!(REAL),
            ttl: 3600,
            status: None,
        }));
        let certificate = host.path("vault.pem");
        let knows = Arc::clone(&kept);
        let server = TlsServer::answering(&certificate, move |seen| {
            Some(answer(&mut knows.lock().unwrap(), seen))
        });
        host.set("VAULT_ADDR", &server.url);
        host.set("VAULT_TOKEN", TOKEN);
        host.set("VAULT_CACERT", certificate);
        Self { server, kept }
    }

    fn asked(&self, line: &str) -> usize {
        let seen = self.server.seen().into_iter();
        seen.filter(|seen| seen.line == format!("{line} HTTP/1.1"))
            .count()
    }
}

fn answer(kept: &mut Kept, seen: &Seen) -> (u16, String) {
    let fails = |status: u16| (status, json!({ "errors": ["told-too-much"] }).to_string());
    if let Some(status) = kept.status {
        return fails(status);
    }
    if seen.header("x-vault-token") != Some(TOKEN) || seen.header("x-vault-request").is_none() {
        return fails(403);
    }
    let said = match seen.line.strip_suffix(" HTTP/1.1").unwrap_or_default() {
        "GET /v1/secret/data/ci/github" => json!({ "data": {
            "data": { "token": kept.value, "number": 7 },
            "metadata": { "version": 1 },
        } }),
        "GET /v1/auth/token/lookup-self" => json!({ "data": {
            "creation_ttl": 3600, "ttl": kept.ttl, "renewable": true,
        } }),
        "POST /v1/auth/token/renew-self" => {
            kept.ttl = 3600;
            json!({ "auth": { "lease_duration": 3600, "renewable": true } })
        }
        _ => return fails(404),
    };
    (200, said.to_string())
}

const SOURCE: &str = "vault:secret/data/ci/github#token";
const READ: &str = "GET /v1/secret/data/ci/github";
const RENEWED: &str = "POST /v1/auth/token/renew-self";

#[test]
fn g3_vault_tells_a_value_again_when_it_is_too_old_and_its_token_is_renewed() {
    let Some(mut stage) = Stage::open() else {
        return;
    };
    let vault = VaultServer::start(&mut stage.host);
    stage.secret(&["add", "github", "--from", SOURCE, "--ttl", "2s"]);
    stage.bind(&[]);
    assert_eq!((vault.asked(READ), vault.asked(RENEWED)), (1, 0));
    let task = stage.start(&[], "sleep 600");
    let ask = || stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    assert_eq!(ask(), "ok 200");
    {
        let mut kept = vault.kept.lock().unwrap();
        kept.value = json!(NEXT);
        kept.ttl = 1000;
    }
    let sent = |value: &str| {
        let bearer = format!("Bearer {value}");
        let seen = stage.server.seen().into_iter();
        seen.filter(|seen| seen.header("authorization") == Some(&bearer))
            .count()
    };
    eventually("the new value is sent", || {
        assert_eq!(ask(), "ok 200");
        sent(NEXT) > 0
    });
    assert!(sent(REAL) > 0);
    eventually("the token is renewed", || vault.asked(RENEWED) == 1);
    vault.kept.lock().unwrap().status = Some(403);
    let mut refused = String::new();
    eventually("the value is too old", || {
        refused = ask();
        rule(&refused) == "secrets.unavailable"
    });
    assert!(
        refused.contains("secret test github") && !refused.contains("told-too-much"),
        "{refused}"
    );
    stage.host.json(&["stop", &task.id]);
    for hidden in [TOKEN, "REAL\"value", NEXT, "told-too-much"] {
        assert_eq!(holding(&stage.host.state(), hidden), [""; 0], "{hidden}");
    }
}

#[test]
fn why_vault_gives_no_value_is_told_outside_in_words_that_help() {
    let mut host = Host::new();
    let vault = VaultServer::start(&mut host);
    host.json(&["secret", "add", "github", "--from", SOURCE]);
    let test = |host: &Host| {
        let tested = host.stockade(&["secret", "test", "github"]);
        assert!(!tested.stderr.contains("told-too-much"), "{tested:?}");
        (tested.code, tested.stderr)
    };
    assert_eq!(test(&host).0, 0);
    for (status, told) in [
        (403, "no right"),
        (404, "nothing at that path"),
        (503, "sealed"),
        (307, "VAULT_ADDR"),
        (418, "418"),
    ] {
        vault.kept.lock().unwrap().status = Some(status);
        let (code, words) = test(&host);
        assert!(code == 4 && words.contains(told), "{status}: {words}");
    }
    vault.kept.lock().unwrap().status = None;
    for (source, told) in [
        ("vault:secret/data/ci/github#none", "no field"),
        ("vault:secret/data/ci/github#number", "no text"),
        ("vault:secret/data/other#token", "nothing at that path"),
    ] {
        let added = host.stockade(&["secret", "add", "b", "--from", source]);
        assert!(added.code == 4 && added.stderr.contains(told), "{added:?}");
    }
    let unnamed = host.stockade(&["secret", "add", "b", "--from", "vault:secret/ci#token"]);
    assert!(
        unnamed.code == 2 && unnamed.stderr.contains("/data/"),
        "{unnamed:?}"
    );
    // The token of a login.
    host.set("VAULT_TOKEN", "");
    assert!(test(&host).1.contains("vault login"));
    fs::write(host.home().join(".vault-token"), format!("{TOKEN}\n")).unwrap();
    assert_eq!(test(&host).0, 0);
    // Nobody gets the token who cannot prove to be trusted, or in clear.
    host.unset("VAULT_CACERT");
    let before = vault.server.seen().len();
    assert!(test(&host).1.contains("VAULT_CACERT"));
    assert_eq!(vault.server.seen().len(), before);
    host.set("VAULT_ADDR", "http://vault.test:8200");
    assert!(test(&host).1.contains("VAULT_ADDR"));
    host.unset("VAULT_ADDR");
    assert!(test(&host).1.contains("VAULT_ADDR is not set"));
}
