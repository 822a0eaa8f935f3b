//! Classes P and Q: using up the machine, and outliving the sandbox.

use stockade_attempt::Order;

use crate::probe::{In, Judge, MEMORY_CAP, Probe};

/// More processes than any sandbox should have.
const THREADS: u32 = 6000;
/// More open files than any sandbox should have.
const FILES: u32 = 100_000;
/// More than the sandbox gets in which it is tried, in bytes.
const MEMORY: u64 = 2 * MEMORY_CAP;
/// More than the scratch space of any sandbox, in bytes.
const SCRATCH: u64 = (2 << 30) + (64 << 20);

pub(super) const PROBES: &[Probe] = &[
    Probe::standing(
        122,
        'P',
        "make processes without end",
        Judge::Worked,
        |_, _| vec![Order::Threads(THREADS)],
    ),
    Probe::within(
        123,
        'P',
        "use more memory than is allowed",
        In::Capped,
        Judge::Worked,
        |_, _| vec![Order::Memory(MEMORY)],
    ),
    Probe::standing(124, 'P', "fill scratch folders", Judge::Worked, |_, _| {
        let fill = |folder: &str| Order::Fill {
            folder: folder.to_owned(),
            bytes: SCRATCH,
        };
        ["/tmp", "/dev/shm"].map(fill).into()
    }),
    Probe::standing(126, 'P', "open files without end", Judge::Worked, |_, _| {
        vec![Order::Files(FILES)]
    }),
    Probe::within(
        131,
        'Q',
        "leave a process behind",
        In::Own,
        Judge::Host,
        |_, _| vec![Order::Daemon],
    ),
];
