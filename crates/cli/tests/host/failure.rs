//! How a command fails, as documented.

use std::fs;

use super::{Host, Outcome, eventually, processes};

/// The documented exit codes.
pub const FAILED: i32 = 1;
pub const USAGE: i32 = 2;
pub const NOT_FOUND: i32 = 3;
pub const REFUSED: i32 = 4;
pub const WALL: i32 = 6;

/// The sentence of a failure; what follows it are hints.
pub fn sentence(outcome: &Outcome) -> &str {
    let mut lines = outcome.stderr.lines();
    let line = lines.find_map(|line| {
        line.strip_prefix("stockade: ")
            .or_else(|| line.strip_prefix("error: "))
    });
    line.unwrap_or_else(|| outcome.stderr.lines().next().unwrap_or_default())
}

/// No task, finished or not, and no process.
pub fn nothing_is_left(host: &Host) {
    let state = host.state();
    if state.exists() {
        let tasks: Vec<_> = fs::read_dir(state.join("tasks")).unwrap().collect();
        assert!(tasks.is_empty(), "{tasks:?}");
    }
    // One that was ended may still be on its way out.
    eventually("no process is left", || {
        processes::naming(&state).is_empty()
    });
}
