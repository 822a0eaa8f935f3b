//! Programs as they are started inside, seen by seccomp user notification
//! (seccomp_unotify(2)).
//!
//! What is seen is what the caller's memory held when it asked: another thread
//! of it may change that before the kernel reads it again. So nothing is
//! decided here; every call goes on, and what runs is looked up afterwards.

mod memory;
mod notification;

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags, Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
        poll,
    },
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

pub use self::memory::Words;
use self::{memory::Image, notification::Notification};

/// After how long a process that still runs what it ran is taken to go on
/// with that.
const SETTLED: Duration = Duration::from_millis(50);
/// How often is looked at what runs: most programs start within a millisecond,
/// and some have ended in another.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000,
};
/// How many calls are heard at once.
const EVENTS: usize = 16;
/// How many may wait to be looked at.
const UNSETTLED_MAX: usize = 256;

/// Sees every program that starts in the sandboxes given to it. Clones share
/// it.
#[derive(Clone, Debug)]
pub struct ExecWatch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    ready: OwnedFd,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    next: u64,
    known: HashMap<u64, Arc<OwnedFd>>,
}

/// A program that was asked for.
#[derive(Debug)]
pub struct SeenExec {
    /// The process that asked, as the host counts.
    pub process: i32,
    /// What it asked for, as found in its memory; hostile as it may be.
    pub words: Words,
    /// What the process was found running a moment later.
    pub ran: Ran,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// The process runs this executable, as the sandbox names it.
    Program(PathBuf),
    /// It went on with what it ran: the call failed.
    Nothing,
    /// It had ended.
    Ended,
}

/// One whose call went on a moment ago.
#[derive(Debug)]
struct Unsettled {
    seen: SeenExec,
    /// While this is held, the process's number means no other.
    process: OwnedFd,
    /// What it ran when it asked.
    before: Option<Image>,
    since: Instant,
    settled: bool,
}

impl ExecWatch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Watched {
            ready: epoll::create(CreateFlags::CLOEXEC)?,
            listeners: Mutex::default(),
        })))
    }

    /// Sees what starts in the sandbox whose process 1 sent `listener`. Nothing
    /// starts there before [`run`](Self::run) runs.
    pub fn add(&self, listener: OwnedFd) -> io::Result<()> {
        let mut listeners = self.lock();
        let number = listeners.next;
        listeners.next += 1;
        notification::wake_at_once(&listener);
        let flags = EventFlags::IN;
        epoll::add(&self.0.ready, &listener, EventData::new_u64(number), flags)?;
        listeners.known.insert(number, Arc::new(listener));
        Ok(())
    }

    /// Lets every program start, and tells `each` of it in the order in which
    /// they were asked for. Returns once all sandboxes are gone, or when `each`
    /// returns false: then nothing starts any more.
    pub fn run(&self, mut each: impl FnMut(SeenExec) -> bool) -> io::Result<()> {
        let mut unsettled = VecDeque::new();
        loop {
            let over = self.hear(&mut unsettled)?;
            let hurry = over || unsettled.len() > UNSETTLED_MAX;
            while let Some(one) = unsettled.front_mut()
                && one.settle(hurry)
            {
                let told = unsettled.pop_front().is_none_or(|one| each(one.seen));
                if !told {
                    return Ok(());
                }
            }
            if over {
                return Ok(());
            }
        }
    }

    /// Waits for calls and lets them go on; true once every sandbox is gone.
    fn hear(&self, unsettled: &mut VecDeque<Unsettled>) -> io::Result<bool> {
        let mut events = Vec::with_capacity(EVENTS);
        let patience = (!unsettled.is_empty()).then_some(&LOOK);
        match epoll::wait(&self.0.ready, spare_capacity(&mut events), patience) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (number, flags) = (event.data.u64(), event.flags);
            let Some(listener) = self.lock().known.get(&number).cloned() else {
                continue;
            };
            if flags.contains(EventFlags::IN) {
                let Some(new) = see(&listener)? else { continue };
                let same = |old: &&mut Unsettled| old.seen.process == new.seen.process;
                for old in unsettled.iter_mut().filter(same) {
                    old.asked_again(new.before.as_ref());
                }
                unsettled.push_back(new);
            } else {
                // Everything inside has ended.
                epoll::delete(&self.0.ready, &listener)?;
                self.lock().known.remove(&number);
            }
        }
        Ok(self.lock().known.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        let listeners = self.0.listeners.lock();
        listeners.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what a process asks for and lets it go on; `None` if it has ended, or
/// cannot be looked at again because it is ending.
fn see(listener: &OwnedFd) -> io::Result<Option<Unsettled>> {
    let Some(notification) = Notification::receive(listener)? else {
        return Ok(None);
    };
    let thread = notification.thread();
    let words = Words::read(thread, notification.program(), notification.arguments());
    let before = Image::of(thread);
    let process = open(thread).or_else(|| open(memory::leader(thread)?));
    // While it waits it lives, so all of this was about one process.
    if !notification.go_on(listener)? {
        return Ok(None);
    }
    Ok(process.map(|(number, process)| Unsettled {
        seen: SeenExec {
            process: number,
            words,
            ran: Ran::Ended,
        },
        process,
        before,
        since: Instant::now(),
        settled: false,
    }))
}

/// A process by its number; `None` if that is a thread's, or nobody's.
fn open(number: i32) -> Option<(i32, OwnedFd)> {
    let process = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
    Some((number, process))
}

impl Unsettled {
    /// Looks at what runs now; true if that will not change, or if there is no
    /// time to wait for it.
    fn settle(&mut self, hurry: bool) -> bool {
        if self.settled {
            return true;
        }
        let now = Image::of(self.seen.process);
        if is_over(&self.process) {
            self.seen.ran = Ran::Ended;
            return true;
        }
        self.found(now.as_ref());
        self.settled || hurry || self.since.elapsed() >= SETTLED
    }

    /// The process asks for the next program, so it runs what came of this.
    fn asked_again(&mut self, now: Option<&Image>) {
        if !self.settled {
            self.found(now);
            self.settled = true;
        }
    }

    fn found(&mut self, now: Option<&Image>) {
        match now {
            Some(now) if Some(now) != self.before.as_ref() => {
                self.seen.ran = Ran::Program(now.executable.clone());
                self.settled = true;
            }
            Some(_) => self.seen.ran = Ran::Nothing,
            // It is ending.
            None => {}
        }
    }
}

/// Whether the process of this pidfd has ended.
fn is_over(process: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut events = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut events, Some(&now)), Ok(1))
}
