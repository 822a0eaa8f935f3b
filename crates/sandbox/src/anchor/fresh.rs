//! Further sandboxes of a running task, for one command each.
//!
//! Each begins with a copy of the first one's mounts and gets a `/proc`,
//! scratch folders, terminals, processes and shared memory of its own. Nothing
//! of one is used for another but a network namespace that nobody is in any
//! more, of which there may be one for each that stands.

use std::{io, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags},
    process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

use super::{Told, process_one::Program, tell};
use crate::{
    channel::Channel,
    error::{During, Layer, SandboxError},
    kernel,
    mounts::{Detached, find},
    network::{self, Listeners},
    readiness::Readiness,
    root,
    spec::{INSIDE_HOME, Isolation, SandboxSpec},
};

/// What the further sandboxes of a task are made of.
pub(super) struct Nursery {
    spec: SandboxSpec,
    /// Process 1 of the first one, whose mounts are copied.
    first: Pid,
    program: Program,
    children: Vec<Child>,
    /// Network namespaces that nobody is in.
    free: Vec<Network>,
}

/// A sandbox that stands, or has ended and is not reaped yet.
struct Child {
    init: Pid,
    /// Readable once it has ended.
    ended: OwnedFd,
    network: Network,
}

/// A network namespace, kept by its descriptor.
struct Network {
    isolation: Isolation,
    namespace: OwnedFd,
    /// Its sockets, until they have been handed over to be served.
    listeners: Option<Listeners>,
}

impl Nursery {
    pub(super) fn new(spec: &SandboxSpec, first: Pid, program: Program) -> Self {
        Self {
            spec: spec.clone(),
            first,
            program,
            children: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Lets go of the one whose process 1 is `init`, if it has ended; its network is free
    /// again.
    pub(super) fn reap(&mut self, init: i32, watched: &Readiness) -> io::Result<()> {
        let mut children = self.children.iter().enumerate();
        let Some((index, child)) = children.find(|(_, child)| child.init.as_raw_pid() == init)
        else {
            return Ok(());
        };
        if matches!(waitpid(Some(child.init), WaitOptions::NOHANG), Ok(None)) {
            return Ok(());
        }
        let child = self.children.swap_remove(index);
        watched.remove(&child.ended)?;
        self.free.push(child.network);
        Ok(())
    }

    /// Builds one and tells what became of it; `watched` tells when it has ended.
    pub(super) fn build(
        &mut self,
        isolation: Isolation,
        channel: &Channel,
        watched: &Readiness,
    ) -> io::Result<()> {
        match self.try_build(isolation, watched) {
            Ok((init, socket, listeners)) => {
                let mut descriptors = vec![socket.into_descriptor()];
                descriptors.extend(listeners.map_or_else(Vec::new, Listeners::into_descriptors));
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                tell(channel, &Told::Fresh(init.as_raw_pid()), &descriptors)
            }
            Err(error) => tell(channel, &Told::Failed(error), &[]),
        }
    }

    fn try_build(
        &mut self,
        isolation: Isolation,
        watched: &Readiness,
    ) -> Result<(Pid, Channel, Option<Listeners>), SandboxError> {
        let network = self.enter_network(isolation)?;
        let mounts = namespace(&format!("/proc/{}/ns/mnt", self.first.as_raw_pid()))
            .during(Layer::Namespaces, "find the mounts to copy")?;
        let namespaces = UnshareFlags::NEWPID | UnshareFlags::NEWIPC;
        let spec = &self.spec;
        let started = self.program.start(spec, namespaces, &|| {
            enter(mounts.as_fd(), LinkNameSpaceType::Mount)
                .and_then(|()| kernel::unshare(UnshareFlags::NEWNS))
                .during(Layer::Namespaces, "copy the mounts")?;
            lay_out(spec, isolation)
        })?;
        let init = started.init;
        let ended =
            pidfd_open(init, PidfdFlags::empty()).during(Layer::Processes, "watch process 1")?;
        let watching = watched.add(&ended, init.as_raw_pid());
        self.children.push(Child {
            init,
            ended,
            network,
        });
        watching.during(Layer::Processes, "watch process 1")?;
        let (socket, _) = started.stands()?;
        let newest = self.children.last_mut();
        let listeners = newest.and_then(|child| child.network.listeners.take());
        Ok((init, socket, listeners))
    }

    /// Enters a network that nobody is in, a new one if there is none.
    fn enter_network(&mut self, isolation: Isolation) -> Result<Network, SandboxError> {
        let mut free = self.free.iter();
        if let Some(index) = free.position(|network| network.isolation == isolation) {
            let network = self.free.swap_remove(index);
            enter(network.namespace.as_fd(), LinkNameSpaceType::Network)
                .during(Layer::Network, "enter a network")?;
            return Ok(network);
        }
        kernel::unshare(UnshareFlags::NEWNET).during(Layer::Network, "make a network")?;
        let listeners = if isolation.has_network() {
            Some(network::set_up()?.0)
        } else {
            network::set_up_closed().map(|()| None)?
        };
        let namespace =
            namespace("/proc/self/ns/net").during(Layer::Network, "keep the network")?;
        Ok(Network {
            isolation,
            namespace,
            listeners,
        })
    }
}

pub(super) fn namespace(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

pub(super) fn enter(namespace: BorrowedFd<'_>, kind: LinkNameSpaceType) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(kind))?)
}

/// Lays what each sandbox has for itself over a copy of the first one's mounts.
/// What was granted below a scratch folder is there too.
///
/// Taking the old ones off first would make the kernel wait for all processors,
/// five times; nobody inside can.
fn lay_out(spec: &SandboxSpec, isolation: Isolation) -> Result<(), SandboxError> {
    let root = root::open_directory(Path::new("/")).during(Layer::Files, "open the root")?;
    let granted = granted_in_scratch(&root, spec)?;
    for (path, mode) in root::SCRATCH {
        let scratch = root::scratch(path, mode, spec.limits)?;
        root::place(&root, &scratch, Path::new(path))?;
    }
    for (path, mount) in granted {
        root::place(&root, &mount, path)?;
    }
    if !isolation.has_home() {
        let home = root::scratch(INSIDE_HOME, "0700", spec.limits)?;
        root::place(&root, &home, Path::new(INSIDE_HOME))?;
    }
    if !isolation.changes_workspace() {
        root::make_read_only(&root, &spec.workspace.target)?;
    }
    root::place(&root, &root::new_terminals()?, Path::new("/dev/pts"))?;
    root::place_proc(&root, &root::new_proc()?, spec.nested)
}

/// Copies of what was granted below scratch folders, with what lies below it.
fn granted_in_scratch<'a>(
    root: &OwnedFd,
    spec: &'a SandboxSpec,
) -> Result<Vec<(&'a Path, Detached)>, SandboxError> {
    let mut granted: Vec<(&Path, Detached)> = Vec::new();
    let targets = spec.grants.iter().map(|grant| &*grant.target);
    for target in targets.filter(|target| {
        let mut scratch = root::SCRATCH.iter();
        scratch.any(|(path, _)| target.starts_with(path))
    }) {
        let step = || format!("copy {}", target.display());
        let found = find(root, target).during(Layer::Files, step())?;
        let mount = Detached::clone_of_descriptor(found, 0).during(Layer::Files, step())?;
        granted.push((target, mount));
    }
    granted.sort_by_key(|(target, _)| *target);
    Ok(granted)
}
