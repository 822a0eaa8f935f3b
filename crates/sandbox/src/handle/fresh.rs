//! Further sandboxes of a task that runs, as the supervisor has them.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{InitChannel, hear, is_capped, watch};
use crate::{
    anchor::{Ask, Told},
    caps::Group,
    channel::Channel,
    error::{During, Layer, SandboxError},
    network::Listeners,
    spec::Isolation,
    verify,
};

/// The way to the anchor, for one question at a time.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) channel: Channel,
    /// A pidfd of each process 1: readable once everything inside is gone.
    pub(super) inits: Vec<OwnedFd>,
    /// Removed after everything inside is gone.
    pub(super) group: Option<Group>,
}

/// Builds further sandboxes of a task that runs; clones build for the same.
#[derive(Clone, Debug)]
pub struct FreshSandboxes(Arc<Mutex<Line>>);

/// A further sandbox of a task, for one command. Dropping it ends everything
/// in it, unless somebody keeps its channel.
#[derive(Debug)]
pub struct FreshSandbox {
    init: InitChannel,
    execs: Option<OwnedFd>,
}

impl Line {
    pub(super) fn ask(&self, ask: &Ask) -> io::Result<(Told, Vec<OwnedFd>)> {
        self.channel.send(&serde_json::to_vec(ask)?, &[])?;
        hear(&self.channel)
    }

    /// Remembers a new process 1, which has to be in the task's group.
    fn admit(&mut self, init: i32) -> Result<(), SandboxError> {
        is_capped(self.group.as_ref(), init)?;
        let ended = watch(init).during(Layer::Processes, "watch process 1")?;
        self.inits.retain(|init| !is_over(init));
        self.inits.push(ended);
        Ok(())
    }
}

impl FreshSandboxes {
    pub(super) fn new(line: Arc<Mutex<Line>>) -> Self {
        Self(line)
    }

    /// Builds one, and checks it from inside and outside. Its network, if it is
    /// a new one, comes with sockets that are to be served.
    ///
    /// # Errors
    /// Names what is missing; nothing of it is left running then.
    pub fn build(
        &self,
        isolation: Isolation,
    ) -> Result<(FreshSandbox, Option<Listeners>), SandboxError> {
        let mut line = lock(&self.0);
        let told = line
            .ask(&Ask::Fresh(isolation))
            .during(Layer::Processes, "hear the anchor")?;
        let (init, descriptors) = match told {
            (Told::Fresh(init), descriptors) => (init, descriptors),
            (Told::Failed(error), _) => return Err(error),
            _ => {
                return Err(io::Error::other("an answer out of turn"))
                    .during(Layer::Processes, "hear the anchor");
            }
        };
        let mut descriptors = descriptors.into_iter();
        let socket = descriptors.next().ok_or(io::ErrorKind::UnexpectedEof);
        let socket = socket.during(Layer::Processes, "take the sandbox over")?;
        // Until it is returned, dropping it ends it.
        let mut sandbox = FreshSandbox {
            init: InitChannel(Arc::new(Channel::from_descriptor(socket))),
            execs: None,
        };
        line.admit(init)?;
        drop(line);
        verify::separate(init)?;
        sandbox.execs = sandbox
            .init
            .ready()
            .during(Layer::Processes, "hear process 1")?;
        Ok((sandbox, Listeners::from_descriptors(descriptors)))
    }
}

impl FreshSandbox {
    /// The channel to its process 1.
    pub fn init(&self) -> &InitChannel {
        &self.init
    }

    /// Where the programs that start in it are seen, if its task's are; for
    /// [`ExecWatch`](crate::ExecWatch), without which none starts.
    pub fn take_execs(&mut self) -> Option<OwnedFd> {
        self.execs.take()
    }
}

pub(super) fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the process of this pidfd has ended.
pub(crate) fn is_over(process: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut events = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut events, Some(&now)), Ok(1))
}
