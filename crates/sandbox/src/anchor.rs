//! The anchor: a small process with one thread that owns a sandbox's outer
//! namespaces.
//!
//! It reads the specification from standard input, builds, and over the
//! channel that is its standard output hands the
//! network's listeners and the socket to process 1 to the supervisor, and
//! then only opens terminals, makes sockets, builds further sandboxes beside the first, and
//! waits. When it ends, or the supervisor does,
//! process 1 is killed and everything inside with it; the mounts and
//! namespaces were held by these processes alone.

mod fresh;
mod process_one;

use std::{
    fs::OpenOptions,
    io::{self, Read},
    path::PathBuf,
    time::Instant,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, set_parent_process_death_signal, waitpid,
    },
    pty::OpenptFlags,
    thread::{LinkNameSpaceType, UnshareFlags},
};
use serde::{Deserialize, Serialize};

use self::{fresh::Nursery, process_one::Program};
use crate::{
    channel::Channel,
    error::{During, Layer, SandboxError},
    identity, kernel,
    mounts::Detached,
    network::{self, Listeners},
    readiness::Readiness,
    root,
    sources::Sources,
    spec::{BuildReport, Isolation, SandboxSpec},
};

/// The largest message between anchor and supervisor.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024;
/// The number of the channel among what is waited for; the others are process ids.
const CHANNEL: i32 = 0;
/// The largest specification.
const SPEC_MAX: u64 = 16 << 20;

/// What the supervisor asks of the anchor, one thing at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A terminal of the sandbox.
    Terminal,
    /// A further sandbox of the task.
    Fresh(Isolation),
    /// A TCP socket in the network of the first sandbox.
    Socket {
        /// Of the newer family.
        v6: bool,
    },
}

/// What the anchor tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The sandbox stands. With it come the socket to process 1, the DNS
    /// sockets (UDP, TCP) and the capture listeners.
    Built(BuildReport),
    /// It does not.
    Failed(SandboxError),
    /// The terminal that was asked for: its two ends come along.
    Terminal,
    /// The terminal could not be opened.
    NoTerminal(String),
    /// The socket that was asked for comes along; it is not connected.
    Socket,
    /// The socket could not be made.
    NoSocket(String),
    /// A further sandbox stands, and this is its process 1. With it come the
    /// socket to that and, if its network is new, the sockets of that.
    Fresh(i32),
}

/// The anchor's `main`. Returns when the sandbox is gone.
pub fn run() -> io::Result<()> {
    let channel = Channel::from_descriptor(io::stdout().as_fd().try_clone_to_owned()?);
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let started = Instant::now();
    let built = read_order().and_then(|(spec, doors)| Anchor::build(&spec, &doors, started));
    match built {
        Ok((anchor, report, handover)) => {
            let descriptors: Vec<_> = handover.iter().map(AsFd::as_fd).collect();
            tell(&channel, &Told::Built(report), &descriptors)?;
            drop(handover);
            anchor.wait(&channel)
        }
        Err(error) => tell(&channel, &Told::Failed(error), &[]),
    }
}

fn tell(channel: &Channel, told: &Told, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel.send(&serde_json::to_vec(told)?, descriptors)
}

/// What the sandbox is to be, and the doors of its control groups.
fn read_order() -> Result<(SandboxSpec, Vec<PathBuf>), SandboxError> {
    let mut text = String::new();
    io::stdin()
        .take(SPEC_MAX)
        .read_to_string(&mut text)
        .during(Layer::Processes, "read the specification")?;
    serde_json::from_str(&text).during(Layer::Processes, "read the specification")
}

/// A sandbox that stands.
struct Anchor {
    init: Pid,
    /// A pidfd of process 1: readable once it has ended.
    ended: OwnedFd,
    terminals: Detached,
    /// The network of the first sandbox; the anchor itself moves about.
    network: OwnedFd,
    nursery: Nursery,
}

/// What all sandboxes of a task begin in.
const OUTER: UnshareFlags = UnshareFlags::NEWNS
    .union(UnshareFlags::NEWNET)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWCGROUP);

impl Anchor {
    fn build(
        spec: &SandboxSpec,
        doors: &[PathBuf],
        started: Instant,
    ) -> Result<(Self, BuildReport, Vec<OwnedFd>), SandboxError> {
        // As whoever made the groups.
        let groups = doors.iter().map(|door| {
            let file = OpenOptions::new().write(true).open(door);
            file.during(Layer::Limits, "open a control group")
        });
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let sources = if let Some(identity) = spec.identity {
            // As root: sources that only root may reach are taken first.
            let map = identity::owner_map(identity)?;
            let sources = Sources::collect(spec, Some(&map))?;
            identity::assume(identity)?;
            identity::enter_user_namespace(identity, OUTER)?;
            root::make_private()?;
            sources
        } else {
            identity::enter_user_namespace(identity::current(), OUTER)?;
            root::make_private()?;
            Sources::collect(spec, None)?
        };
        rustix::system::sethostname(b"stockade").during(Layer::Namespaces, "set the host name")?;
        let (listeners, capture) = network::set_up()?;
        let network =
            fresh::namespace("/proc/self/ns/net").during(Layer::Network, "keep the network")?;
        let mounts = sources.lay_over()?;
        let terminals = root::new_terminals()?;
        let program = Program::new(spec, groups)?;
        let first = program.start(spec, UnshareFlags::NEWPID, &|| {
            kernel::unshare(UnshareFlags::NEWNS)
                .during(Layer::Namespaces, "make a mount namespace")?;
            root::build(spec, &mounts, &terminals)
        })?;
        drop(mounts);
        let init = first.init;
        let (socket, (landlock_abi, checked_inside)) = first.stands()?;
        let ended =
            pidfd_open(init, PidfdFlags::empty()).during(Layer::Processes, "watch process 1")?;
        identity::refuse_dumps()?;
        if let Some(seconds) = spec.limits.seconds {
            // Its end is the end of process 1, and so of everything inside.
            kernel::end_after(seconds);
        }
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let report = BuildReport {
            init: init.as_raw_pid(),
            capture,
            landlock_abi,
            checked_inside,
            seen_outside: Vec::new(),
            micros,
        };
        Ok((
            Self {
                nursery: Nursery::new(spec, init, program),
                init,
                ended,
                terminals,
                network,
            },
            report,
            hand_over(socket, listeners),
        ))
    }

    /// Does what the supervisor asks for until it or process 1 is gone.
    fn wait(mut self, channel: &Channel) -> io::Result<()> {
        let init = self.init.as_raw_pid();
        let watched = Readiness::new()?;
        watched.add(channel, CHANNEL)?;
        watched.add(&self.ended, init)?;
        loop {
            let ready = watched.wait()?;
            if ready.contains(&init) {
                let _ = waitpid(Some(self.init), WaitOptions::empty());
                return Ok(());
            }
            for further in &ready {
                self.nursery.reap(*further, &watched)?;
            }
            if ready.contains(&CHANNEL) {
                let Ok(Some(asked)) = channel.receive(MESSAGE_MAX) else {
                    return self.kill();
                };
                match serde_json::from_slice(&asked.bytes)? {
                    Ask::Terminal => self.open_terminal(channel)?,
                    Ask::Fresh(isolation) => self.nursery.build(isolation, channel, &watched)?,
                    Ask::Socket { v6 } => self.make_socket(v6, channel)?,
                }
            }
        }
    }

    fn open_terminal(&self, channel: &Channel) -> io::Result<()> {
        let open = || -> io::Result<(OwnedFd, OwnedFd)> {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let outer =
                rustix::fs::openat(self.terminals.descriptor(), "ptmx", flags, Mode::empty())?;
            rustix::pty::unlockpt(&outer)?;
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let inner = rustix::pty::ioctl_tiocgptpeer(&outer, flags)?;
            Ok((outer, inner))
        };
        match open() {
            Ok((outer, inner)) => tell(channel, &Told::Terminal, &[outer.as_fd(), inner.as_fd()]),
            Err(error) => tell(channel, &Told::NoTerminal(error.to_string()), &[]),
        }
    }

    /// A socket belongs to the network in which it was made, whoever uses it.
    fn make_socket(&self, v6: bool, channel: &Channel) -> io::Result<()> {
        let family = if v6 {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let made = fresh::enter(self.network.as_fd(), LinkNameSpaceType::Network).and_then(|()| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(socket_with(family, SocketType::STREAM, flags, None)?)
        });
        match made {
            Ok(socket) => tell(channel, &Told::Socket, &[socket.as_fd()]),
            Err(error) => tell(channel, &Told::NoSocket(error.to_string()), &[]),
        }
    }

    fn kill(&self) -> io::Result<()> {
        let _ = rustix::process::kill_process(self.init, Signal::KILL);
        waitpid(Some(self.init), WaitOptions::empty())?;
        Ok(())
    }
}

fn hand_over(socket: Channel, listeners: Listeners) -> Vec<OwnedFd> {
    let mut descriptors = vec![socket.into_descriptor()];
    descriptors.extend(listeners.into_descriptors());
    descriptors
}

/// What the supervisor gets from [`hand_over`].
pub(crate) fn take_over(descriptors: Vec<OwnedFd>) -> Option<(OwnedFd, Listeners)> {
    let mut descriptors = descriptors.into_iter();
    let socket = descriptors.next()?;
    Some((socket, Listeners::from_descriptors(descriptors)?))
}
