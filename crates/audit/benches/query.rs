//! How long it takes to find events among a million.
//!
//!     cargo bench -p stockade-audit --bench query
//!
//! The log is what a recorder writes; the questions are those of `audit query`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that fails has no result, and printing is its purpose"
)]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use stockade_audit::{Host, Log, Search, read};
use stockade_types::{Event, EventKind};

/// How many events there are, and how many are written at once.
const EVENTS: u64 = 1_000_000;
const AT_ONCE: u64 = 1_000;
/// How often each question is asked.
const SAMPLES: usize = 5;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (log, host) = (folder.path().join("record"), folder.path().join("host"));
    fs::create_dir(&host).unwrap();
    let mut writer = Log::open(&log, "t-bench", Host::open(&host).unwrap()).unwrap();
    for first in (0..EVENTS).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let events: Vec<_> = (first..first + AT_ONCE).map(event).collect();
        for receipt in writer.append_all(&events).unwrap() {
            receipt.unwrap();
        }
    }
    writer.bind().unwrap();
    let last = read(&log).unwrap().last().unwrap().unwrap();
    let last = last.written_at().unwrap();

    let kinds = |kind: &str| Search::default().of_kinds(&[kind.to_owned()]);
    ask(&log, "of a seldom kind", &kinds("merged"));
    ask(
        &log,
        "refusals of a host",
        &kinds("denied").containing(Some("evil.example.com")),
    );
    ask(
        &log,
        "that say a text",
        &Search::default().containing(Some("npm publish")),
    );
    ask(
        &log,
        "that say what none does",
        &Search::default().containing(Some("nowhere")),
    );
    ask(
        &log,
        "of the last moment",
        &Search::default().between(Some(&last), None),
    );
    let start = Instant::now();
    let all = read(&log).unwrap().map(Result::unwrap).count();
    println!(
        "{:<26} {:>8} found, {:>5} ms",
        "all, each read",
        all,
        start.elapsed().as_millis()
    );
}

/// Events as a task has them, a few of them seldom.
fn event(number: u64) -> Event {
    let host = if number % 5_000 == 1 {
        "evil.example.com"
    } else {
        "registry.example.com"
    };
    let request = json!({
        "request": number, "host": host, "port": 443, "method": "GET", "path": "/a/b",
        "rule": "network.allow", "allowed_by": "GET registry.example.com",
        "sent_body": 0, "address": "203.0.113.7",
    });
    let word = if number % 50_000 == 2 {
        "npm publish"
    } else {
        "cargo test --all"
    };
    let command = json!({
        "exec": number, "main": false, "argv": ["bash", "-c", word], "cwd": "/workspace/project",
        "policy": { "verdict": "allow" },
    });
    match number % 100 {
        0 if number.is_multiple_of(100_000) => {
            Event::new(EventKind::Merged, json!({ "landed": number }))
        }
        1 => Event::new(EventKind::Denied, request),
        2..50 => Event::new(EventKind::ExecStarted, command),
        _ => Event::new(EventKind::NetworkRequest, request),
    }
}

fn ask(log: &Path, question: &str, search: &Search) {
    let mut found = 0;
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            let records = read(log).unwrap().that(search.clone());
            found = records.map(Result::unwrap).count();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[SAMPLES / 2].as_millis();
    println!("{question:<26} {found:>8} found, {median:>5} ms");
}
