//! Tells a program of the user's that a question waits.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use stockade_approval::{Action, AskId, LocalKey};
use stockade_types::{TaskId, canonical_json};
use stockade_vault::Environment;

/// What signatures of notices are for.
const NAMESPACE: &str = "notice@stockade";
/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Programs that run at once; beyond them nobody is told, and the inbox shows it.
const AT_ONCE: usize = 4;

/// How somebody is told.
pub(super) struct Notices {
    /// A text for the user's shell.
    command: Option<String>,
    environment: Environment,
    running: Arc<AtomicUsize>,
}

impl Notices {
    pub(super) fn new(command: Option<String>, environment: Environment) -> Self {
        Self {
            command,
            environment,
            running: Arc::default(),
        }
    }

    /// Tells that `task` asks about `action`, signed by this machine's key.
    /// Nobody waits for it, and nothing depends on it. The agent's own words are
    /// not in it.
    pub(super) fn tell(
        &self,
        key: impl FnOnce() -> Option<LocalKey>,
        task: &TaskId,
        id: AskId,
        action: &Action,
        expires: u64,
    ) {
        let Some(command) = self.command.clone() else {
            return;
        };
        let Some(place) = Place::take(&self.running) else {
            return;
        };
        let Some(key) = key() else {
            return;
        };
        let notice = canonical_json(&json!({
            "task": task, "ask": id, "action": action, "outward": action.outward(),
            "reversible": action.reversible(), "expires": expires,
            "answer": format!("stockade approve {}", id.short()),
        }));
        let signed = json!({
            "signature": key.sign(NAMESPACE, notice.as_bytes()),
            "key": key.public(), "notice": notice,
        });
        let environment = self.environment.clone();
        std::thread::spawn(move || {
            // What it says on standard error is in the supervisor's log.
            let _ = run(&command, &environment, &signed.to_string());
            drop(place);
        });
    }
}

/// One of the programs that may run at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(running: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count: usize| (count < AT_ONCE).then_some(count + 1);
        let taken = running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Self(Arc::clone(running)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs the user's program with `document` as its standard input.
#[expect(
    clippy::disallowed_methods,
    reason = "the program that tells of questions is the user's own, and runs as theirs"
)]
fn run(command: &str, environment: &Environment, document: &str) -> io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    // It fits into the pipe: who does not read it holds up nobody.
    let written = child
        .stdin
        .take()
        .map(|mut stdin| writeln!(stdin, "{document}"));
    wait(&mut child)?;
    written.unwrap_or(Ok(()))
}

/// Waits for the program, and ends it with what it started if it takes too long.
fn wait(child: &mut Child) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            child.wait()?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
