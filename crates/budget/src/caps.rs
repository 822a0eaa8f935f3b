use std::fmt;

use serde::{Deserialize, Serialize};
use stockade_types::{Money, TaskId};
use time::Date;

use crate::{amount::Unit, breaker::Breakers};

/// Whose spending a cap is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One task, from its first start to its last.
    Task,
    /// All tasks, on one day.
    Day,
    /// All tasks of one agent, on one day.
    Agent,
    /// All tasks in one repository, on one day.
    Repository,
    /// All tasks of this user, ever.
    User,
}

impl Scope {
    /// Every scope, from the narrowest on.
    pub const ALL: [Self; 5] = [
        Self::Task,
        Self::Repository,
        Self::Agent,
        Self::Day,
        Self::User,
    ];

    /// The name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Day => "day",
            Self::Agent => "agent",
            Self::Repository => "repository",
            Self::User => "user",
        }
    }
}

/// Caps on one scope; what is not said is not capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cap {
    /// On money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// On tokens of input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// On model requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// On model requests on which the model may act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u64>,
    /// On commands that the model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands: Option<u64>,
    /// On agents of an agent's own that the model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subagents: Option<u64>,
    /// On seconds that tasks run.
    #[serde(skip)]
    pub seconds: Option<u64>,
}

impl Cap {
    /// How much of `unit`.
    pub fn get(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Cost => self.cost.map(Money::picos),
            Unit::Tokens => self.tokens,
            Unit::Requests => self.requests,
            Unit::Turns => self.turns,
            Unit::Commands => self.commands,
            Unit::Subagents => self.subagents,
            Unit::Seconds => self.seconds,
        }
    }

    /// What is capped, with the cap as people read it.
    pub fn lines(&self) -> impl Iterator<Item = (Unit, String)> + '_ {
        Unit::ALL
            .iter()
            .filter_map(|&unit| Some((unit, unit.show(self.get(unit)?))))
    }

    /// This cap, and where it says nothing, `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            cost: self.cost.or(other.cost),
            tokens: self.tokens.or(other.tokens),
            requests: self.requests.or(other.requests),
            turns: self.turns.or(other.turns),
            commands: self.commands.or(other.commands),
            subagents: self.subagents.or(other.subagents),
            seconds: self.seconds.or(other.seconds),
        }
    }
}

/// Caps on every scope: the table `[budget]` of the user's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// On each task.
    pub task: Cap,
    /// On all tasks of a day.
    pub day: Cap,
    /// On the tasks of one agent on a day.
    pub agent: Cap,
    /// On the tasks in one repository on a day.
    pub repository: Cap,
    /// On all tasks ever.
    pub user: Cap,
    /// When an agent that gets nowhere is stopped.
    pub breakers: Breakers,
}

impl Caps {
    /// The cap on `scope`.
    pub fn get(&self, scope: Scope) -> &Cap {
        match scope {
            Scope::Task => &self.task,
            Scope::Day => &self.day,
            Scope::Agent => &self.agent,
            Scope::Repository => &self.repository,
            Scope::User => &self.user,
        }
    }
}

/// On whose account a purse spends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spender {
    /// The task.
    pub task: TaskId,
    /// Its agent, or its command's name.
    pub agent: String,
    /// The repository, by a name that is its alone.
    pub repository: String,
}

/// A day, in UTC: whoever moves between time zones has one day after another.
pub(crate) struct Day(pub(crate) Date);

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        write!(formatter, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl Spender {
    /// The name under which `scope` is kept on `day`.
    pub(crate) fn account(&self, scope: Scope, day: &str) -> String {
        match scope {
            Scope::Task => self.task.to_string(),
            Scope::Day => day.to_owned(),
            Scope::Agent => format!("{day} {}", self.agent),
            Scope::Repository => format!("{day} {}", self.repository),
            Scope::User => String::new(),
        }
    }
}
