//! What has to be agreed to before a task starts, and that it was.

use super::Prepared;
use crate::{
    contract::{Assurance, Contract},
    error::SupervisorError,
    state::{StateDirectory, read_json, write_json},
};

/// What a contract has beyond the last one that was agreed to.
#[derive(Debug)]
pub struct Widening {
    /// What it grants more.
    pub granted: Vec<String>,
    /// What is weaker, down to its level.
    pub lowered: Vec<String>,
    /// The level, if it is lower.
    pub level: Option<Assurance>,
    /// Whether a level as low was accepted by its name.
    accepted: bool,
}

impl Widening {
    /// What needs a yes.
    pub fn unaccepted(&self) -> Vec<String> {
        let lowered = self.lowered.iter().filter(|_| !self.accepted);
        self.granted.iter().chain(lowered).cloned().collect()
    }
}

impl Prepared {
    /// What the contract has beyond the last one that was agreed to. The first
    /// time, only what the repository itself asks for counts.
    pub fn widening(&self, state: &StateDirectory) -> Widening {
        let contract = &self.plan.contract;
        let last = read_json::<Contract>(&state.project_contract(&self.project()));
        let last = last.unwrap_or_else(|_| Contract {
            setup: Vec::new(),
            asks: Vec::new(),
            ..contract.clone()
        });
        Widening {
            granted: contract.widenings(&last),
            lowered: contract.lowerings(&last),
            level: Some(contract.assurance).filter(|level| *level < last.assurance),
            accepted: contract.accepts_its_level(),
        }
    }

    /// Remembers that the contract was agreed to and, for the next task of the
    /// repository, what of the host this one is shown beyond the usual.
    pub fn agree(&self, state: &StateDirectory) -> Result<(), SupervisorError> {
        self.extra.remember(state, &self.repository.key())?;
        write_json(
            &state.project_contract(&self.project()),
            &self.plan.contract,
        )
    }

    /// Under which name the last contract is kept: one for each agent in each
    /// repository.
    fn project(&self) -> String {
        let agent = self
            .status
            .agent
            .map_or_else(|| "command".to_owned(), |agent| agent.to_string());
        format!("{}-{agent}", self.repository.key())
    }
}
