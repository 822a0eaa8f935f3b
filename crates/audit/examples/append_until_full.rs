//! Appends to the log named by the first argument until that fails, telling
//! each acknowledgement: for tests that kill a writer or fill its disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a fixture that fails fails its test, and printing is its purpose"
)]

use std::path::Path;

use serde_json::json;
use stockade_audit::{Log, LogError};
use stockade_types::{Event, EventKind};

fn main() {
    let path = std::env::args_os().nth(1).unwrap();
    let mut log = Log::open(Path::new(&path)).unwrap();
    let body = json!({ "filler": "x".repeat(700) });
    loop {
        match log.append(&Event::new(EventKind::ExecStarted, body.clone())) {
            Ok(appended) => println!("acknowledged {}", appended.seq),
            Err(error) => {
                println!("refused {error}");
                assert!(matches!(error, LogError::Full { .. }));
                // A short one must not slip in behind a refused long one
                // unless it really fits.
                let short = Event::new(EventKind::ExecStarted, json!({ "n": 0 }));
                if log.append(&short).is_ok() {
                    println!("acknowledged {}", log.last().unwrap().seq);
                }
                return;
            }
        }
    }
}
