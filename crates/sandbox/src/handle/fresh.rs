//! Further sandboxes of a task that runs, as the supervisor has them.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{InitChannel, hear, is_capped};
use crate::{
    anchor::{Ask, Told},
    caps::Group,
    channel::Channel,
    error::{During, Layer, SandboxError},
    network::Listeners,
    readiness::Readiness,
    spec::Isolation,
    verify,
};

/// The way to the anchor, for one question at a time.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) channel: Channel,
    pub(super) inits: Inits,
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

/// The processes 1 that live, by their pidfds, and those that have ended since the last
/// came.
#[derive(Debug)]
pub(super) struct Inits {
    all: HashMap<i32, OwnedFd>,
    ended: Readiness,
}

impl Inits {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            all: HashMap::new(),
            ended: Readiness::new()?,
        })
    }

    /// Adds one, and lets go of those that have ended, of many at once by and by.
    pub(super) fn add(&mut self, init: i32) -> io::Result<()> {
        let process = Pid::from_raw(init).ok_or(io::ErrorKind::InvalidInput)?;
        let ended = pidfd_open(process, PidfdFlags::empty())?;
        for over in self.ended.now()? {
            self.remove(over)?;
        }
        // Who had the number before has ended meanwhile.
        self.remove(init)?;
        self.ended.add(&ended, init)?;
        self.all.insert(init, ended);
        Ok(())
    }

    fn remove(&mut self, init: i32) -> io::Result<()> {
        match self.all.remove(&init) {
            Some(ended) => self.ended.remove(&ended),
            None => Ok(()),
        }
    }

    /// All of them, once.
    pub(super) fn take(&mut self) -> impl Iterator<Item = OwnedFd> + use<> {
        std::mem::take(&mut self.all).into_values()
    }
}

impl Line {
    pub(super) fn ask(&self, ask: &Ask) -> io::Result<(Told, Vec<OwnedFd>)> {
        self.channel.send(&serde_json::to_vec(ask)?, &[])?;
        hear(&self.channel)
    }

    /// Remembers a new process 1, which has to be in the task's group.
    fn admit(&mut self, init: i32) -> Result<(), SandboxError> {
        is_capped(self.group.as_ref(), init)?;
        self.inits
            .add(init)
            .during(Layer::Processes, "watch process 1")
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
