//! What commands are compared to: a plain spawn, and others' sandboxes.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::exec::PROGRAM;

/// The name of what everything is compared to.
pub(super) const SPAWN: &str = "a plain spawn (posix_spawn and wait)";

/// The same with a pause before each.
pub(super) const PAUSED: &str = "a plain spawn, after 15 ms of rest";

/// The first of [`SANDBOXES`] with such a pause.
pub(super) const RESTED_SANDBOX: (&str, &[&str]) =
    ("bubblewrap, new, after 15 ms of rest", SANDBOXES[0].1);

/// Other ways to run a program behind walls, as their manuals show them.
pub(super) const SANDBOXES: [(&str, &[&str]); 3] = [
    (
        "bubblewrap, every namespace, new",
        &["bwrap", "--unshare-all", "--ro-bind", "/", "/"],
    ),
    (
        "nsjail, new",
        &["nsjail", "-Mo", "--quiet", "--chroot", "/", "--"],
    ),
    (
        "unshare, five namespaces, new",
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--",
        ],
    ),
];

/// Runs the program behind `words`, or alone.
#[expect(
    clippy::disallowed_methods,
    reason = "a peer that is measured, with a program of the system"
)]
pub(super) fn run(words: &[&str]) -> Result<Duration, String> {
    let (first, rest) = words.split_first().unwrap_or((&PROGRAM, &[]));
    let mut command = Command::new(first);
    command.args(rest);
    if !words.is_empty() {
        command.arg(PROGRAM);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    })?;
    let took = started.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("does not work here ({status})"))
    }
}
