//! Hosts that a person allows: how it is said, what is reached then, and what
//! of it is recorded.

mod host;

use std::fs;

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{
    Host, Task, eventually, has,
    server::{REPLY, Server},
    skip,
};

/// A command that a task runs for as long as it is looked at.
const WAIT: &str = "sleep 600";

/// A server that a task knows as `web.test`, if there is a client for it.
fn server() -> Option<Server> {
    if !has("curl") {
        skip("requests to allowed hosts", "curl is not installed");
        return None;
    }
    Some(Server::start("web.test"))
}

/// What curl prints inside of a reply's body and status.
fn curl(host: &Host, task: &Task, words: &str) -> String {
    let script = format!("curl -sS --max-time 20 -w ' %{{http_code}}' {words}");
    host.exec(task, &script).1
}

fn refused_by(printed: &str) -> String {
    let document = printed.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let document: Value = serde_json::from_str(document.trim()).unwrap_or_default();
    document["rule"].as_str().unwrap_or(printed).to_owned()
}

#[test]
fn g2_an_allowed_host_answers_and_other_methods_hosts_and_denied_paths_do_not() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let words = [
        "--service",
        &server.service,
        "--allow",
        "web.test",
        "--allow",
        "POST web.test/in/**",
        "--deny",
        "web.test/private/**",
        "--yes",
    ];
    let task = host.start_with(&words, WAIT);
    for url in ["https://web.test/a", "-d x https://web.test/in/1"] {
        assert_eq!(curl(&host, &task, url), format!("{REPLY} 200"), "{url}");
    }
    for (words, rule) in [
        ("-X POST https://web.test/a", "network.path"),
        ("-X DELETE https://web.test/a", "network.method"),
        ("http://web.test/a", "network.port"),
        ("https://web.test:8443/a", "network.port"),
        ("https://other.test/", "network.default-deny"),
        ("https://web.test/private/a", "network.deny"),
        ("https://web.test/Private/a", "network.deny"),
        (
            "--path-as-is https://web.test/x/../private/a",
            "network.path",
        ),
        ("https://web.test/%2e%2e%2fprivate/a", "network.path"),
    ] {
        assert_eq!(refused_by(&curl(&host, &task, words)), rule, "{words}");
    }
    assert_eq!(server.lines(), ["GET /a HTTP/1.1", "POST /in/1 HTTP/1.1"]);
    let why = host.json(&["why", "--task", &task.id]);
    assert_eq!(why["body"]["rule"], "network.path");
}

/// A proxy as an agent would write one: what `CONNECT` names is dialled and
/// connected through.
const RELAY: &str = r#"
use IO::Socket::INET; use IO::Select;
my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:3128", Listen => 5, ReuseAddr => 1) or die;
while (my $c = $l->accept) {
  my $line = <$c>; my ($to) = $line =~ /^CONNECT (\S+)/ or next;
  while (<$c>) { last if /^\r?\n/ }
  my $s = IO::Socket::INET->new(PeerAddr => $to, Timeout => 10) or next;
  syswrite $c, "HTTP/1.1 200 OK\r\n\r\n";
  my $both = IO::Select->new($c, $s);
  RELAY: while (1) { for my $from ($both->can_read) {
    sysread($from, my $bytes, 65536) or last RELAY;
    syswrite($from == $c ? $s : $c, $bytes);
  } }
}
"#;

#[test]
fn g2_a_relay_inside_is_judged_like_whoever_asks_it() {
    if !has("perl") {
        return skip("a relay inside", "there is no perl to run it");
    }
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let words = ["--service", &server.service, "--allow", "web.test", "--yes"];
    let task = host.start_with(&words, &format!("exec perl -e '{RELAY}'"));
    let ask = |url: &str| curl(&host, &task, &format!("-x http://127.0.0.1:3128 {url}"));
    eventually("the relay listens", || {
        ask("https://web.test/") == format!("{REPLY} 200")
    });
    let reached = server.lines().len();
    assert_eq!(
        refused_by(&ask("https://other.test/")),
        "network.default-deny"
    );
    // A name for the relay, another one in the hello.
    let fronted = ask("--connect-to other.test:443:web.test:443 https://other.test/");
    assert!(!fronted.contains(REPLY), "{fronted}");
    assert_eq!(server.lines().len(), reached);
    let last = task.denied().pop().unwrap();
    assert_eq!(last, ("web.test".to_owned(), 443, "network.sni".to_owned()));
}

#[test]
fn g2_two_tasks_reach_only_what_each_of_them_may() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let second = server.service.replace("web.test", "second.test");
    let tasks = ["web.test", "second.test"].map(|allowed| {
        let words = [
            "--service",
            &server.service,
            "--service",
            &second,
            "--allow",
            allowed,
            "--yes",
        ];
        (host.start_with(&words, WAIT), allowed)
    });
    for (task, allowed) in &tasks {
        for name in ["web.test", "second.test"] {
            let printed = curl(&host, task, &format!("https://{name}/{}", task.id));
            assert_eq!(
                printed.ends_with(" 200"),
                name == *allowed,
                "{allowed} {name}: {printed}"
            );
        }
    }
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn g2_a_host_allowed_meanwhile_answers_the_same_request_until_the_time_is_up() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let task = host.start_with(&["--service", &server.service], WAIT);
    let ask = || curl(&host, &task, "https://web.test/");
    let refusal: Value = serde_json::from_str(ask().trim_end_matches(" 403")).unwrap();
    // The sentence names the command; it is followed to the letter.
    let command = refusal["allow"].as_str().unwrap();
    assert_eq!(
        command,
        format!("stockade allow 'GET web.test' --task {}", task.id)
    );
    assert!(
        refusal["error"]["message"]
            .as_str()
            .unwrap()
            .contains(command)
    );
    let words = ["allow", "GET web.test", "--task", &task.id];
    let allowed = host.stockade(&words);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert_eq!(ask(), format!("{REPLY} 200"));

    // Given again for a moment, it ends then; the task goes on.
    let shortly = host.stockade(&[&words[..], &["--for", "1s"]].concat());
    assert_eq!(shortly.code, 0, "{shortly:?}");
    eventually("the time is up", || {
        refused_by(&ask()) == "network.default-deny"
    });
    assert_eq!(
        host.json(&["allow", "--list", "--task", &task.id])["allow"],
        serde_json::json!([])
    );
    let given: Vec<_> = task
        .record()
        .iter()
        .filter(|record| record.kind == RecordKind::Event(EventKind::Overridden))
        .map(|record| {
            (
                record.body["allow"].clone(),
                record.body["seconds"].clone(),
                record.body["by_uid"].clone(),
            )
        })
        .collect();
    let own = rustix::process::geteuid().as_raw();
    let entry = |seconds: Value| ("GET web.test".into(), seconds, own.into());
    assert_eq!(given, [entry(Value::Null), entry(1.into())]);
}

#[test]
fn what_a_task_was_denied_cannot_be_allowed_meanwhile() {
    let host = Host::new();
    let task = host.start_with(&["--deny", "**.evil.test"], WAIT);
    let refused = host.stockade(&["allow", "a.evil.test", "--task", &task.id]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.stderr.contains("--deny **.evil.test"),
        "{refused:?}"
    );
    host.stockade(&["stop", &task.id]);
    task.wait_until_settled();
    let ended = host.stockade(&["allow", "a.test", "--task", &task.id]);
    assert_eq!(ended.code, 4, "{ended:?}");
}

#[test]
fn g2_twenty_requests_of_a_task_are_twenty_records_with_exact_byte_counts() {
    let Some(server) = server() else {
        return;
    };
    let host = Host::new();
    let words = [
        "--service",
        &server.service,
        "--allow",
        "GET,POST web.test",
        "--yes",
    ];
    let script = "for i in $(seq 10); do curl -sS https://web.test/get/$i; \
                  head -c $((i * 1000)) /dev/zero | curl -sS --data-binary @- https://web.test/post/$i; done";
    let task = host.start_with(&words, script);
    let state = host.wait_for_state(&task, "done");
    assert_eq!(state["exit"], 0);
    task.wait_until_settled();
    let record = task.record();
    let of = |kind| {
        let events = record
            .iter()
            .filter(move |record| record.kind == RecordKind::Event(kind));
        events.map(|record| &record.body).collect::<Vec<_>>()
    };
    let (intents, outcomes) = (of(EventKind::NetworkRequest), of(EventKind::NetworkOutcome));
    let seen = server.seen.lock().unwrap();
    assert_eq!((intents.len(), outcomes.len(), seen.len()), (20, 20, 20));
    for ((intent, outcome), (line, length)) in intents.iter().zip(&outcomes).zip(seen.iter()) {
        let said = format!(
            "{} {} HTTP/1.1",
            outcome["method"].as_str().unwrap(),
            outcome["path"].as_str().unwrap()
        );
        assert_eq!(&said, line);
        assert_eq!(outcome["sent_body"], *length);
        assert_eq!(outcome["received"], REPLY.len());
        assert_eq!(outcome["ended"], "complete");
        for event in [intent, outcome] {
            assert_eq!(event["allowed_by"], "GET,POST web.test");
            assert_eq!(event["host"], "web.test");
        }
    }
}

#[test]
fn the_contract_names_each_host_with_its_methods_and_a_wider_one_needs_a_yes() {
    let host = Host::new();
    assert_eq!(host.look("true"), "");
    let words = [
        "run",
        "--allow",
        "GET,POST api.test/v1/**",
        "--deny",
        "evil.test",
        "--",
        "true",
    ];
    let refused = host.stockade(&words);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("reaches api.test/v1/** (GET, POST)"),
        "{refused:?}"
    );
    let agreed = host.stockade(&[&["run", "--yes"], &words[1..]].concat());
    assert_eq!(agreed.code, 0, "{agreed:?}");
    assert!(
        agreed.stderr.contains("denies      evil.test"),
        "{agreed:?}"
    );
    // The same again is no more than last time; without the denial it is.
    assert_eq!(host.stockade(&words).code, 0);
    let undenied = host.stockade(&["run", "--allow", "GET,POST api.test/v1/**", "--", "true"]);
    assert_eq!(undenied.code, 4, "{undenied:?}");
    assert!(
        undenied.stderr.contains("no longer denies evil.test"),
        "{undenied:?}"
    );
}

#[test]
fn a_repository_may_deny_and_what_it_asks_for_needs_a_yes_even_the_first_time() {
    let host = Host::new();
    let file = host.repository().join("stockade.toml");
    fs::write(
        &file,
        "[network]\nallow = [\"docs.test\"]\ndeny = [\"**.ads.test\"]\n",
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Ask"]);
    let refused = host.stockade(&["run", "--", "true"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("asked for by the repository: docs.test (GET, HEAD)"),
        "{refused:?}"
    );
    let agreed = host.stockade(&["run", "--yes", "--", "true"]);
    assert_eq!(agreed.code, 0, "{agreed:?}");
    assert!(
        agreed.stderr.contains("denies      **.ads.test"),
        "{agreed:?}"
    );
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
    // Another wish is another question.
    fs::write(&file, "[network]\nallow = [\"docs.test\", \"more.test\"]\n").unwrap();
    host.git(&["commit", "--quiet", "--all", "--message", "Ask more"]);
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 4);
}

#[test]
fn a_rule_that_cannot_be_read_is_named_with_its_place_wherever_it_stands() {
    let mut host = Host::new();
    let wrong = host.stockade(&["run", "--allow", "GET ex_ample.com/a/../b", "--", "true"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("at character 17"), "{wrong:?}");
    host.set("XDG_CONFIG_HOME", host.path("config"));
    let folder = host.path("config/stockade");
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("config.toml"),
        "[network]\nallow = [\n \"ftp://a.test\",\n]\n",
    )
    .unwrap();
    let wrong = host.stockade(&["run", "--", "true"]);
    assert_ne!(wrong.code, 0, "{wrong:?}");
    for part in ["config.toml", "line", "http or https"] {
        assert!(wrong.stderr.contains(part), "{part}: {wrong:?}");
    }
    fs::write(
        folder.join("config.toml"),
        "[network]\npresets = [\"docs\"]\nallow = [\"own.test\"]\n",
    )
    .unwrap();
    let agreed = host.stockade(&["run", "--", "true"]);
    assert_eq!(agreed.code, 0, "{agreed:?}");
    for line in [
        "reaches     docs.rs (GET, HEAD)",
        "reaches     own.test (GET, HEAD)",
    ] {
        assert!(agreed.stderr.contains(line), "{line}: {agreed:?}");
    }
}

#[test]
fn g2_a_wildcard_over_names_that_anybody_registers_is_refused_wherever_it_stands() {
    let mut host = Host::new();
    let objection = "anyone can register a name below";
    for rule in ["*.co.uk", "ANY **.github.io", "GET *.com/a/**"] {
        let refused = host.stockade(&["run", "--allow", rule, "--yes", "--", "true"]);
        assert_eq!(refused.code, 4, "{refused:?}");
        assert!(refused.stderr.contains(objection), "{refused:?}");
    }
    // To deny them is another thing, and so is what somebody owns.
    let words = [
        "--deny",
        "**.github.io",
        "--allow",
        "**.me.github.io",
        "--yes",
    ];
    let task = host.start_with(&words, WAIT);
    let later = host.stockade(&["allow", "*.co.uk", "--task", &task.id]);
    assert_eq!(later.code, 4, "{later:?}");
    assert!(later.stderr.contains(objection), "{later:?}");
    host.set("XDG_CONFIG_HOME", host.path("config"));
    let folder = host.path("config/stockade");
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("config.toml"),
        "[network]\nallow = [\"*.pages.dev\"]\n",
    )
    .unwrap();
    let configured = host.stockade(&["run", "--", "true"]);
    assert_eq!(configured.code, 4, "{configured:?}");
    assert!(configured.stderr.contains(objection), "{configured:?}");
}

#[test]
fn the_card_of_a_host_names_its_owner_its_look_and_the_narrowest_rule() {
    if !has("curl") {
        return skip("cards of hosts", "curl is not installed");
    }
    let host = Host::new();
    let task = host.start(WAIT);
    curl(
        &host,
        &task,
        "https://login.xn--pple-43d.co.uk:8443/a/b?c=d",
    );
    let card = &host.json(&["why", "--task", &task.id])["body"]["card"];
    assert_eq!(card["domain"], "xn--pple-43d.co.uk");
    assert_eq!(card["shown"], "login.\u{430}pple.co.uk");
    assert_eq!(card["scripts"], serde_json::json!(["Cyrillic", "Latin"]));
    assert_eq!(card["exactly"], "GET login.xn--pple-43d.co.uk:8443/a/b");
    let told = host.stockade(&["why", "--task", &task.id]).stdout;
    assert!(
        told.contains("\ndomain  xn--pple-43d.co.uk\nlooks   elsewhere shown as"),
        "{told}"
    );
    // A path that a rule would read as a pattern, or that ends a word, is offered by none.
    for path in ["/a*", "/a'b", "/x/../y"] {
        curl(
            &host,
            &task,
            &format!("--path-as-is \"https://star.example{path}\""),
        );
        let card = &host.json(&["why", "--task", &task.id])["body"]["card"];
        assert_eq!(card["domain"], "star.example", "{path}");
        assert!(card["exactly"].is_null(), "{path}: {card}");
    }
}

#[test]
fn presets_are_listed_mirrors_come_along_and_locked_allows_nothing() {
    let host = Host::new();
    let listed = host.stockade(&["allow", "--presets"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    for word in [
        "llm",
        "registries",
        "git-read",
        "docs",
        "balanced",
        "open",
        "locked",
        "index.crates.io",
    ] {
        assert!(listed.stdout.contains(word), "{word}: {listed:?}");
    }
    // What this machine's package managers are set to comes along, without what
    // opens it.
    let token = "npm_decoy0123456789";
    let settings =
        format!("registry=https://npm.mirror.test/\n//npm.mirror.test/:_authToken={token}\n");
    fs::write(host.home().join(".npmrc"), settings).unwrap();
    let script = "env; cat ~/.npmrc; grep -rs npm_decoy /home /etc /tmp; true";
    let registries = host.stockade(&["run", "--preset", "registries", "--", "bash", "-c", script]);
    for line in ["index.crates.io (GET, HEAD)", "npm.mirror.test (GET, HEAD)"] {
        assert!(registries.stderr.contains(line), "{line}: {registries:?}");
    }
    let all = format!("{}{}", registries.stdout, registries.stderr);
    assert!(!all.contains(token), "{all}");
    let open = host.stockade(&["run", "--preset", "open", "--yes", "--", "true"]);
    assert!(
        open.stderr.contains("reaches     every host (GET,"),
        "{open:?}"
    );

    let locked = host.stockade(&["run", "--preset", "locked", "--", "true"]);
    assert!(locked.stderr.contains("reaches     nothing"), "{locked:?}");
    let both = host.stockade(&[
        "run", "--preset", "locked", "--preset", "docs", "--", "true",
    ]);
    assert_eq!(both.code, 4, "{both:?}");
    let wrong = host.stockade(&["run", "--preset", "fast", "--", "true"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("git-read"), "{wrong:?}");
}
