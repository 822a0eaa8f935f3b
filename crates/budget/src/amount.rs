use serde::{Deserialize, Serialize};
use stockade_types::Money;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Pico-dollars.
    Cost,
    /// Tokens, of input and output.
    Tokens,
    /// Model requests.
    Requests,
    /// Model requests on which the model may act; agents make others beside.
    Turns,
    /// Commands that the model asked for.
    Commands,
    /// Agents of an agent's own that the model asked for.
    Subagents,
    /// Seconds that a task ran.
    Seconds,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Self; 7] = [
        Self::Cost,
        Self::Tokens,
        Self::Requests,
        Self::Turns,
        Self::Commands,
        Self::Subagents,
        Self::Seconds,
    ];

    /// The name in the ledger and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Tokens => "tokens",
            Self::Requests => "requests",
            Self::Turns => "turns",
            Self::Commands => "commands",
            Self::Subagents => "subagents",
            Self::Seconds => "seconds",
        }
    }

    /// `count` of this unit as people read it.
    pub fn show(self, count: u64) -> String {
        match self {
            Self::Cost => format!("{:.4}", Money::from_picos(count.into())),
            _ => count.to_string(),
        }
    }

    /// Whether it is counted only once it has happened, so that nothing can be
    /// reserved for it: what has passed a cap lets nothing else begin.
    pub(crate) fn is_counted_afterwards(self) -> bool {
        matches!(self, Self::Commands | Self::Subagents)
    }

    /// What follows a count of it in a sentence.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Cost => "",
            Self::Tokens => " tokens",
            Self::Requests => " model requests",
            Self::Turns => " turns",
            Self::Commands => " commands",
            Self::Subagents => " subagents",
            Self::Seconds => " seconds",
        }
    }
}

/// So much of each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount([u64; Unit::ALL.len()]);

impl Amount {
    /// Nothing of anything.
    pub const NONE: Self = Self([0; Unit::ALL.len()]);
    /// The largest count of one unit: what a column of the ledger holds.
    pub const MAX: u64 = Money::MAX_PICOS;

    /// The same with `count` of `unit`.
    #[must_use]
    pub fn with(mut self, unit: Unit, count: u64) -> Self {
        self.0[unit as usize] = count.min(Self::MAX);
        self
    }

    /// How much of `unit`.
    pub fn get(&self, unit: Unit) -> u64 {
        self.0[unit as usize]
    }

    /// The money in it.
    pub fn cost(&self) -> Money {
        Money::from_picos(self.get(Unit::Cost).into())
    }

    /// Whether there is at least `other` of every unit.
    pub fn covers(&self, other: &Self) -> bool {
        Unit::ALL
            .iter()
            .all(|&unit| self.get(unit) >= other.get(unit))
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What is left without `other`; never less than nothing.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Unit::ALL.iter().fold(Self::NONE, |sum, &unit| {
            sum.with(unit, of(self.get(unit), other.get(unit)))
        })
    }
}
