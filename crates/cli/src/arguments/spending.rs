//! The words about money.

use clap::{Args, Subcommand, ValueEnum};
use stockade_budget::{Cap, Group, Unit};
use stockade_types::Money;

use super::TaskName;

/// Caps on what a task spends.
#[derive(Debug, Args)]
pub(crate) struct SpendingArguments {
    /// Cap on what its model requests cost, such as '$2' or 0.50
    #[arg(long = "max-cost", value_name = "DOLLARS")]
    pub(crate) cost: Option<Money>,
    /// Cap on the tokens of its model requests, input and output
    #[arg(long = "max-tokens", value_name = "N")]
    pub(crate) tokens: Option<u64>,
    /// Cap on model requests
    #[arg(long = "max-requests", value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// Cap on model requests on which the model may act
    #[arg(long = "max-turns", value_name = "N")]
    pub(crate) turns: Option<u64>,
    /// Cap on commands that the model asks for
    #[arg(long = "max-commands", value_name = "N")]
    pub(crate) commands: Option<u64>,
    /// Cap on agents of the agent's own
    #[arg(long = "max-subagents", value_name = "N")]
    pub(crate) subagents: Option<u64>,
}

impl SpendingArguments {
    /// The cap that they say.
    pub(crate) fn cap(&self) -> Cap {
        Cap {
            cost: self.cost,
            tokens: self.tokens,
            requests: self.requests,
            turns: self.turns,
            commands: self.commands,
            subagents: self.subagents,
            ..Cap::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Budget {
    #[command(subcommand)]
    pub(crate) change: Option<BudgetChange>,
    /// Add up by this
    #[arg(long, value_enum, value_name = "COLUMN", default_value_t = By::Task)]
    pub(crate) by: By,
    /// Only from this day on, in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) since: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BudgetChange {
    /// Raise a task's cap, from its next model request on
    #[command(after_help = "Examples:\n  \
        stockade budget raise fix-login '$1'\n  \
        stockade budget raise fix-login --commands 50")]
    Raise(Raise),
    /// Let an agent go on that was stopped for going in circles or too fast
    #[command(after_help = "Examples:\n  stockade budget reset fix-login")]
    Reset(TaskName),
}

#[derive(Debug, Args)]
pub(crate) struct Raise {
    #[command(flatten)]
    pub(crate) task: TaskName,
    /// By how much money, such as '$1'
    #[arg(value_name = "DOLLARS")]
    pub(crate) cost: Option<Money>,
    /// By how many tokens
    #[arg(long, conflicts_with = "cost", value_name = "N")]
    pub(crate) tokens: Option<u64>,
    /// By how many model requests
    #[arg(long, conflicts_with_all = ["cost", "tokens"], value_name = "N")]
    pub(crate) requests: Option<u64>,
    /// By how many turns
    #[arg(long, conflicts_with_all = ["cost", "tokens", "requests"], value_name = "N")]
    pub(crate) turns: Option<u64>,
    /// By how many commands
    #[arg(long, conflicts_with_all = ["cost", "tokens", "requests", "turns"], value_name = "N")]
    pub(crate) commands: Option<u64>,
    /// By how many agents of the agent's own
    #[arg(long, conflicts_with_all = ["cost", "tokens", "requests", "turns", "commands"],
        value_name = "N")]
    pub(crate) subagents: Option<u64>,
}

/// By what a report adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Each task
    Task,
    /// Each agent
    Agent,
    /// Each repository, by its key
    Repository,
    /// Each model
    Model,
    /// Each day, in UTC
    Day,
}

impl By {
    pub(crate) fn group(self) -> Group {
        match self {
            Self::Task => Group::Task,
            Self::Agent => Group::Agent,
            Self::Repository => Group::Repository,
            Self::Model => Group::Model,
            Self::Day => Group::Day,
        }
    }
}

impl Raise {
    /// Which cap, and by how much, if that was said.
    pub(crate) fn amount(&self) -> Option<(Unit, u64)> {
        let counts = [
            (Unit::Cost, self.cost.map(Money::picos)),
            (Unit::Tokens, self.tokens),
            (Unit::Requests, self.requests),
            (Unit::Turns, self.turns),
            (Unit::Commands, self.commands),
            (Unit::Subagents, self.subagents),
        ];
        counts
            .into_iter()
            .find_map(|(unit, count)| Some((unit, count?)))
    }
}
