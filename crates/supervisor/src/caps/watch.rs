//! What is known of the caps that a task meets: by the kernel's counts, and by
//! looking.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

use stockade_sandbox::{
    Keeper, Limits, Sandbox,
    caps::{CapCounters, CapCounts, usage},
};

use super::{
    EVERY,
    met::{CapMet, Capped, Known},
};
use crate::{contract::Strength, happening::Happening};

/// How often is looked while no command's owner waits and nothing must be
/// ended in time.
const NOW_AND_THEN: Duration = Duration::from_secs(1);
/// For how long nobody looks after a look, in its own durations, up to
/// [`NOW_AND_THEN`].
const REST: u32 = 10;
/// With how many processes fewer than the cap it counts as reached: they come
/// and go while they are counted.
const NEARLY: u64 = 16;
/// With how many caps on open files that were reached all are forgotten.
const FILE_CAPS_MAX: usize = 1024;
/// With how much room less a disk counts as full.
const ROOM_LEFT: u64 = 1 << 20;
const FILES_LEFT: u64 = 16;

/// See the module's documentation. Clones share it.
#[derive(Clone)]
pub(crate) struct CapWatch(Arc<Shared>);

struct Shared {
    limits: Limits,
    disk: Option<OwnDisk>,
    counters: CapCounters,
    /// All of the task's sandboxes descend from it.
    anchor: i32,
    seen: Mutex<Seen>,
    /// Held by who looks; a look at many processes takes its time.
    looking: Mutex<()>,
}

/// A disk that is the task's own.
pub(crate) struct OwnDisk {
    /// Where it is mounted.
    pub(crate) at: PathBuf,
    /// How large it may be.
    pub(crate) bytes: u64,
}

#[derive(Default)]
struct Seen {
    /// The last counts; the kernel tells none when the sandbox is gone.
    counts: CapCounts,
    /// Before then nobody looks again.
    rest: Option<Instant>,
    /// Bytes, when it was looked at last.
    memory: Option<u64>,
    /// When as many processes were seen as there may be, and how many.
    processes: Option<(Instant, u64)>,
    /// When a process was seen to have as many open files as it may, by its cap.
    open_files: BTreeMap<u64, Instant>,
    /// What the task is being ended for.
    ended: Option<CapMet>,
}

/// Where a command begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    counts: CapCounts,
    at: Instant,
}

impl CapWatch {
    pub(crate) fn new(sandbox: &Sandbox, limits: Limits, disk: Option<OwnDisk>) -> Self {
        Self(Arc::new(Shared {
            limits,
            disk,
            counters: sandbox.cap_counters(),
            // Far below the largest number of a process.
            anchor: i32::try_from(sandbox.anchor_id()).unwrap_or(i32::MAX),
            seen: Mutex::default(),
            looking: Mutex::default(),
        }))
    }

    /// The caps on everything inside.
    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// From now on.
    pub(crate) fn begin(&self) -> Beginning {
        Beginning {
            counts: self.counts(),
            at: Instant::now(),
        }
    }

    /// The caps that were met since then, by whoever it was; of those on open files
    /// the sandbox's, and the command's `own`.
    pub(crate) fn met(&self, since: &Beginning, own_files: Option<u64>) -> Vec<CapMet> {
        let limits = &self.0.limits;
        let counts = self.counts();
        let times = |now: Option<u64>, before: Option<u64>| {
            let times = now?.saturating_sub(before.unwrap_or_default());
            (times > 0).then_some(Known::Times(times))
        };
        let by_kernel = |cap, limit: Option<u64>, known: Option<Known>| {
            Some(CapMet {
                cap,
                limit: limit?,
                strength: Strength::Kernel,
                known: known?,
            })
        };
        let seen = self.lock();
        let processes = times(counts.processes, since.counts.processes).or_else(|| {
            let (_, count) = seen.processes.filter(|(at, _)| *at >= since.at)?;
            Some(Known::Seen(count))
        });
        let counted = [
            by_kernel(
                Capped::Memory,
                limits.memory.map(|cap| cap.bytes),
                times(counts.memory, since.counts.memory),
            ),
            by_kernel(Capped::Processes, Some(limits.processes), processes),
            by_kernel(
                Capped::Processors,
                limits.processor_hundredths.map(u64::from),
                times(counts.processors, since.counts.processors),
            ),
            self.0.disk.as_ref().and_then(OwnDisk::full),
        ];
        let own = own_files.filter(|own| *own < limits.open_files);
        let files = [Some(limits.open_files), own].into_iter().flatten();
        let files = files.filter(|cap| seen.open_files.get(cap).is_some_and(|at| *at >= since.at));
        let files =
            files.filter_map(|cap| by_kernel(Capped::OpenFiles, Some(cap), Some(Known::Seen(cap))));
        let ended = seen.ended.clone().into_iter();
        counted
            .into_iter()
            .flatten()
            .chain(files)
            .chain(ended)
            .collect()
    }

    /// What the task is being ended for, if that is a cap.
    pub(crate) fn ended(&self) -> Option<CapMet> {
        self.lock().ended.clone()
    }

    /// The task is about to be ended for this.
    pub(super) fn end_for(&self, met: CapMet) {
        self.lock().ended = Some(met);
    }

    /// Looks at what runs inside, unless somebody does or has just done so;
    /// returns how much memory it used at the last look.
    pub(crate) fn look(&self) -> Option<u64> {
        let Ok(_looking) = self.0.looking.try_lock() else {
            return self.lock().memory;
        };
        let started = Instant::now();
        let seen = self.lock();
        if seen.rest.is_some_and(|rest| started < rest) {
            return seen.memory;
        }
        drop(seen);
        let usage = usage(self.0.anchor);
        let now = Instant::now();
        let mut seen = self.lock();
        let rest = started.elapsed() * REST;
        seen.rest = Some(now + rest.clamp(EVERY / 2, NOW_AND_THEN));
        seen.memory = Some(usage.memory);
        if usage.threads + NEARLY >= self.0.limits.processes {
            seen.processes = Some((now, usage.threads));
        }
        if seen.open_files.len() >= FILE_CAPS_MAX {
            // Programs inside can give themselves as many lower ones as they like.
            seen.open_files.clear();
        }
        let caps = usage.open_files.into_iter();
        seen.open_files.extend(caps.map(|cap| (cap, now)));
        seen.memory
    }

    fn counts(&self) -> CapCounts {
        let now = self.0.counters.read();
        let counts = &mut self.lock().counts;
        *counts = CapCounts {
            memory: now.memory.or(counts.memory),
            processes: now.processes.or(counts.processes),
            processors: now.processors.or(counts.processors),
        };
        *counts
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for as long as the sandbox stands: tells when a cap was met, and
    /// when the task must be ended because it uses more memory than it may and
    /// the kernel does not keep that.
    pub(crate) fn start(&self, happenings: Sender<Happening>) {
        let watched = self.0.limits.memory;
        let watched = watched.filter(|cap| cap.keeper == Keeper::Watched);
        let watch = self.clone();
        std::thread::spawn(move || {
            let beginning = watch.begin();
            let mut told = Vec::new();
            loop {
                let used = watch.look().unwrap_or(1);
                if used == 0 {
                    // The sandbox is gone.
                    return;
                }
                if let Some(cap) = watched.filter(|cap| used > cap.bytes) {
                    let met = CapMet {
                        cap: Capped::Memory,
                        limit: cap.bytes,
                        strength: Strength::Watched,
                        known: Known::Seen(used),
                    };
                    watch.end_for(met.clone());
                    let _ = happenings.send(Happening::CapPassed(met));
                    return;
                }
                let met = watch.met(&beginning, None);
                if met != told {
                    told = met;
                    if happenings.send(Happening::CapMet).is_err() {
                        return;
                    }
                }
                std::thread::sleep(watched.map_or(NOW_AND_THEN, |_| EVERY));
            }
        });
    }
}

impl OwnDisk {
    /// That it is full, if it is.
    fn full(&self) -> Option<CapMet> {
        let found = rustix::fs::statvfs(&self.at).ok()?;
        let room = found.f_bavail.saturating_mul(found.f_frsize);
        let is_full = room < ROOM_LEFT || found.f_ffree < FILES_LEFT;
        is_full.then_some(CapMet {
            cap: Capped::Disk,
            limit: self.bytes,
            strength: Strength::Kernel,
            known: Known::Seen(self.bytes.saturating_sub(room)),
        })
    }
}
