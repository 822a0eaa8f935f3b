//! Appends to the log named by the first argument, whose host is the second,
//! until that fails or as often as the third says, telling each acknowledgement:
//! for tests that kill a writer or fill its disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a fixture that fails fails its test, and printing is its purpose"
)]

use std::path::Path;

use serde_json::json;
use stockade_audit::{Host, Log, LogError};
use stockade_types::{Event, EventKind};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let (path, host) = (arguments.next().unwrap(), arguments.next().unwrap());
    let times = arguments
        .next()
        .map(|times| times.to_str().unwrap().parse().unwrap());
    let opened =
        Host::open(Path::new(&host)).and_then(|host| Log::open(Path::new(&path), "t-1", host));
    let Ok(mut log) = opened else {
        return println!("refused to open");
    };
    let body = json!({ "filler": "x".repeat(700) });
    for _ in 0..times.unwrap_or(u64::MAX) {
        match log.append(&Event::new(EventKind::ExecStarted, body.clone())) {
            Ok(appended) => {
                println!("acknowledged {} {}", appended.seq, appended.root);
                // As the recorder does now and then.
                if appended.seq % 64 == 63 && log.bind().is_err() {
                    return println!("refused to bind");
                }
            }
            Err(error) => {
                println!("refused {error}");
                if !matches!(error, LogError::Full { .. }) {
                    return;
                }
                // A short one must not slip in behind a refused long one
                // unless it really fits.
                let short = Event::new(EventKind::ExecStarted, json!({ "n": 0 }));
                if let Ok(appended) = log.append(&short) {
                    println!("acknowledged {} {}", appended.seq, appended.root);
                }
                return;
            }
        }
    }
}
