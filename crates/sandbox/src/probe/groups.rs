use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
use stockade_types::TaskId;

use super::{Probe, child::in_child, words};
use crate::{
    caps::{Group, JOIN, KernelCaps, hierarchies},
    error::{During, Layer, SandboxError},
    kernel::{self, Fork},
    spec::{Keeper, Limits, MemoryCap},
};

const NAME: &str = "caps on memory and processor";
/// How long a process may take to move itself.
const PATIENCE: Duration = Duration::from_secs(1);
const COST: &str = "memory is watched by a process instead, which ends a task a moment after it has \
                    passed its cap, and `stockade run --cpus` is refused";

/// A group with both caps, and a process in it.
pub(super) fn probe() -> Probe {
    let caps = KernelCaps::find();
    if !caps.memory {
        return Probe::weaker(NAME, nowhere(), COST).fix(fix());
    }
    match in_child(|| make(caps)) {
        Ok(()) if caps.processors => Probe::works(NAME, format!("kept by {}", versions()), COST),
        Ok(()) => Probe::weaker(
            NAME,
            format!(
                "{} keeps the cap on memory, not that on processor time",
                versions()
            ),
            "`stockade run --cpus` is refused",
        )
        .fix(fix()),
        Err(error) => Probe::weaker(NAME, words(&error), COST).fix(fix()),
    }
}

fn make(caps: KernelCaps) -> Result<(), SandboxError> {
    let limits = Limits {
        memory: Some(MemoryCap {
            bytes: 64 << 20,
            keeper: Keeper::Kernel,
        }),
        processor_hundredths: caps.processors.then_some(100),
        ..Limits::default()
    };
    let mut group = Group::create(&TaskId::from_random(0), &limits)
        .during(Layer::Limits, "make a control group")?
        .ok_or(io::ErrorKind::NotFound)
        .map_err(io::Error::from)
        .during(Layer::Limits, "make a control group")?;
    match kernel::fork().during(Layer::Limits, "start a process")? {
        Fork::Child => {
            for door in group.doors() {
                let _ = std::fs::write(door, JOIN);
            }
            loop {
                std::thread::park();
            }
        }
        Fork::Parent(child) => {
            let process = child.as_raw_pid();
            let held = group.hold(process.unsigned_abs());
            let admitted = held.and_then(|()| within(PATIENCE, || group.holds(process)));
            let _ = kill_process(child, Signal::KILL);
            let _ = waitpid(Some(child), WaitOptions::empty());
            admitted.during(Layer::Limits, "move a process into a control group")
        }
    }
}

/// Tries again until it succeeds.
fn within(patience: Duration, mut tried: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match tried() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            outcome => return outcome,
        }
    }
}

/// Which versions of control groups are there.
fn versions() -> &'static str {
    let found = hierarchies();
    let unified = |hierarchy: &crate::caps::Hierarchy| hierarchy.unified;
    match (found.iter().any(unified), found.iter().all(unified)) {
        _ if found.is_empty() => "no cgroup",
        (true, true) => "cgroup v2",
        (true, false) => "cgroup v1, with a v2 hierarchy beside it",
        (false, _) => "cgroup v1",
    }
}

fn nowhere() -> String {
    format!(
        "{}, in which you may make no group with a cap on memory",
        versions()
    )
}

/// How an administrator delegates, where systemd runs.
fn fix() -> Option<String> {
    let fix = "loginctl enable-linger; if that is not enough, sudo mkdir -p /etc/systemd/system/user@.service.d && printf \
     '[Service]\\nDelegate=cpu memory pids\\n' | sudo tee \
     /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log \
     in anew and start Stockade from a terminal of `systemd-run --user --scope`";
    Path::new("/run/systemd/system")
        .exists()
        .then(|| fix.to_owned())
}
