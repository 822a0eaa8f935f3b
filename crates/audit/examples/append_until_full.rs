//! Appends to the log named by the first argument, whose host is the second,
//! until that fails, telling
//! each acknowledgement: for tests that kill a writer or fill its disk.

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
    let host = Host::open(Path::new(&host)).unwrap();
    let mut log = Log::open(Path::new(&path), "t-1", host).unwrap();
    let body = json!({ "filler": "x".repeat(700) });
    loop {
        match log.append(&Event::new(EventKind::ExecStarted, body.clone())) {
            Ok(appended) => {
                println!("acknowledged {} {}", appended.seq, appended.root);
                // As the recorder does now and then.
                if appended.seq % 64 == 63 {
                    log.bind().unwrap();
                }
            }
            Err(error) => {
                println!("refused {error}");
                assert!(matches!(error, LogError::Full { .. }));
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
