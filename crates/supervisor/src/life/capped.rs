//! What becomes known of a task's caps while it runs.

use serde_json::json;
use stockade_types::{Denial, EventKind};

use super::{Supervisor, note};
use crate::{
    caps::{self, CapMet, Capped},
    contract::Strength,
    error::SupervisorError,
    task::{STATUS, TaskState},
};

impl Supervisor {
    /// Everything inside together has passed a cap that is only watched: the
    /// state in which the task ends.
    pub(super) fn cap_passed(&mut self, met: &CapMet) -> Result<TaskState, SupervisorError> {
        let denial = caps::denial(met);
        let body = json!({ "denial": denial, "cap": met });
        note(&self.record, EventKind::Denied, body)?;
        Ok(TaskState::Stopped {
            reason: denial.to_string(),
        })
    }

    /// Notes the caps that were met since the last time. Returns what is said of
    /// the one on memory, if processes were ended for it since.
    pub(super) fn note_caps(&mut self) -> Result<Option<Denial>, SupervisorError> {
        let met = self.caps.met(&self.caps_begun, None);
        let mut starved = None;
        for cap in met.iter().filter(|cap| is_refusal(cap)) {
            let before = self.caps_met.iter().find(|known| known.cap == cap.cap);
            let is_known = match cap.cap {
                Capped::Memory => before == Some(cap),
                _ => before.is_some(),
            };
            if is_known {
                continue;
            }
            let denial = caps::denial(cap);
            let body = json!({ "denial": denial, "cap": cap });
            note(&self.record, EventKind::Denied, body)?;
            if cap.cap == Capped::Memory {
                starved = Some(denial);
            }
        }
        let more = met.len() > self.caps_met.len();
        self.caps_met = met;
        if more && self.session.is_none() {
            self.status.caps_met.clone_from(&self.caps_met);
            self.task.write(STATUS, &self.status)?;
        }
        Ok(starved)
    }

    /// What stands in the task's last state.
    pub(super) fn tell_caps(&mut self) {
        if self.session.is_none() {
            let output = self.execs.cap_met(self.main);
            let caps = self.caps_met.iter().cloned();
            self.status.caps_met = caps.chain(output).collect();
        }
    }
}

/// Whether the kernel refused or ended something. What is only watched ends the
/// task, which says so; and to wait for a share of the processors is no refusal.
fn is_refusal(met: &CapMet) -> bool {
    met.strength == Strength::Kernel && met.cap != Capped::Processors
}
