use std::{
    io,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::Errno,
    pipe::PipeFlags,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, kill_process, set_parent_process_death_signal,
        waitpid,
    },
    thread::UnshareFlags,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{During, Layer, SandboxError},
    identity,
    kernel::{self, Fork},
    spec::Identity,
};

/// Longer than any probe takes. One that hangs, on a file system whose server
/// is gone for example, must not hang the doctor.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest answer.
const ANSWER_MAX: usize = 64 << 10;

/// Runs `probe` in a child and passes on what it returns, so that whatever it
/// enters or gives up ends with it.
pub(super) fn in_child<T: Serialize + DeserializeOwned>(
    probe: impl FnOnce() -> Result<T, SandboxError>,
) -> Result<T, SandboxError> {
    let (answer, tell) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(Layer::Processes, "make a pipe")?;
    match kernel::fork().during(Layer::Processes, "start a process")? {
        Fork::Child => {
            drop(answer);
            let tried = die_with_parent().and_then(|()| probe());
            let text = serde_json::to_vec(&tried).unwrap_or_default();
            let _ = rustix::io::write(&tell, &text);
            kernel::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(tell);
            let text = hear(&answer);
            if text.is_err() {
                let _ = kill_process(child, Signal::KILL);
            }
            let ended = wait(child);
            let text = text.during(Layer::Processes, "hear from the probe")?;
            if text.is_empty() {
                return Err(io::Error::other(ended)).during(Layer::Processes, "end the probe");
            }
            serde_json::from_slice::<Result<T, SandboxError>>(&text)
                .during(Layer::Processes, "understand the probe")?
        }
    }
}

/// Does what every task does first: as root becomes the stand-in, then enters
/// a user namespace along with the namespaces of `flags`.
pub(super) fn enter(stand_in: Option<Identity>, flags: UnshareFlags) -> Result<(), SandboxError> {
    let me = if let Some(identity) = stand_in {
        identity::assume(identity)?;
        identity
    } else {
        identity::current()
    };
    identity::enter_user_namespace(me, flags)?;
    // The kernel forgot it when the ids changed (prctl(2)).
    die_with_parent()
}

fn die_with_parent() -> Result<(), SandboxError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .during(Layer::Processes, "tie the probe to its parent")
}

/// What the child says, until it closes its end.
fn hear(answer: &OwnedFd) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + LONGEST;
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(answer, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => continue,
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            other => other?,
        };
        let size = rustix::io::read(answer, &mut part)?;
        text.extend_from_slice(&part[..size]);
        if size == 0 {
            return Ok(text);
        }
        if text.len() > ANSWER_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Waits for `child` and says how it ended.
fn wait(child: Pid) -> String {
    let ended = |status: WaitStatus| match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(Some((_, status))) => return ended(status),
            _ => return "it is gone".to_owned(),
        }
    }
}
