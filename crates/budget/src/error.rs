use std::{fmt, io, path::PathBuf};

use crate::{amount::Unit, caps::Scope};

/// The ledger or the price table could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// A file or folder of the ledger.
    #[error("the budget's ledger, {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The database said no.
    #[error(
        "the budget's ledger, {}: {source}; nothing is spent that cannot be booked", path.display()
    )]
    Database {
        /// Which.
        path: PathBuf,
        /// Its words.
        source: rusqlite::Error,
    },
    /// The database was written by a later version.
    #[error("{} has format {found}; this version of Stockade knows {known}: use the newer one", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// The price table does not say what it should.
    #[error("the price table {name}: {reason}")]
    Prices {
        /// Its file, or `built in`.
        name: String,
        /// What is wrong, with the line.
        reason: String,
    },
}

/// Why a reservation was not made.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// A cap does not leave room for it.
    #[error("{0}")]
    Exhausted(Exhausted),
    /// The ledger could not be used.
    #[error(transparent)]
    Ledger(#[from] BudgetError),
}

/// A cap that leaves no room for what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose cap it is.
    pub scope: Scope,
    /// Its account: the task, the day.
    pub name: String,
    /// Of what.
    pub unit: Unit,
    /// What was spent.
    pub spent: u64,
    /// What requests under way may still cost.
    pub held: u64,
    /// The cap.
    pub cap: u64,
    /// What was asked for.
    pub asked: u64,
}

/// `task t-… has spent $1.96 of $2; this request can cost up to $0.10`.
impl fmt::Display for Exhausted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |count| self.unit.show(count);
        let (of, name) = (self.scope.name(), &self.name);
        match self.scope {
            Scope::User => write!(formatter, "all tasks together have")?,
            Scope::Task => write!(formatter, "task {name} has")?,
            Scope::Day | Scope::Agent | Scope::Repository => write!(formatter, "{of} {name} has")?,
        }
        write!(
            formatter,
            " used {} of {}{}",
            show(self.spent),
            show(self.cap),
            self.unit.noun()
        )?;
        if self.held > 0 {
            write!(formatter, ", {} more are under way", show(self.held))?;
        }
        if self.unit.is_counted_afterwards() {
            return Ok(());
        }
        if !matches!(self.unit, Unit::Requests | Unit::Turns) {
            write!(
                formatter,
                ", and this would take up to {}",
                show(self.asked)
            )?;
        }
        Ok(())
    }
}
