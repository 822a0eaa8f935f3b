//! A running task and its caps: which it met, and those that its supervisor
//! watches.

mod met;
mod watch;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use stockade_types::Denial;
use stockade_workspace::{INODE_BYTES, allocated};

pub use self::met::{CapMet, Capped, Known};
pub(crate) use self::watch::{Beginning, CapWatch, OwnDisk};
use crate::{contract::Strength, happening::Happening, state::TaskDirectory};

/// How often is looked: 25 times a second.
pub(crate) const EVERY: Duration = Duration::from_millis(40);
/// How often a task's files are looked through although the file system has
/// hardly less room: others may have made room meanwhile.
const LOOK_THROUGH: Duration = Duration::from_secs(5);
/// What a task can fill on the host's disk, in its folder.
const FILLED: [&str; 5] = ["upper", "ws", "btrfs", "home", "agent.git"];

/// Where of that the workspace is, by the way it is made.
const TREES: [&str; 3] = ["upper", "ws", "btrfs"];

/// Tells once a task's files take more of the disk than they may.
///
/// The room that is left on the file system is looked at often; the files
/// themselves only when there is so much less that the task may be over, and
/// now and then.
pub(crate) fn watch_disk(
    task: &TaskDirectory,
    cap: Option<u64>,
    watch: &CapWatch,
    happenings: Sender<Happening>,
) {
    let Some(cap) = cap else {
        return;
    };
    let (task, watch) = (task.path().to_owned(), watch.clone());
    std::thread::spawn(move || {
        let folders: Vec<PathBuf> = FILLED.iter().map(|name| task.join(name)).collect();
        let room = || {
            rustix::fs::statvfs(&task).map_or(0, |found| {
                let blocks = found.f_bfree.saturating_mul(found.f_frsize);
                blocks.saturating_add(found.f_ffree.saturating_mul(INODE_BYTES))
            })
        };
        let first = room();
        // Whoever holds the other end is gone when the task has ended.
        while task.exists() {
            let (before, looked) = (room(), Instant::now());
            let used = used(&folders, first.saturating_sub(before));
            if used > cap {
                let met = CapMet {
                    cap: Capped::Disk,
                    limit: cap,
                    strength: Strength::Watched,
                    known: Known::Seen(used),
                };
                watch.end_for(met.clone());
                let _ = happenings.send(Happening::CapPassed(met));
                return;
            }
            // A long look is not repeated at once.
            let pause = looked.elapsed() * 10;
            std::thread::sleep(pause.min(LOOK_THROUGH));
            while before.saturating_sub(room()) <= cap - used && looked.elapsed() < LOOK_THROUGH {
                std::thread::sleep(EVERY);
            }
        }
    });
}

/// What the workspace in `folder` holds now: equal for equal, and nothing where
/// not all of it can be looked at.
pub(crate) fn content(folder: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for name in TREES {
        let size = allocated(&folder.join(name));
        if !size.complete {
            return None;
        }
        (size.bytes, size.changed).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Bytes that the folders take; where they cannot be looked through, at least
/// what the file system has lost since the start.
fn used(folders: &[PathBuf], lost: u64) -> u64 {
    let sizes: Vec<_> = folders.iter().map(|folder| allocated(folder)).collect();
    let bytes = sizes.iter().map(|size| size.bytes).sum();
    if sizes.iter().all(|size| size.complete) {
        bytes
    } else {
        lost.max(bytes)
    }
}

/// What is said of a task that wanted more than a cap allows.
pub(crate) fn denial(met: &CapMet) -> Denial {
    let verb = match met.cap {
        Capped::Disk => "fill",
        Capped::Processes => "run",
        Capped::OpenFiles => "have",
        _ => "use",
    };
    let twice = |flag: &str| format!("stockade run {flag}{}M …", (met.limit >> 20) * 2);
    Denial {
        what: format!("{verb} more than {}", met.cap.amount(met.limit)),
        rule: met.cap.rule().to_owned(),
        reason: reason(met),
        instead: None,
        allow: match (met.cap, met.strength) {
            (Capped::Memory, _) => Some(twice("--memory ")),
            (Capped::Disk, Strength::Kernel) => Some(twice("--quota hard:")),
            (Capped::Disk, _) => Some(twice("--quota ")),
            _ => None,
        },
    }
}

fn reason(met: &CapMet) -> String {
    match (met.cap, met.strength, met.known) {
        (Capped::Memory, _, Known::Times(_)) => {
            "the kernel ended processes inside when all of them together reached it.".to_owned()
        }
        (_, Strength::Watched, Known::Seen(used)) => format!(
            "it used {} MiB when it was looked at, and everything inside was ended.",
            used >> 20
        ),
        (_, _, Known::Times(times)) => format!("the kernel refused it {times} times."),
        (_, _, Known::Seen(_)) => {
            "as much was seen when it was looked at; what the kernel refused for it nobody counts \
             here."
                .to_owned()
        }
    }
}
