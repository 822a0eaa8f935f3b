//! `stockade bench`: figures for everybody, and nothing left of taking them.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::fs;

use self::host::Host;

#[test]
fn bench_exec_compares_every_kind_of_command_and_leaves_nothing() {
    let host = Host::new();
    let found = host.json(&["bench", "exec", "--runs", "16", "--seconds", "1"]);
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 13, "{found}");
    for row in rows {
        let name = row["name"].as_str().unwrap();
        if row["missing"].is_string() {
            let other = ["bubblewrap", "nsjail", "unshare"];
            assert!(other.iter().any(|other| name.starts_with(other)), "{row}");
            continue;
        }
        assert!(
            row["milliseconds"]["median"].as_f64().unwrap() > 0.0,
            "{row}"
        );
        assert!(row["ratio_of_medians"].as_f64().unwrap() > 0.0, "{row}");
    }
    let rates = found["at_once"].as_array().unwrap();
    assert_eq!(rates.len(), 4, "{found}");
    for rate in rates {
        if rate["a_second"].is_null() {
            assert!(rate["name"].as_str().unwrap().starts_with("bubblewrap"));
            continue;
        }
        assert!(rate["a_second"].as_f64().unwrap() > 0.0, "{rate}");
        assert!(rate["ratio_to_spawns"].as_f64().unwrap() > 0.0, "{rate}");
    }
    leaves_nothing(&host);
}

#[test]
fn bench_exec_fails_where_a_command_takes_more_spawns_than_it_may() {
    let host = Host::new();
    let few = ["bench", "exec", "--runs", "16", "--seconds", "1"];
    let refused = host.stockade(&[&few[..], &["--most", "1000", "--most-fresh", "0.01"]].concat());
    assert_eq!(refused.code, 1, "{refused:?}");
    let sentence = "a command in a sandbox of its own, ready (--fresh): ";
    assert!(refused.stderr.contains(sentence), "{refused:?}");
    leaves_nothing(&host);
}

fn leaves_nothing(host: &Host) {
    let left = fs::read_dir(host.state()).unwrap();
    let names = left.flatten().map(|entry| entry.file_name());
    let of_benches = names.filter(|name| name.to_string_lossy().starts_with("bench-"));
    assert_eq!(of_benches.count(), 0);
    assert_eq!(host.json(&["ls"]), serde_json::json!([]));
}
