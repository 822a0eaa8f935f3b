//! The anchor: a small process with one thread that owns a sandbox's outer
//! namespaces.
//!
//! It reads the specification from standard input, builds, and over the
//! channel that is its standard output hands the
//! network's listeners and the socket to process 1 to the supervisor, and
//! then only opens terminals and waits. When it ends, or the supervisor does,
//! process 1 is killed and everything inside with it; the mounts and
//! namespaces were held by these processes alone.

use std::{
    io::{self, Read},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    process::{
        DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, set_dumpable_behavior,
        set_parent_process_death_signal, waitpid,
    },
    pty::OpenptFlags,
    thread::UnshareFlags,
};
use serde::{Deserialize, Serialize};

use crate::{
    channel::Channel,
    error::{During, Layer, SandboxError},
    identity,
    kernel::{self, Fork},
    lockdown,
    mounts::Detached,
    network::{self, Listeners},
    root, sealed,
    sources::{Mounts, Sources},
    spec::{BuildReport, SandboxSpec},
    verify,
};

/// The descriptor at which process 1 finds its socket.
const INIT_SOCKET: i32 = 3;
/// The largest message between anchor and supervisor.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024;
/// The largest specification.
const SPEC_MAX: u64 = 16 << 20;

/// What the anchor tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Process 1 has this number and is building the rest.
    Forked(i32),
    /// The sandbox stands. With it come the socket to process 1, the DNS
    /// sockets (UDP, TCP) and the capture listeners.
    Built(BuildReport),
    /// It does not.
    Failed(SandboxError),
    /// The terminal that was asked for: its two ends come along.
    Terminal,
    /// The terminal could not be opened.
    NoTerminal(String),
}

/// The executable that becomes process 1.
static INSIDE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stockade-inside"));

/// The anchor's `main`. Returns when the sandbox is gone.
pub fn run() -> io::Result<()> {
    let channel = Channel::from_descriptor(io::stdout().as_fd().try_clone_to_owned()?);
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let started = Instant::now();
    let built = read_spec().and_then(|spec| Anchor::build(&spec, started, &channel));
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

fn tell(
    channel: &Channel,
    told: &Told,
    descriptors: &[rustix::fd::BorrowedFd<'_>],
) -> io::Result<()> {
    channel.send(&serde_json::to_vec(told)?, descriptors)
}

fn read_spec() -> Result<SandboxSpec, SandboxError> {
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
}

const OUTER: UnshareFlags = UnshareFlags::NEWNS
    .union(UnshareFlags::NEWNET)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWCGROUP)
    .union(UnshareFlags::NEWPID);

impl Anchor {
    fn build(
        spec: &SandboxSpec,
        started: Instant,
        channel: &Channel,
    ) -> Result<(Self, BuildReport, Vec<OwnedFd>), SandboxError> {
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
        let mounts = sources.lay_over()?;
        let terminals = Detached::new(
            "devpts",
            &[("ptmxmode", Some("0666")), ("mode", Some("0620"))],
            libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        )
        .during(Layer::Files, "make a terminal file system")?;
        let program =
            sealed::executable("init", INSIDE).during(Layer::Processes, "prepare process 1")?;
        let (socket, inside) = Channel::pair().during(Layer::Processes, "make a channel")?;
        let (answer, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .during(Layer::Processes, "make a pipe")?;

        let init = match kernel::fork().during(Layer::Processes, "start process 1")? {
            Fork::Child => {
                let outcome = become_init(spec, &mounts, &terminals, &tell);
                let failed = outcome.and_then(|()| {
                    kernel::keep_only(inside.as_fd(), INIT_SOCKET)
                        .and_then(|()| Err(kernel::execute(&program, c"init")))
                        .during(Layer::Processes, "execute process 1")
                });
                let _ = report(&tell, &failed.map(|()| (0, Vec::new())));
                kernel::exit_now(1)
            }
            Fork::Parent(init) => init,
        };
        drop((mounts, inside, tell, program));
        self::tell(channel, &Told::Forked(init.as_raw_pid()), &[])
            .during(Layer::Processes, "tell of process 1")?;
        let (landlock_abi, checked_inside) = hear(answer)?;
        let ended =
            pidfd_open(init, PidfdFlags::empty()).during(Layer::Processes, "watch process 1")?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .during(Layer::Processes, "hide the anchor")?;
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
                init,
                ended,
                terminals,
            },
            report,
            hand_over(socket, listeners),
        ))
    }

    /// Opens terminals until the supervisor or process 1 is gone.
    fn wait(&self, channel: &Channel) -> io::Result<()> {
        loop {
            let (supervisor, init) = {
                let mut events = [
                    PollFd::new(channel, PollFlags::IN),
                    PollFd::new(&self.ended, PollFlags::IN),
                ];
                match poll(&mut events, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
                (
                    !events[0].revents().is_empty(),
                    !events[1].revents().is_empty(),
                )
            };
            if init {
                let _ = waitpid(Some(self.init), WaitOptions::empty());
                return Ok(());
            }
            if supervisor {
                match channel.receive(MESSAGE_MAX) {
                    Ok(Some(_)) => self.open_terminal(channel)?,
                    _ => return self.kill(),
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

    fn kill(&self) -> io::Result<()> {
        let _ = rustix::process::kill_process(self.init, Signal::KILL);
        waitpid(Some(self.init), WaitOptions::empty())?;
        Ok(())
    }
}

fn hand_over(socket: Channel, listeners: Listeners) -> Vec<OwnedFd> {
    let mut descriptors = vec![
        socket.into_descriptor(),
        listeners.dns_udp.into(),
        listeners.dns_tcp.into(),
    ];
    descriptors.extend(listeners.tcp.into_iter().map(OwnedFd::from));
    descriptors
}

/// What the supervisor gets from [`hand_over`].
pub(crate) fn take_over(descriptors: Vec<OwnedFd>) -> Option<(OwnedFd, Listeners)> {
    let mut descriptors = descriptors.into_iter();
    let (socket, udp, tcp) = (
        descriptors.next()?,
        descriptors.next()?,
        descriptors.next()?,
    );
    let listeners = Listeners {
        dns_udp: udp.into(),
        dns_tcp: tcp.into(),
        tcp: descriptors.map(Into::into).collect(),
    };
    Some((socket, listeners))
}

/// Everything the child does before it executes process 1.
fn become_init(
    spec: &SandboxSpec,
    mounts: &Mounts,
    terminals: &Detached,
    tell: &OwnedFd,
) -> Result<(), SandboxError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .during(Layer::Processes, "tie process 1 to the anchor")?;
    kernel::unshare(UnshareFlags::NEWNS).during(Layer::Namespaces, "make a mount namespace")?;
    root::build(spec, mounts, terminals)?;
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
    let abi = lockdown::lock(spec)?;
    let passed = verify::inside()?;
    report(tell, &Ok((abi, passed))).during(Layer::Processes, "report")
}

type ChildReport = Result<(u32, Vec<String>), SandboxError>;

fn report(tell: &OwnedFd, outcome: &ChildReport) -> io::Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    rustix::io::write(tell, &line)?;
    Ok(())
}

/// What the child reported: a second line means that it failed after all.
fn hear(answer: OwnedFd) -> ChildReport {
    let mut text = String::new();
    std::fs::File::from(answer)
        .read_to_string(&mut text)
        .during(Layer::Processes, "hear from process 1")?;
    let last = text.lines().last().ok_or(io::ErrorKind::UnexpectedEof);
    let last = last
        .map_err(io::Error::from)
        .during(Layer::Processes, "hear from process 1")?;
    serde_json::from_str::<ChildReport>(last).during(Layer::Processes, "understand process 1")?
}
