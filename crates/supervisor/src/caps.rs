//! A running task and the caps that its supervisor watches.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use stockade_sandbox::{Keeper, MemoryCap, Sandbox, caps::memory_used};
use stockade_types::Denial;
use stockade_workspace::{INODE_BYTES, allocated};

use crate::{happening::Happening, state::TaskDirectory};

/// How often is looked: 25 times a second.
const EVERY: Duration = Duration::from_millis(40);
/// How often a task's files are looked through although the file system has
/// hardly less room: others may have made room meanwhile.
const LOOK_THROUGH: Duration = Duration::from_secs(5);
/// What a task can fill on the host's disk, in its folder.
const FILLED: [&str; 5] = ["upper", "ws", "btrfs", "home", "agent.git"];

/// Tells once everything inside together uses more memory than it may, if that
/// is not the kernel's part.
pub(crate) fn watch_memory(
    sandbox: &Sandbox,
    cap: Option<MemoryCap>,
    happenings: Sender<Happening>,
) {
    let Some(cap) = cap.filter(|cap| cap.keeper == Keeper::Watched) else {
        return;
    };
    // All of the task's sandboxes descend from it; it is small itself.
    let anchor = i32::try_from(sandbox.anchor_id()).unwrap_or(i32::MAX);
    std::thread::spawn(move || {
        loop {
            match memory_used(anchor) {
                // The sandbox is gone.
                0 => return,
                used if used > cap.bytes => {
                    let denial = memory_denial(cap.bytes, Some(used));
                    let _ = happenings.send(Happening::CapPassed(denial));
                    return;
                }
                _ => std::thread::sleep(EVERY),
            }
        }
    });
}

/// Where of that the workspace is, by the way it is made.
const TREES: [&str; 3] = ["upper", "ws", "btrfs"];

/// Tells once a task's files take more of the disk than they may.
///
/// The room that is left on the file system is looked at often; the files
/// themselves only when there is so much less that the task may be over, and
/// now and then.
pub(crate) fn watch_disk(task: &TaskDirectory, cap: Option<u64>, happenings: Sender<Happening>) {
    let Some(cap) = cap else {
        return;
    };
    let task = task.path().to_owned();
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
                let _ = happenings.send(Happening::CapPassed(disk_denial(cap, used)));
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

/// What is said of a task that wanted more memory than its cap. `used` is what
/// it had when it was seen, where nobody could hold it.
pub(crate) fn memory_denial(cap: u64, used: Option<u64>) -> Denial {
    let reason = match used {
        Some(used) => seen(used),
        None => {
            "the kernel ended processes inside when all of them together reached it.".to_owned()
        }
    };
    Denial {
        what: format!("use more than {} of memory", mebibytes(cap)),
        rule: "limits.memory".to_owned(),
        reason,
        instead: None,
        allow: Some(format!("stockade run --memory {}M …", (cap >> 20) * 2)),
    }
}

fn disk_denial(cap: u64, used: u64) -> Denial {
    Denial {
        what: format!("fill more than {} of the disk", mebibytes(cap)),
        rule: "limits.disk".to_owned(),
        reason: seen(used),
        instead: None,
        allow: Some(format!("stockade run --quota {}M …", (cap >> 20) * 2)),
    }
}

fn seen(used: u64) -> String {
    let used = mebibytes(used);
    format!("it used {used} when it was looked at, and everything inside was ended.")
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
