//! What the gateway refused while a command ran.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use stockade_types::{Event, EventKind};

use super::result::DenialSeen;

/// How many refusals are listed with a result, and how many are remembered.
const DENIALS_MAX: usize = 20;

/// The gateway's last refusals.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<(u64, VecDeque<DenialSeen>)>);

impl Refusals {
    /// Remembers an event if it is a refusal.
    pub(crate) fn note(&self, event: &Event) {
        if event.kind != EventKind::Denied {
            return;
        }
        let text = |name: &str| event.body[name].as_str().unwrap_or_default().to_owned();
        let seen = DenialSeen {
            host: text("host"),
            port: event.body["port"].as_u64().unwrap_or_default(),
            rule: text("rule"),
        };
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.0 += 1;
        refusals.1.push_back(seen);
        if refusals.1.len() > DENIALS_MAX {
            refusals.1.pop_front();
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// How many there were since the count was `before`, and the last of them.
    pub(super) fn since(&self, before: u64) -> (u64, Vec<DenialSeen>) {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = refusals.0 - before;
        let listed = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(refusals.1.len());
        let skipped = refusals.1.len() - listed;
        (count, refusals.1.iter().skip(skipped).cloned().collect())
    }
}
