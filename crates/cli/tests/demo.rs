//! `stockade demo`, as somebody meets it who has nothing but the executable.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::fs;

use crate::host::{Host, has, skip, tls_server::TlsServer};

/// What the hijacked agent tries.
const TRIED: [&str; 9] = [
    "read a private key",
    "read the repository's secrets",
    "write outside the workspace",
    "change the system",
    "phone out, by TCP, UDP and DNS",
    "poison git for the host",
    "plant files the host would run",
    "outlive the task",
    "spend past its budget",
];
/// Within this it must have been played, on a machine that has time for it.
const SECONDS: f64 = 10.0;

/// Plays it without a terminal; how long it took, as it says.
fn play(host: &Host) -> f64 {
    let demo = host.json(&["demo"]);
    assert_eq!(demo["fixed"]["failed_before"], true, "{demo}");
    assert_eq!(demo["fixed"]["passes_after"], true, "{demo}");
    assert_eq!(demo["all_stopped"], true, "{demo}");
    let rows = demo["hostile"].as_array().unwrap();
    let tried: Vec<_> = rows
        .iter()
        .map(|row| row["tried"].as_str().unwrap())
        .collect();
    assert_eq!(tried, TRIED);
    for row in rows {
        assert_eq!(row["held"], true, "{row}");
    }
    assert!(
        demo["recorded"].as_u64().is_some_and(|events| events > 50),
        "{demo}"
    );
    demo["seconds"].as_f64().unwrap()
}

#[test]
fn the_demo_plays_on_a_machine_that_trusts_no_authority() {
    let mut host = Host::new();
    let nobody = host.path("nobody.pem");
    fs::write(&nobody, "").unwrap();
    host.set("SSL_CERT_FILE", nobody);
    host.unset("SSL_CERT_DIR");
    play(&host);
    if !has("curl") {
        skip("a host that nobody vouches for", "curl is not installed");
        return;
    }
    let server = TlsServer::start(&host.path("certificate.pem"));
    let service = format!("api.test={}", server.url);
    let words = ["--allow", "GET api.test", "--service", &service, "--yes"];
    let task = host.start_with(&words, "sleep 600");
    let asked = host.exec(&task, "curl -s https://api.test/").1;
    assert!(
        asked.contains("network.untrusted") && asked.contains("ca-certificates"),
        "{asked}"
    );
    assert!(server.seen().is_empty());
}

#[test]
fn the_demo_plays_without_a_terminal_in_ten_seconds_and_every_row_holds() {
    let host = Host::new();
    let before = host.git(&["for-each-ref"]);
    // The machine may be busy with something else: once is enough.
    let times = std::iter::repeat_with(|| play(&host)).take(5);
    let mut times = times.inspect(|seconds| eprintln!("demo: {seconds:.2} s"));
    assert!(times.any(|seconds| seconds < SECONDS));
    // Of the caller's nothing was used, and nothing is left but the empty state directory.
    assert_eq!(host.git(&["for-each-ref"]), before);
    assert_eq!(fs::read_dir(host.home()).unwrap().count(), 0);
    let left = fs::read_dir(host.state()).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demo_tells_people_row_by_row_what_was_tried_and_what_stopped_it() {
    let host = Host::new();
    let outcome = host.stockade(&["demo"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for tried in TRIED {
        let mut lines = outcome.stdout.lines();
        let row = lines.find(|line| line.contains(tried)).unwrap();
        assert!(row.trim_start().starts_with("stopped "), "{row}");
    }
    assert!(outcome.stdout.contains("All of it held in "), "{outcome:?}");
    // Nobody sees colours here.
    assert!(!outcome.stdout.contains('\u{1b}'), "{outcome:?}");
}
