//! Caps on memory and processor time of everything inside together.
//!
//! The kernel keeps them where this process may make a control group, or where the
//! user's systemd makes one; elsewhere memory is watched from outside, and
//! processor time has no cap.

mod bus;
mod counters;
mod group;
mod hierarchy;
mod usage;
mod user_manager;

use self::user_manager::UserManager;
pub use self::{
    counters::{CapCounters, CapCounts},
    group::sweep,
    usage::{Usage, usage},
};
pub(crate) use self::{
    group::{Group, JOIN},
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
        let maker = Maker::find();
        Self {
            memory: maker.caps(Controller::Memory),
            processors: maker.caps(Controller::Processors),
        }
    }
}

/// Who makes a sandbox's group.
#[derive(Debug)]
enum Maker {
    /// This process, in these hierarchies.
    Own(Vec<Hierarchy>),
    /// The user's systemd.
    Manager(UserManager),
}

impl Maker {
    /// Who can make one that caps memory; this process if nobody.
    fn find() -> Self {
        let own = hierarchies();
        let places = |hierarchy: &Hierarchy| hierarchy.place(Controller::Memory).is_some();
        if own.iter().any(places) {
            return Self::Own(own);
        }
        match UserManager::find() {
            Ok(manager) if manager.caps(Controller::Memory) => Self::Manager(manager),
            _ => Self::Own(own),
        }
    }

    fn caps(&self, controller: Controller) -> bool {
        match self {
            Self::Own(hierarchies) => hierarchies
                .iter()
                .any(|hierarchy| hierarchy.place(controller).is_some()),
            Self::Manager(manager) => manager.caps(controller),
        }
    }
}
