//! Caps on memory and processor time of everything inside together.
//!
//! The kernel keeps them where this process may make a control group; where it
//! may not, memory is watched from outside, and processor time has no cap.

mod counters;
mod group;
mod hierarchy;
mod usage;

pub use self::{
    counters::{CapCounters, CapCounts},
    group::sweep,
    usage::{Usage, usage},
};
pub(crate) use self::{
    group::Group,
    hierarchy::{Controller, Hierarchy, hierarchies},
};

/// Which caps the kernel would keep for a sandbox that is started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCaps {
    /// On memory.
    pub memory: bool,
    /// On processor time.
    pub processors: bool,
}

impl KernelCaps {
    /// Looks where groups could be made, and makes none.
    pub fn find() -> Self {
        let hierarchies = hierarchies();
        let place = |controller| {
            hierarchies
                .iter()
                .any(|hierarchy| hierarchy.place(controller).is_some())
        };
        Self {
            memory: place(Controller::Memory),
            processors: place(Controller::Processors),
        }
    }
}
