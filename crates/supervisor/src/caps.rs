//! A running task and its cap on memory.

use std::{sync::mpsc::Sender, time::Duration};

use stockade_sandbox::{Keeper, MemoryCap, Sandbox, caps::memory_used};
use stockade_types::Denial;

use crate::happening::Happening;

/// How often memory is looked at where the kernel does not cap it: 25 times a
/// second.
const EVERY: Duration = Duration::from_millis(40);

/// Tells once everything inside together uses more than it may, if that is not
/// the kernel's part.
pub(crate) fn watch_memory(
    sandbox: &Sandbox,
    cap: Option<MemoryCap>,
    happenings: Sender<Happening>,
) {
    let Some(cap) = cap.filter(|cap| cap.keeper == Keeper::Watched) else {
        return;
    };
    let init = sandbox.report().init;
    std::thread::spawn(move || {
        loop {
            match memory_used(init) {
                // Process 1 is gone.
                0 => return,
                used if used > cap.bytes => {
                    let _ = happenings.send(Happening::MemoryOver(used));
                    return;
                }
                _ => std::thread::sleep(EVERY),
            }
        }
    });
}

/// What is said of a task that wanted more than its cap. `used` is what it had
/// when it was seen, where nobody could hold it.
pub(crate) fn memory_denial(cap: u64, used: Option<u64>) -> Denial {
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let reason = match used {
        Some(used) => format!(
            "it used {} when it was looked at, and everything inside was ended.",
            mebibytes(used)
        ),
        None => {
            "the kernel ended processes inside when all of them together reached it.".to_owned()
        }
    };
    Denial {
        what: format!("use more than {} of memory", mebibytes(cap)),
        rule: "limits.memory".to_owned(),
        reason,
        allow: Some(format!("stockade run --memory {}M …", (cap >> 20) * 2)),
    }
}
