//! What a probe is.

use stockade_attempt::Order;

use crate::{class::Class, error::AttackError, field::Field, probes, target::Facts};

/// A row of the table: something that must fail inside, or that must work.
#[derive(Debug)]
pub struct Probe {
    /// Its number: up to 199 those of the project's list of attacks.
    pub id: u16,
    /// Its class.
    pub class: Class,
    /// What is tried.
    pub title: &'static str,
    pub(crate) way: Way,
}

/// How a probe is run and judged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Something that must fail.
    Attempt {
        place: In,
        judge: Judge,
        orders: Orders,
    },
    /// Something that programs need.
    Need(Orders),
    /// Not tried here, for this reason.
    Untried(&'static str),
}

/// What is ordered, one start after the other.
pub(crate) type Orders = fn(&Field, &Facts) -> Vec<Order>;

/// What a sandbox gets whose memory is tried, in bytes.
pub(crate) const MEMORY_CAP: u64 = 256 << 20;

/// Where a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum In {
    /// In whatever sandbox there is.
    Standing,
    /// In one of its own. Once it has ended, nothing of it may live.
    Own,
    /// The same, and then its work is taken back to the host.
    Back,
    /// In one that is started while descriptors of the host are open.
    Lent,
    /// In one that may use [`MEMORY_CAP`] and no more.
    Capped,
    /// In one with a terminal.
    Terminal,
    /// In whatever there is, if the machine asks the field for names.
    Named,
}

/// What makes an attempt an escape. Whatever it is, a host that is not as it
/// was is one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Nothing but the look at the host.
    Host,
    /// A step that worked.
    Worked,
    /// A system call that was not refused as such: one that failed because of
    /// its arguments would have worked with others.
    Called,
    /// A step that showed one of the planted secrets.
    Secret,
    /// A step that showed what the control showed.
    Same,
    /// Files that are where programs of the host find them, or that come back
    /// like any other.
    HeldBack(&'static [&'static str]),
    /// Files that come back without a remark.
    Marked(&'static [&'static str]),
}

impl Judge {
    /// Whether only the host tells: no step by itself shows an escape.
    pub(crate) fn is_of_host(self) -> bool {
        matches!(self, Self::Host | Self::HeldBack(_) | Self::Marked(_))
    }
}

impl Probe {
    const fn new(id: u16, class: char, title: &'static str, way: Way) -> Self {
        Self {
            id,
            class: Class::of(class),
            title,
            way,
        }
    }

    /// Something that must fail in any sandbox.
    pub(crate) const fn standing(
        id: u16,
        class: char,
        title: &'static str,
        judge: Judge,
        orders: Orders,
    ) -> Self {
        Self::within(id, class, title, In::Standing, judge, orders)
    }

    /// Something that must fail in a sandbox of this kind.
    pub(crate) const fn within(
        id: u16,
        class: char,
        title: &'static str,
        place: In,
        judge: Judge,
        orders: Orders,
    ) -> Self {
        let way = Way::Attempt {
            place,
            judge,
            orders,
        };
        Self::new(id, class, title, way)
    }

    /// Something that must work.
    pub(crate) const fn need(id: u16, class: char, title: &'static str, orders: Orders) -> Self {
        Self::new(id, class, title, Way::Need(orders))
    }

    /// Something that is not tried here; `reason` says why, and who tries it.
    pub(crate) const fn untried(
        id: u16,
        class: char,
        title: &'static str,
        reason: &'static str,
    ) -> Self {
        Self::new(id, class, title, Way::Untried(reason))
    }
}

/// Which probes are run; all of them if nothing is named.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Classes.
    pub classes: Vec<Class>,
    /// Numbers.
    pub probes: Vec<u16>,
}

impl Selection {
    /// The probes that are meant, by number.
    pub fn probes(&self) -> Result<Vec<&'static Probe>, AttackError> {
        let all = probes::all();
        if let Some(unknown) = self
            .probes
            .iter()
            .find(|id| all.iter().all(|probe| probe.id != **id))
        {
            return Err(AttackError::UnknownProbe(*unknown));
        }
        let everything = self.classes.is_empty() && self.probes.is_empty();
        let meant = |probe: &&&'static Probe| {
            everything || self.classes.contains(&probe.class) || self.probes.contains(&probe.id)
        };
        Ok(all.iter().filter(meant).copied().collect())
    }
}
