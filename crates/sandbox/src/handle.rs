//! The supervisor's side of a sandbox.

mod fresh;
mod sockets;

use std::{
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use self::fresh::{Inits, Line, lock};
pub use self::{
    fresh::{FreshSandbox, FreshSandboxes},
    sockets::InnerSockets,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use stockade_types::wire::{REPLY_SIZE, Reply, Request};

use crate::{
    anchor::{self, Ask, MESSAGE_MAX, Told},
    caps::{CapCounters, Group},
    channel::Channel,
    error::{During, Layer, SandboxError},
    network::Listeners,
    spec::{BuildReport, SandboxSpec},
    verify,
};

/// A running sandbox. Dropping it ends everything inside.
#[derive(Debug)]
pub struct Sandbox {
    anchor: Child,
    line: Arc<Mutex<Line>>,
    init: InitChannel,
    report: BuildReport,
}

/// The channel to process 1; clones share it.
#[derive(Clone, Debug)]
pub struct InitChannel(Arc<Channel>);

/// The argument that makes the `stockade` executable an anchor.
pub const ANCHOR_ARGUMENT: &str = "__anchor";

/// How long the kernel may take to end everything inside. A process that
/// waits for a device cannot be ended before the device answers.
const LONGEST_END: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

impl Sandbox {
    /// Starts an anchor from `program` (an executable that calls
    /// [`anchor::run`] when its argument is [`ANCHOR_ARGUMENT`]) and waits
    /// until the sandbox stands and has been checked.
    ///
    /// # Errors
    /// Names the layer that is missing; nothing is left running then.
    pub fn start(program: &Path, spec: &SandboxSpec) -> Result<(Self, Listeners), SandboxError> {
        let mut group = Group::create(&spec.task, &spec.limits)
            .during(Layer::Limits, "cap memory and processor time")?;
        let (channel, theirs) = Channel::pair().during(Layer::Processes, "make a channel")?;
        let mut anchor = spawn(program, theirs).during(Layer::Processes, "start the anchor")?;
        // Before it starts anything.
        let held = group
            .as_mut()
            .map_or(Ok(()), |group| group.hold(anchor.id()));
        let held = held.during(Layer::Limits, "have the user's systemd cap the sandbox");
        let mut stdin = anchor.stdin.take();
        let sent = stdin
            .as_mut()
            .ok_or(io::ErrorKind::BrokenPipe)
            .map_err(io::Error::from);
        let doors = group.as_ref().map(Group::doors).unwrap_or_default();
        // In one piece: the anchor would be woken for every token.
        let sent = sent.and_then(|stdin| stdin.write_all(&serde_json::to_vec(&(spec, doors))?));
        drop(stdin);
        let told = held.and_then(|()| {
            sent.and_then(|()| hear(&channel))
                .during(Layer::Processes, "hear the anchor")
        });
        let outcome = match told {
            Ok((Told::Built(report), descriptors)) => anchor::take_over(descriptors)
                .ok_or_else(|| io::Error::other("descriptors are missing"))
                .during(Layer::Processes, "take the sandbox over")
                .and_then(|(init, listeners)| {
                    is_capped(group.as_ref(), report.init)?;
                    let seen_outside = verify::outside(report.init, spec)?;
                    let inits = Inits::new()
                        .and_then(|mut inits| inits.add(report.init).map(|()| inits))
                        .during(Layer::Processes, "watch process 1")?;
                    let report = BuildReport {
                        seen_outside,
                        ..report
                    };
                    Ok((report, init, inits, listeners))
                }),
            Ok((Told::Failed(error), _)) | Err(error) => Err(error),
            Ok(_) => Err(io::Error::other("an answer out of turn"))
                .during(Layer::Processes, "hear the anchor"),
        };
        match outcome {
            Ok((report, init, inits, listeners)) => Ok((
                Self {
                    anchor,
                    line: Arc::new(Mutex::new(Line {
                        channel,
                        inits,
                        group,
                    })),
                    init: InitChannel(Arc::new(Channel::from_descriptor(init))),
                    report,
                },
                listeners,
            )),
            Err(error) => {
                let _ = anchor.kill();
                let _ = anchor.wait();
                Err(error)
            }
        }
    }

    /// What was built and checked.
    pub fn report(&self) -> &BuildReport {
        &self.report
    }

    /// The channel to process 1.
    pub fn init(&self) -> &InitChannel {
        &self.init
    }

    /// Where the kernel counts how often caps on everything inside are met.
    pub fn cap_counters(&self) -> CapCounters {
        let line = lock(&self.line);
        line.group.as_ref().map(Group::counters).unwrap_or_default()
    }

    /// Builds further sandboxes of the same task.
    pub fn fresh(&self) -> FreshSandboxes {
        FreshSandboxes::new(Arc::clone(&self.line))
    }

    /// Connects to servers inside.
    pub fn sockets(&self) -> InnerSockets {
        InnerSockets::new(Arc::clone(&self.line))
    }

    /// The process id of the anchor.
    pub fn anchor_id(&self) -> u32 {
        self.anchor.id()
    }

    /// Opens a terminal of the sandbox: the end to hold and the end to give
    /// to an exec.
    pub fn open_terminal(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let (told, descriptors) = lock(&self.line).ask(&Ask::Terminal)?;
        match (told, <[OwnedFd; 2]>::try_from(descriptors)) {
            (Told::Terminal, Ok([outer, inner])) => Ok((outer, inner)),
            (Told::NoTerminal(reason), _) => Err(io::Error::other(reason)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Ends everything inside and waits until it is gone.
    pub fn end(&mut self) {
        // The death of the anchor kills process 1, which ends only after
        // every other process of its pid namespace has (pid_namespaces(7)).
        let _ = self.anchor.kill();
        let _ = self.anchor.wait();
        let mut line = lock(&self.line);
        for ended in line.inits.take() {
            let mut events = [PollFd::new(&ended, PollFlags::IN)];
            while let Err(Errno::INTR) = poll(&mut events, Some(&LONGEST_END)) {}
        }
        line.group = None;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

impl InitChannel {
    /// Asks process 1 for something; an exec brings its descriptors.
    pub fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.send(&request.encode(), descriptors)
    }

    /// Waits until process 1 runs. With its word comes where the programs that
    /// start inside are seen, if they are to be; for
    /// [`ExecWatch`](crate::ExecWatch), without which none starts.
    ///
    /// # Errors
    /// Also if it said something else before.
    pub fn ready(&self) -> io::Result<Option<OwnedFd>> {
        let told = self.0.receive(REPLY_SIZE)?;
        let told = told.ok_or(io::ErrorKind::UnexpectedEof)?;
        let reply = told.bytes.first_chunk().map(Reply::decode);
        if reply != Some(Ok(Reply::Ready)) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(told.descriptors.into_iter().next())
    }

    /// Waits for the next reply; `None` once process 1 is gone.
    pub fn receive(&self) -> io::Result<Option<Reply>> {
        let mut bytes = [0; REPLY_SIZE];
        loop {
            match rustix::net::recv(&self.0, &mut bytes, rustix::net::RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
                Ok((REPLY_SIZE, length)) if length == REPLY_SIZE => {
                    return Reply::decode(&bytes).map(Some).map_err(|error| {
                        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                    });
                }
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for InitChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Refuses a process 1 that is not in the task's group.
fn is_capped(group: Option<&Group>, init: i32) -> Result<(), SandboxError> {
    group
        .map_or(Ok(()), |group| group.holds(init))
        .during(Layer::Limits, "look for process 1 in its group")
}

fn hear(channel: &Channel) -> io::Result<(Told, Vec<OwnedFd>)> {
    let received = channel
        .receive(MESSAGE_MAX)?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((
        serde_json::from_slice(&received.bytes)?,
        received.descriptors,
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the anchor is started here and nowhere else"
)]
fn spawn(program: &Path, channel: Channel) -> io::Result<Child> {
    Command::new(program)
        .arg(ANCHOR_ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(channel.into_descriptor()))
        .spawn()
}
