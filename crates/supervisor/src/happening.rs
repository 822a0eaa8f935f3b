//! Everything that the supervisor's one loop waits for.

use std::process::Child;

use stockade_types::wire::Reply;

use crate::{caps::CapMet, control::Asked, part::Part};

/// Something the loop acts on.
pub(crate) enum Happening {
    /// Process 1 tells something.
    Init(Reply),
    /// Process 1 is gone, and with it everything inside.
    SandboxEnded,
    /// A process of Stockade's own is gone.
    PartEnded(Part),
    /// The record takes no more events.
    RecordLost,
    /// A client asks.
    Asked(Asked),
    /// A moment to see whether a turn has ended.
    Tick,
    /// The time of the task is up.
    TimeUp,
    /// Something inside tried to send a key that was planted.
    HoneytokenSent,
    /// Everything inside together uses more than it may, and must end.
    CapPassed(CapMet),
    /// A cap was met that the kernel keeps.
    CapMet,
}

/// Tells when a part ends.
pub(crate) fn watch_part(
    part: Part,
    mut child: Child,
    happenings: std::sync::mpsc::Sender<Happening>,
) {
    std::thread::spawn(move || {
        let _ = child.wait();
        let _ = happenings.send(Happening::PartEnded(part));
    });
}
