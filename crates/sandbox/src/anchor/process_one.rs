//! How a process becomes process 1 of a sandbox.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, set_parent_process_death_signal},
    thread::UnshareFlags,
};

use crate::{
    caps::JOIN,
    channel::Channel,
    error::{During, Layer, SandboxError},
    identity,
    inside::INSIDE,
    kernel,
    lockdown::Locks,
    sealed,
    spec::SandboxSpec,
    verify,
};

/// The descriptor at which process 1 finds its socket.
const INIT_SOCKET: i32 = 3;

/// The executable that becomes process 1, where nothing can change it, and what every
/// one of its processes needs; made once, as sandboxes are made many times.
#[derive(Debug)]
pub(super) struct Program {
    file: File,
    arguments: Vec<&'static CStr>,
    locks: Locks,
    /// Where it moves itself into its control groups.
    groups: Vec<File>,
}

/// A process that becomes process 1, or says why not.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) init: Pid,
    socket: Channel,
    answer: OwnedFd,
}

/// The Landlock ABI whose rules hold, and the checks that were made from inside.
pub(super) type Checked = (Option<u32>, Vec<String>);

impl Program {
    pub(super) fn new(spec: &SandboxSpec, groups: Vec<File>) -> Result<Self, SandboxError> {
        let file = sealed::executable("init", INSIDE);
        Ok(Self {
            file: file.during(Layer::Processes, "prepare process 1")?,
            arguments: arguments(spec),
            locks: Locks::new(spec),
            groups,
        })
    }

    /// Starts a process in new `namespaces` that lays out what it will see,
    /// gives up every right, tries what must fail, and becomes process 1.
    pub(super) fn start(
        &self,
        spec: &SandboxSpec,
        namespaces: UnshareFlags,
        lay_out: &dyn Fn() -> Result<(), SandboxError>,
    ) -> Result<Started, SandboxError> {
        let (socket, inside) = Channel::pair().during(Layer::Processes, "make a channel")?;
        let (answer, tell) =
            pipe_with(PipeFlags::CLOEXEC).during(Layer::Processes, "make a pipe")?;
        let child = || {
            let failed = self.become_init(spec, lay_out, &tell).and_then(|()| {
                kernel::keep_only(inside.as_fd(), INIT_SOCKET)
                    .and_then(|()| Err(kernel::execute(&self.file, &self.arguments)))
                    .during(Layer::Processes, "execute process 1")
            });
            let _ = report(&tell, &failed.map(|()| (None, Vec::new())));
        };
        let forked = kernel::fork_sharing_memory(namespaces, &child);
        // The child changed it for both, to write its own maps of ids.
        identity::refuse_dumps()?;
        let init = forked.during(Layer::Namespaces, "start process 1")?;
        Ok(Started {
            init,
            socket,
            answer,
        })
    }

    /// Everything the child does before it executes process 1.
    fn become_init(
        &self,
        spec: &SandboxSpec,
        lay_out: &dyn Fn() -> Result<(), SandboxError>,
        tell: &OwnedFd,
    ) -> Result<(), SandboxError> {
        for group in &self.groups {
            rustix::io::write(group, JOIN).during(Layer::Limits, "join a control group")?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))
            .during(Layer::Processes, "tie process 1 to the anchor")?;
        lay_out()?;
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null");
        let null = null.during(Layer::Files, "open /dev/null")?;
        rustix::stdio::dup2_stdin(&null)
            .and_then(|()| rustix::stdio::dup2_stdout(&null))
            .and_then(|()| rustix::stdio::dup2_stderr(&null))
            .during(Layer::Processes, "let go of the anchor's descriptors")?;
        rustix::process::setsid().during(Layer::Processes, "start a session")?;
        let abi = self.locks.close(spec)?;
        let passed = verify::inside(spec.nested)?;
        report(tell, &Ok((abi, passed))).during(Layer::Processes, "report")
    }
}

impl Started {
    /// Waits until it is process 1, and returns the channel to it.
    pub(super) fn stands(self) -> Result<(Channel, Checked), SandboxError> {
        Ok((self.socket, hear(self.answer)?))
    }
}

/// What process 1 is told when it starts.
fn arguments(spec: &SandboxSpec) -> Vec<&'static CStr> {
    let options = [(spec.nested, c"nested"), (spec.watch_execs, c"watched")];
    let given = options.into_iter().filter(|(given, _)| *given);
    let given = given.map(|(_, option)| option);
    [c"init"].into_iter().chain(given).collect()
}

fn report(tell: &OwnedFd, outcome: &Result<Checked, SandboxError>) -> io::Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    rustix::io::write(tell, &line)?;
    Ok(())
}

/// What the child reported: a second line means that it failed after all.
fn hear(answer: OwnedFd) -> Result<Checked, SandboxError> {
    let mut text = String::new();
    File::from(answer)
        .read_to_string(&mut text)
        .during(Layer::Processes, "hear from process 1")?;
    let last = text.lines().last().ok_or(io::ErrorKind::UnexpectedEof);
    let last = last
        .map_err(io::Error::from)
        .during(Layer::Processes, "hear from process 1")?;
    serde_json::from_str::<Result<Checked, SandboxError>>(last)
        .during(Layer::Processes, "understand process 1")?
}
