//! Programs that are run to their end, and waiting for something to hold.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::LONGEST;

/// How many times longer everything may take, where that is set: on a machine that
/// is emulated.
const PATIENCE: &str = "STOCKADE_TEST_PATIENCE";

/// When what may take `limit` on a usual machine has taken too long on this one.
fn deadline(limit: Duration) -> Instant {
    let times = std::env::var(PATIENCE).map_or(1, |text| text.parse().unwrap());
    Instant::now() + limit * times
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code, or 128 and the signal's number.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end.
pub fn finish(command: Command) -> Outcome {
    let words = format!("{command:?}");
    finish_within(command, LONGEST).unwrap_or_else(|| panic!("too slow: {words}"))
}

/// Runs a program to its end, or kills it after `limit`.
pub fn finish_within(mut command: Command, limit: Duration) -> Option<Outcome> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_within(child, limit)
}

/// Waits for a child with pipes, or kills it after `limit`.
pub fn wait_within(mut child: Child, limit: Duration) -> Option<Outcome> {
    fn reader(source: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut source) = source {
                let _ = source.read_to_end(&mut bytes);
            }
            bytes
        })
    }
    drop(child.stdin.take());
    let readers = [reader(child.stdout.take()), reader(child.stderr.take())];
    let deadline = deadline(limit);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let [stdout, stderr] =
        readers.map(|reader| String::from_utf8_lossy(&reader.join().unwrap()).into_owned());
    let signal = status.signal().map(|signal| 128 + signal);
    Some(Outcome {
        code: status.code().or(signal).unwrap(),
        stdout,
        stderr,
    })
}

/// Waits until `holds`, and fails if it never does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within(LONGEST, what, &mut holds);
}

/// Waits until `holds`, and fails if that takes longer than `limit`. Returns
/// how long it took.
pub fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    let held = holds_within(limit, &mut holds);
    assert!(held, "not within {limit:?}: {what}");
    start.elapsed()
}

/// Whether `holds` does so before `limit` has passed.
pub fn holds_within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = deadline(limit);
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
