//! What is refused on the way out, and what clients and people get to read.

mod host;

use std::fmt::Write as _;

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{Host, has, skip};

/// The reason that stands in the refusal of a host without a rule.
const NO_RULE: &str = "no rule of this task allows this host.";

/// A program, what it is told, and a text that it shows.
type Client = (&'static str, &'static str, &'static str);

/// Clients without any switch, and what their users get to read.
const CLIENTS: &[Client] = &[
    (
        "curl",
        "curl -sS --max-time 10 https://curl.example/x",
        NO_RULE,
    ),
    ("wget", "wget -O - https://wget.example/ 2>&1", "403"),
    (
        "python3",
        "python3 -c 'import urllib.request, urllib.error\ntry: urllib.request.urlopen(\"https://python3.example/x\", timeout=10)\nexcept urllib.error.HTTPError as e: print(e.code, e.read().decode())'",
        NO_RULE,
    ),
    (
        "node",
        "node -e 'fetch(\"https://node.example/x\").then(async r => console.log(r.status, await r.text()))'",
        NO_RULE,
    ),
    ("git", "git ls-remote https://git.example/x.git 2>&1", "403"),
    (
        "openssl",
        "openssl s_client -brief -verify_return_error -CAfile /etc/stockade/ca-bundle.pem -connect openssl.example:443 </dev/null 2>&1",
        "Verification: OK",
    ),
];

#[test]
fn g2_every_client_trusts_the_gateway_and_shows_the_refusal() {
    let host = Host::new();
    let (there, missing): (Vec<&Client>, Vec<&Client>) =
        CLIENTS.iter().partition(|(program, ..)| has(program));
    for (program, ..) in missing {
        skip(program, "it is not installed");
    }
    let mut script = String::new();
    for (program, command, _) in &there {
        let _ = write!(script, "echo '--- {program}'; {command}; echo;");
    }
    let printed = host.look(&script);
    for (program, _, expected) in &there {
        let section = printed.split(&format!("--- {program}\n")).nth(1).unwrap();
        let section = section.split("\n--- ").next().unwrap();
        assert!(section.contains(expected), "{program}: {printed}");
    }
    // The one that sends no request is not refused one.
    let requests: Vec<_> = there
        .iter()
        .filter(|(program, ..)| *program != "openssl")
        .map(|(program, ..)| {
            (
                format!("{program}.example"),
                443,
                "network.default-deny".to_owned(),
            )
        })
        .collect();
    assert_eq!(host.only_task().denied(), requests);
}

#[test]
fn g2_a_host_without_a_rule_is_refused_with_a_sentence_that_programs_can_read() {
    if !has("curl") {
        return skip("the refusal as curl sees it", "curl is not installed");
    }
    let host = Host::new();
    let printed = host.look(
        "for s in https http; do curl -sS --max-time 10 -w '%{http_code} %{content_type}\\n' $s://example.com/x; done",
    );
    let lines: Vec<&str> = printed.lines().collect();
    for (document, (status, port)) in [(lines[0], (lines[1], 443)), (lines[2], (lines[3], 80))] {
        assert_eq!(status, "403 application/json");
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(
            document["what"],
            format!("send GET /x to example.com:{port}")
        );
        assert_eq!(document["rule"], "network.default-deny");
        assert_eq!(document["reason"], NO_RULE);
        let sentence = document["error"]["message"].as_str().unwrap();
        assert!(
            sentence.contains("example.com") && sentence.contains(NO_RULE),
            "{sentence}"
        );
    }
}

#[test]
fn g2_ten_scripted_attempts_are_ten_records_and_why_explains_the_last() {
    if !has("curl") {
        return skip("ten attempts", "curl is not installed");
    }
    let host = Host::new();
    let unrefused = host.look("true");
    assert_eq!(unrefused, "");
    let nothing = host.stockade(&["why"]);
    assert_eq!(nothing.code, 3, "{nothing:?}");
    assert!(
        nothing.stderr.contains("nothing was refused"),
        "{nothing:?}"
    );

    let (deny, literal) = ("network.default-deny", "network.address-literal");
    let attempts = [
        ("https://one.example/", "one.example", 443, deny),
        ("https://one.example/again", "one.example", 443, deny),
        ("http://two.example/", "two.example", 80, deny),
        ("https://three.example:8443/", "three.example", 8443, deny),
        ("https://FOUR.example./", "four.example", 443, deny),
        ("http://203.0.113.7/", "203.0.113.7", 80, literal),
        ("https://203.0.113.7/", "203.0.113.7", 443, literal),
        ("http://3405803783/", "203.0.113.7", 80, literal),
        ("http://198.18.99.99/", "198.18.99.99", 80, literal),
        ("https://last.example/path", "last.example", 443, deny),
    ];
    let urls: Vec<&str> = attempts.iter().map(|(url, ..)| *url).collect();
    let script = format!(
        "for u in {}; do curl -s --max-time 10 -o /dev/null $u; done",
        urls.join(" ")
    );
    let task = host.start(&format!("{script}; true"));
    host.wait_for_state(&task, "done");
    task.wait_until_settled();
    let expected: Vec<_> = attempts
        .iter()
        .map(|(_, name, port, rule)| ((*name).to_owned(), *port, (*rule).to_owned()))
        .collect();
    assert_eq!(task.denied(), expected);
    let passed = task
        .record()
        .iter()
        .filter(|record| record.kind == RecordKind::Event(EventKind::NetworkRequest))
        .count();
    assert_eq!(passed, 0);

    let told = host.stockade(&["why", "--task", &task.id]).stdout;
    for line in [
        "domain  last.example",
        &format!(
            "exactly stockade allow 'GET last.example/path' --task {}",
            task.id
        ),
        "what    send GET /path to last.example:443",
        "rule    network.default-deny",
        &format!("why     {NO_RULE}"),
        &format!(
            "allow   stockade allow 'GET last.example' --task {}",
            task.id
        ),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    let document = host.json(&["why", "--task", &task.id]);
    assert_eq!(document["kind"], "denied");
    assert_eq!(document["body"]["host"], "last.example");
    // The time is the record's own, to the letter: RFC 3339.
    let number = usize::try_from(document["event"].as_u64().unwrap()).unwrap();
    let record = serde_json::to_value(&task.record()[number]).unwrap();
    assert_eq!(document["at"], record["at"]);
    let at = record["at"].as_str().unwrap();
    assert!(at.contains('T') && at.ends_with('Z'), "{at}");
    let first = format!("event {} at {at}", document["event"]);
    assert_eq!(told.lines().next(), Some(first.as_str()));
    let number = document["event"].as_u64().unwrap() - 3;
    let earlier = host.stockade(&["why", &number.to_string(), "--task", &task.id]);
    let line = "what    connect to 203.0.113.7:443";
    assert!(earlier.stdout.contains(line), "{earlier:?}");
    let unknown = host.stockade(&["why", "9999", "--task", &task.id]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
}

#[test]
fn g2_ssh_is_refused_with_a_readable_message() {
    if !has("perl") {
        return skip("ssh", "there is no perl to speak it");
    }
    let host = Host::new();
    // OpenSSH's first words, and all that comes back.
    let printed = host.look(
        "perl -e 'use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => \"git.example:22\", Timeout => 5) or die $!; \
         print $s \"SSH-2.0-OpenSSH_9.2\\r\\n\"; $s->flush; local $/; my $t = <$s>; $t =~ s/[^ -~\\n]/./g; print $t'",
    );
    assert!(
        printed.starts_with("SSH-2.0-stockade")
            && printed.contains("stockade does not pass ssh on; use https"),
        "{printed}"
    );
    let expected = ("git.example".to_owned(), 22, "network.protocol".to_owned());
    assert_eq!(host.only_task().denied(), [expected]);
    if !has("ssh") {
        return skip("OpenSSH", "it is not installed");
    }
    let printed = host.look(
        "timeout 10 ssh -o BatchMode=yes -o StrictHostKeyChecking=no someone@git.example true 2>&1; echo $?",
    );
    assert!(printed.ends_with("255\n"), "{printed}");
}
