//! The way to process 1 that clients' threads share with the supervisor's
//! loop: commands start one at a time, not while everything inside stands
//! still, and not after the end.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};
use serde_json::Value;
use stockade_audit::{RecordError, RecorderClient};
use stockade_sandbox::{FreshSandbox, InitChannel};
use stockade_types::{
    Event, EventKind,
    wire::{Exec, ExitStatus, Reply, Request},
};

use super::request::ExecError;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inside: Mutex<Inside>,
    /// The number of the next command.
    next: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Inside {
    /// Gone once the task ends.
    open: Option<Open>,
    paused: bool,
    owned: HashMap<u32, Arc<Slot>>,
    /// Process 1 of each sandbox that is a command's own.
    own: HashMap<u32, InitChannel>,
}

#[derive(Debug)]
struct Open {
    init: InitChannel,
    record: RecorderClient,
}

/// Where a command's owner hears of its end.
#[derive(Debug)]
pub(super) struct Slot {
    wake: Arc<OwnedFd>,
    end: Mutex<Option<End>>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Exited {
        status: ExitStatus,
        cpu_micros: u64,
        peak_kib: u64,
        /// Whether it could have been ended with all that it started.
        tree: bool,
    },
    NotStarted {
        errno: i32,
    },
    /// Everything inside has ended.
    SandboxGone,
}

impl Gate {
    pub(crate) fn new(init: InitChannel, record: RecorderClient) -> Self {
        Self(Arc::new(Shared {
            inside: Mutex::new(Inside {
                open: Some(Open { init, record }),
                paused: false,
                owned: HashMap::new(),
                own: HashMap::new(),
            }),
            next: Arc::default(),
        }))
    }

    /// The count from which commands have their numbers.
    pub(crate) fn numbers(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.0.next)
    }

    /// A number for a command.
    pub(super) fn number(&self) -> u32 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records and starts a command that belongs to a client.
    pub(super) fn start(
        &self,
        exec: Exec,
        descriptors: &[BorrowedFd<'_>],
        wake: &Arc<OwnedFd>,
        body: Value,
    ) -> Result<Arc<Slot>, ExecError> {
        let mut inside = self.lock();
        let open = inside.admit(body)?;
        let id = exec.id;
        let slot = Arc::new(Slot {
            wake: Arc::clone(wake),
            end: Mutex::default(),
        });
        open.init.send(&Request::Exec(exec), descriptors)?;
        inside.owned.insert(id, Arc::clone(&slot));
        Ok(slot)
    }

    /// The same in a sandbox of its own, until [`left`](Self::left).
    pub(super) fn start_in(
        &self,
        sandbox: &FreshSandbox,
        exec: Exec,
        descriptors: &[BorrowedFd<'_>],
        body: Value,
    ) -> Result<(), ExecError> {
        let mut inside = self.lock();
        inside.admit(body)?;
        let id = exec.id;
        sandbox.init().send(&Request::Exec(exec), descriptors)?;
        inside.own.insert(id, sandbox.init().clone());
        Ok(())
    }

    /// The command's own sandbox is used no more.
    pub(super) fn left(&self, id: u32) {
        self.lock().own.remove(&id);
    }

    /// Records the start of something that a running command is told to do.
    pub(super) fn note_start(&self, body: Value) -> Result<(), ExecError> {
        self.lock().admit(body).map(|_| ())
    }

    /// Records a command that the policy does not let start.
    pub(crate) fn note_denied(&self, body: Value) -> Result<(), ExecError> {
        let inside = self.lock();
        let open = inside.open.as_ref().ok_or(ExecError::Ended)?;
        Ok(open.record.post(&Event::new(EventKind::Denied, body))?)
    }

    /// Records how a command ended.
    pub(super) fn note_end(&self, body: Value) -> Result<(), RecordError> {
        match &self.lock().open {
            Some(open) => open.record.post(&Event::new(EventKind::ExecEnded, body)),
            // The end of the task says it.
            None => Ok(()),
        }
    }

    /// Ends a command with everything it started.
    pub(super) fn kill(&self, id: u32) {
        let inside = self.lock();
        if let Some(init) = inside.own.get(&id) {
            let _ = init.send(&Request::EndAll, &[]);
        } else if let Some(open) = &inside.open {
            let _ = open.init.send(&Request::Kill { id }, &[]);
        }
    }

    /// Hands a reply to the owner of its command; false if it has none.
    pub(crate) fn told(&self, reply: &Reply) -> bool {
        let Some((id, end)) = End::told(reply) else {
            return false;
        };
        let slot = self.lock().owned.remove(&id);
        slot.is_some_and(|slot| {
            slot.finish(end);
            true
        })
    }

    /// Lets nothing start any more, and tells every owner that its command
    /// has ended.
    pub(crate) fn close(&self) {
        let mut inside = self.lock();
        inside.open = None;
        inside.own.clear();
        for (_, slot) in inside.owned.drain() {
            slot.finish(End::SandboxGone);
        }
    }

    /// Stops everything inside, or lets it go on.
    pub(crate) fn freeze(&self, freeze: bool) -> io::Result<()> {
        let mut inside = self.lock();
        inside.send(if freeze {
            &Request::Freeze
        } else {
            &Request::Thaw
        })?;
        inside.paused = freeze;
        Ok(())
    }

    /// Whether everything inside stands still.
    pub(crate) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Does something while everything inside stands still.
    pub(crate) fn while_still<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        let inside = self.lock();
        if inside.paused {
            return Ok(action());
        }
        inside.send(&Request::Freeze)?;
        let done = action();
        inside.send(&Request::Thaw)?;
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Records a command that is about to start, if one may.
    fn admit(&self, body: Value) -> Result<&Open, ExecError> {
        if self.paused {
            return Err(ExecError::Paused);
        }
        let open = self.open.as_ref().ok_or(ExecError::Ended)?;
        // It acts on nothing outside the sandbox without the gateway, which
        // waits for the disk; so its own record need not be waited for.
        open.record
            .post(&Event::new(EventKind::ExecStarted, body))?;
        Ok(open)
    }

    /// Asks every process 1.
    fn send(&self, request: &Request) -> io::Result<()> {
        for init in self.own.values() {
            // One that is ending has nothing left to stop.
            let _ = init.send(request, &[]);
        }
        match &self.open {
            Some(open) => open.init.send(request, &[]),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl End {
    /// What a reply says of which command's end.
    pub(super) fn told(reply: &Reply) -> Option<(u32, Self)> {
        match *reply {
            Reply::Ready => None,
            Reply::Failed { id, errno } => Some((id, Self::NotStarted { errno })),
            Reply::Exited {
                id,
                status,
                cpu_micros,
                peak_kib,
                tree,
            } => Some((
                id,
                Self::Exited {
                    status,
                    cpu_micros,
                    peak_kib,
                    tree,
                },
            )),
        }
    }
}

impl Slot {
    /// How the command ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// What an owner waits on for its command's end; it serves one after another.
pub(super) fn wake() -> io::Result<Arc<OwnedFd>> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    Ok(Arc::new(eventfd(0, flags)?))
}

/// Takes the wake-up back.
pub(super) fn awake(wake: &OwnedFd) {
    let _ = rustix::io::read(wake.as_fd(), &mut [0_u8; 8]);
}
