//! Tokens of a GitHub App, by the documented REST API. The server is one of ours;
//! these were not tried against the original.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{rsa, signature};
use rustls::pki_types::{PrivatePkcs1KeyDer, pem::PemObject};
use serde_json::{Value, json};
use stockade_types::EventKind;

use crate::{
    BEARER, Stage, events, holding,
    host::{
        eventually, has, skip,
        tls_server::{Seen, TlsServer},
    },
};

const SOURCE: &str = "github-app:7@acme/site:contents=write,pull_requests=write";
const ASKED: &str = "GET /repos/acme/site/installation";
const MADE: &str = "POST /app/installations/42/access_tokens";
const GIVEN_BACK: &str = "DELETE /installation/token";

/// What GitHub knows.
#[derive(Default)]
struct Kept {
    made: usize,
    valid: Vec<String>,
    /// More than was asked for.
    wider: bool,
}

struct Github {
    server: TlsServer,
    kept: Arc<Mutex<Kept>>,
}

impl Github {
    /// Serves, and has the caller's programs know it and the App's key.
    fn start(stage: &mut Stage) -> Option<Self> {
        if !has("ssh-keygen") {
            skip("tokens of a GitHub App", "ssh-keygen is not installed");
            return None;
        }
        let key = stage.host.path("app-key.pem");
        let made = stage
            .host
            .other_command("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        let pair = PrivatePkcs1KeyDer::from_pem_file(&key).unwrap();
        let pair = rsa::KeyPair::from_der(pair.secret_pkcs1_der()).unwrap();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let certificate = stage.host.path("github.pem");
        let knows = Arc::clone(&kept);
        let server = TlsServer::answering(&certificate, move |seen| {
            Some(answer(&mut knows.lock().unwrap(), &pair, seen))
        });
        // Both servers are believed.
        let both = ["certificate.pem", "github.pem"].map(|name| stage.host.path(name));
        let both: String = both
            .iter()
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let believed = stage.host.path("believed.pem");
        fs::write(&believed, both).unwrap();
        stage.host.set("SSL_CERT_FILE", believed);
        stage.host.set("GITHUB_API_URL", &server.url);
        stage.host.set("GITHUB_APP_PRIVATE_KEY_FILE", key);
        Some(Self { server, kept })
    }

    fn asked(&self, line: &str) -> usize {
        let seen = self.server.seen().into_iter();
        seen.filter(|seen| seen.line == format!("{line} HTTP/1.1"))
            .count()
    }

    fn valid(&self) -> Vec<String> {
        self.kept.lock().unwrap().valid.clone()
    }
}

fn answer(kept: &mut Kept, key: &rsa::KeyPair, seen: &Seen) -> (u16, String) {
    let bearer = seen.header("authorization").unwrap_or_default();
    let bearer = bearer.strip_prefix("Bearer ").unwrap_or_default();
    match seen.line.strip_suffix(" HTTP/1.1").unwrap_or_default() {
        GIVEN_BACK => {
            let before = kept.valid.len();
            kept.valid.retain(|token| token != bearer);
            let status = if kept.valid.len() < before { 204 } else { 401 };
            (status, String::new())
        }
        _ if !speaks_for_the_app(key, bearer) => (401, r#"{"message":"told-too-much"}"#.to_owned()),
        ASKED => (200, json!({ "id": 42 }).to_string()),
        MADE => {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            let expected = json!({
                "repositories": ["site"],
                "permissions": { "contents": "write", "pull_requests": "write" },
            });
            assert_eq!(body, expected);
            kept.made += 1;
            let token = format!("ghs_decoyOfAnInstallation{:015}", kept.made);
            kept.valid.push(token.clone());
            let mut permissions = body["permissions"].clone();
            permissions["metadata"] = json!("read");
            if kept.wider {
                permissions["administration"] = json!("write");
            }
            let said = json!({
                "token": token, "expires_at": "2099-01-01T00:00:00Z",
                "permissions": permissions, "repositories": [{ "name": "site" }],
            });
            (201, said.to_string())
        }
        _ => (404, "{}".to_owned()),
    }
}

/// Whether `word` is one of the App 7, signed with its key, and good for ten minutes at
/// most.
fn speaks_for_the_app(key: &rsa::KeyPair, word: &str) -> bool {
    let Some((signed, signature)) = word.rsplit_once('.') else {
        return false;
    };
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let public = signature::UnparsedPublicKey::new(
        &signature::RSA_PKCS1_2048_8192_SHA256,
        key.public().as_ref(),
    );
    let is_signed = public.verify(signed.as_bytes(), &decoded(signature));
    let claims = signed.split('.').nth(1).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap_or_default();
    let lasts = claims["exp"].as_u64().unwrap_or(u64::MAX) - claims["iat"].as_u64().unwrap_or(0);
    is_signed.is_ok() && claims["iss"] == "7" && lasts <= 600
}

#[test]
fn g3_a_task_has_one_token_of_its_own_for_one_repository_which_ends_with_it() {
    let Some(mut stage) = Stage::open() else {
        return;
    };
    let Some(github) = Github::start(&mut stage) else {
        return;
    };
    stage.secret(&["add", "github", "--from", SOURCE]);
    // What was made to try it is worth nothing any more.
    assert_eq!((github.asked(MADE), github.asked(GIVEN_BACK)), (1, 1));
    stage.bind(&[]);
    let task = stage.start(&[], "sleep 600");
    for _ in 0..3 {
        let asked = stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
        assert_eq!(asked, "ok 200");
    }
    assert_eq!(github.asked(MADE), 2);
    let token = github.valid();
    assert_eq!(token.len(), 1);
    let bearer = format!("Bearer {}", token[0]);
    let seen = stage.server.seen();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|seen| seen.header("authorization") == Some(&*bearer))
    );

    stage.host.json(&["stop", &task.id]);
    eventually("the token is given back", || github.valid().is_empty());
    let given = events(&task, EventKind::SecretTakenBack);
    assert_eq!(given.len(), 1, "{given:?}");
    assert_eq!(given[0]["given_back"], true);
    for hidden in [&*token[0], "told-too-much", "PRIVATE KEY"] {
        assert_eq!(holding(&stage.host.state(), hidden), [""; 0], "{hidden}");
    }
}

#[test]
fn g3_a_token_of_a_secret_that_is_removed_ends_while_the_task_goes_on() {
    let Some(mut stage) = Stage::open() else {
        return;
    };
    let Some(github) = Github::start(&mut stage) else {
        return;
    };
    stage.secret(&["add", "github", "--from", SOURCE]);
    stage.bind(&[]);
    let task = stage.start(&[], "sleep 600");
    let ask = || stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    assert_eq!(ask(), "ok 200");
    assert_eq!(github.valid().len(), 1);
    stage.secret(&["rm", "github"]);
    eventually("the token is given back", || github.valid().is_empty());
    assert!(ask().contains("secrets."), "{}", ask());
    assert_eq!(github.asked(MADE), 2);
    stage.host.json(&["stop", &task.id]);
}

#[test]
fn why_there_is_no_token_of_an_app_is_told_in_words_that_help() {
    let Some(mut stage) = Stage::open() else {
        return;
    };
    let Some(github) = Github::start(&mut stage) else {
        return;
    };
    let add = |stage: &Stage, source: &str| {
        let added = stage
            .host
            .stockade(&["secret", "add", "github", "--from", source]);
        assert!(!added.stderr.contains("told-too-much"), "{added:?}");
        (added.code, added.stderr)
    };
    for (source, code, told) in [
        ("github-app:8@acme/site", 4, "does not know the App"),
        ("github-app:7@acme/other", 4, "not installed"),
        ("github-app:7@acme", 2, "one repository"),
    ] {
        let added = add(&stage, source);
        assert!(
            added.0 == code && added.1.contains(told),
            "{source}: {added:?}"
        );
    }
    github.kept.lock().unwrap().wider = true;
    let added = add(&stage, SOURCE);
    assert!(
        added.0 == 4 && added.1.contains("more than was asked for"),
        "{added:?}"
    );
    assert!(github.valid().is_empty());
    // Nobody gets the App's word who cannot prove to be trusted.
    stage
        .host
        .set("SSL_CERT_FILE", stage.host.path("certificate.pem"));
    let before = github.server.seen().len();
    assert!(add(&stage, SOURCE).1.contains("SSL_CERT_FILE"));
    assert_eq!(github.server.seen().len(), before);
    for (text, told) in [("no key", "no RSA key"), ("", "is missing")] {
        stage.host.set("GITHUB_APP_PRIVATE_KEY", text);
        stage.host.set("GITHUB_APP_PRIVATE_KEY_FILE", "");
        let added = add(&stage, SOURCE);
        assert!(added.1.contains(told), "{added:?}");
    }
}
