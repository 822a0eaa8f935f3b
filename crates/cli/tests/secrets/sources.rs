//! Where values come from, and the verbs about them.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use crate::{
    BEARER, IDENTITY, REAL, Stage, holding,
    host::{Host, eventually, finish, terminal::Terminal},
    rule,
};

#[test]
fn g3_a_command_tells_a_value_once_a_time_and_its_failure_is_refused_without_its_words() {
    let Some(stage) = Stage::open() else {
        return;
    };
    let count = stage.host.path("count");
    let broken = stage.host.path("broken");
    let command = format!(
        "command:echo x >> {}; test ! -e {} || {{ printf told-%s too-much >&2; exit 3; }}; printf %s \"$GITHUB\"",
        count.display(),
        broken.display()
    );
    stage.secret(&["add", "github", "--from", &command, "--ttl", "2s"]);
    stage.bind(&[]);
    let times = || fs::read_to_string(&count).unwrap().lines().count();
    assert_eq!(times(), 1);
    let task = stage.start(&[], "sleep 600");
    let ask = || stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    let mut most = 0;
    eventually("the command is run again", || {
        assert_eq!(ask(), "ok 200");
        most += 1;
        times() > 2
    });
    // More requests than runs: a value is used again.
    assert!(most >= times() - 1, "{most} requests, {} runs", times());
    fs::write(&broken, "").unwrap();
    let mut refused = String::new();
    eventually("the value is too old", || {
        refused = ask();
        rule(&refused) == "secrets.unavailable"
    });
    assert!(
        refused.contains("secret test github") && !refused.contains("told-too-much"),
        "{refused}"
    );
    assert!(holding(&stage.host.state(), "told-too-much").is_empty());
    let bearer = format!("Bearer {REAL}");
    assert!(
        stage
            .server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization") == Some(&bearer))
    );
}

#[test]
fn g3_the_store_opens_by_identity_or_passphrase_and_no_file_holds_a_value_in_clear() {
    let Some(mut stage) = Stage::open() else {
        return;
    };
    let identity = stage.host.path("identity.txt");
    fs::write(&identity, IDENTITY).unwrap();
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
    let passphrase = stage.host.path("passphrase");
    fs::write(&passphrase, "right horse\n").unwrap();
    for (home, words) in [
        ("one", vec!["--identity", identity.to_str().unwrap()]),
        ("two", Vec::new()),
    ] {
        stage.host.set("XDG_CONFIG_HOME", stage.host.path(home));
        if home == "two" {
            stage.host.set("STOCKADE_PASSPHRASE_FILE", &passphrase);
        }
        let words = [&["secret", "add", "github"][..], &words].concat();
        let mut adding = stage.host.command(&words);
        adding.stdin(Stdio::from(
            fs::File::open(value_file(&stage.host)).unwrap(),
        ));
        let added = finish(adding);
        assert_eq!(added.code, 0, "{added:?}");
        fs::remove_file(value_file(&stage.host)).unwrap();
        stage.bind(&[]);
        let tested = stage.host.stockade(&["secret", "test", "github"]);
        assert!(
            tested.code == 0 && !tested.stdout.contains("decoy"),
            "{tested:?}"
        );
        let task = stage.start(&[], "sleep 600");
        assert_eq!(
            stage.curl(&task, &format!("{BEARER} https://api.test/v1/x")),
            "ok 200"
        );
        let root = stage.host.path("");
        assert_eq!(holding(&root, "REAL\"value"), [""; 0]);
    }
    fs::write(&passphrase, "wrong horse\n").unwrap();
    let refused = stage.host.stockade(&["run", "--", "true"]);
    assert!(
        refused.code == 4 && refused.stderr.contains("does not open"),
        "{refused:?}"
    );
    stage.host.unset("STOCKADE_PASSPHRASE_FILE");
    let mut locked = stage.host.other_command("setsid");
    locked.args(["-w", env!("CARGO_BIN_EXE_stockade"), "run", "--", "true"]);
    let locked = finish(locked);
    assert!(
        locked.code == 4 && locked.stderr.contains("STOCKADE_PASSPHRASE_FILE"),
        "{locked:?}"
    );
    // A task that does not use it needs no passphrase.
    let without = stage.host.stockade(&["run", "--no-secrets", "--", "true"]);
    assert_eq!(without.code, 0, "{without:?}");
}

/// A file with the value, for standard input.
fn value_file(host: &Host) -> std::path::PathBuf {
    let path = host.path("value");
    if !path.exists() {
        fs::write(&path, format!("{REAL}\n")).unwrap();
    }
    path
}

#[test]
fn g3_a_value_is_typed_without_being_shown_and_is_never_an_argument() {
    let mut host = Host::new();
    let as_argument = host.stockade(&["secret", "add", "github", REAL]);
    assert_eq!(as_argument.code, 2, "{as_argument:?}");
    host.set("TERM", "xterm");
    let mut adding = host.other_command("setsid");
    adding.args([
        "-c",
        "-w",
        env!("CARGO_BIN_EXE_stockade"),
        "secret",
        "add",
        "github",
    ]);
    let mut terminal = Terminal::start(adding);
    for (question, typed) in [
        ("Value of github", REAL),
        ("New passphrase", "right horse"),
        ("The same again", "right horse"),
    ] {
        terminal.wait_for(question);
        terminal.send(&format!("{typed}\r"));
    }
    let ended = terminal.finish();
    assert!(
        ended.code == 0 && ended.stdout.contains("is added"),
        "{ended:?}"
    );
    assert!(
        !ended.stdout.contains("decoy") && !ended.stdout.contains("horse"),
        "{ended:?}"
    );
    assert!(holding(&host.path(""), "REAL\"value").is_empty());
}

#[test]
fn secrets_are_listed_tried_and_unbound_and_mistakes_are_told() {
    let mut host = Host::new();
    let empty = host.stockade(&["secret", "ls"]);
    assert!(
        empty.code == 0 && empty.stdout.contains("no secret"),
        "{empty:?}"
    );
    host.set("TOKEN", "decoy-0123456789abcdef");
    host.json(&["secret", "add", "a", "--from", "env:TOKEN"]);
    let words = ["secret", "bind", "a", "--host", "api.test", "--header"];
    let bound = host.stockade(&[&words[..], &["x-key={}", "--agent", "codex"]].concat());
    assert_eq!(bound.code, 0, "{bound:?}");
    let listed = host.stockade(&["secret", "ls"]);
    for told in [
        "env:TOKEN",
        "https://api.test:443",
        "`x-key: {}`",
        "for codex",
    ] {
        assert!(listed.stdout.contains(told), "{told}: {listed:?}");
    }
    for (words, code, told) in [
        (&["add", "a", "--from", "env:TOKEN"][..], 4, "already"),
        (&["add", "b", "--from", "TOKEN"], 2, "env:VARIABLE"),
        (&["add", "b", "--from", "command:false"], 4, "gave no value"),
        (
            &["bind", "c", "--host", "a.test", "--field", "x"],
            3,
            "no secret `c`",
        ),
        (&["bind", "a", "--host", "a.test"], 2, "--header"),
        (
            &["bind", "a", "--host", "a.test", "--header", "Host={}"],
            2,
            "routes",
        ),
        (
            &[
                "bind", "a", "--host", "a.test", "--field", "x", "--path", "/a/../b",
            ],
            2,
            "..",
        ),
        (
            &[
                "bind", "a", "--host", "a.test", "--field", "x", "--method", "FETCH",
            ],
            2,
            "FETCH",
        ),
        (
            &[
                "bind", "a", "--host", "a.test", "--field", "x", "--env", "PATH",
            ],
            2,
            "PATH",
        ),
        (&["unbind", "a", "--host", "other.test"], 3, "not bound"),
        (&["test", "c"], 3, "no secret"),
        (&["rm", "c"], 3, "no secret"),
    ] {
        let refused = host.stockade(&[&["secret"], words].concat());
        assert_eq!(refused.code, code, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(told), "{words:?}: {refused:?}");
    }
    assert_eq!(
        host.json(&["secret", "unbind", "a", "--host", "api.test"])["unbound"],
        "a"
    );
    assert_eq!(
        host.json(&["secret", "ls"])[0]["bindings"],
        serde_json::json!([])
    );
}

#[test]
fn g3_an_env_file_becomes_secrets_and_what_cannot_be_one_is_told() {
    let mut host = Host::new();
    let identity = host.path("identity.txt");
    fs::write(&identity, IDENTITY).unwrap();
    let file = host.path("some.env");
    let lines = format!("# ours\nexport GH_TOKEN='{REAL}'\nDEBUG=1\nDSN=decoy-0123456789 # db\n");
    fs::write(&file, lines).unwrap();
    let (file, identity) = (file.to_str().unwrap(), identity.to_str().unwrap());
    host.set("XDG_CONFIG_HOME", host.path("config"));
    let imported = host.json(&["secret", "import", file, "--identity", identity]);
    assert_eq!(imported["added"], serde_json::json!(["GH_TOKEN", "DSN"]));
    assert!(
        imported["left_out"][0]
            .as_str()
            .unwrap()
            .contains("`DEBUG`"),
        "{imported}"
    );
    let length = |name: &str| host.json(&["secret", "test", name])["length"].clone();
    assert_eq!(
        (length("GH_TOKEN"), length("DSN")),
        (REAL.len().into(), 16.into())
    );
    assert!(holding(&host.path("config"), "decoy").is_empty());
    // A second time there is nothing new.
    let again = host.stockade(&["secret", "import", file]);
    assert!(
        again.code == 4 && again.stderr.contains("already"),
        "{again:?}"
    );
}

#[test]
fn g3_a_task_that_goes_on_has_no_secret_that_was_unbound_meanwhile() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let ask = format!("{BEARER} https://api.test/v1/x");
    assert_eq!(stage.curl(&task, &ask), "ok 200");
    stage.host.json(&["stop", &task.id]);
    stage.secret(&["unbind", "github", "--host", "api.test"]);
    stage.bind(&["--path", "/v2/**"]);
    let resumed = stage.host.json(&["resume", &task.id, "--detach"]);
    assert_eq!(resumed["state"], "running");
    assert_eq!(
        rule(&stage.curl(&task, &ask)),
        "secrets.placeholder-misplaced"
    );
    assert_eq!(stage.server.seen().len(), 1);
}
