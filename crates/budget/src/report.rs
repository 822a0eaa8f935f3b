use rusqlite::params;
use serde::Serialize;
use stockade_types::{Money, Usage};

use crate::{error::BudgetError, ledger::Ledger};

/// By what a report adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// By task.
    Task,
    /// By agent.
    Agent,
    /// By repository.
    Repository,
    /// By model.
    Model,
    /// By day.
    Day,
}

impl Group {
    /// The column of the ledger, and the name of the report's first column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Agent => "agent",
            Self::Repository => "repository",
            Self::Model => "model",
            Self::Day => "day",
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The task, agent, repository, model or day.
    pub name: String,
    /// How many model requests.
    pub requests: u64,
    /// On how many of them the model could act.
    pub turns: u64,
    /// How many commands it asked for.
    pub commands: u64,
    /// How many agents of the agent's own.
    pub subagents: u64,
    /// Their tokens.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
    /// How much of that nobody reported: requests that broke off, and models
    /// whose price is not known.
    pub estimated: Money,
}

impl Ledger {
    /// What was booked since `since` (a day, `YYYY-MM-DD`), by `group`, in the
    /// order of names.
    pub fn report(&self, group: Group, since: Option<&str>) -> Result<Vec<Line>, BudgetError> {
        let column = group.name();
        // TOTAL, and not SUM, which fails on what it cannot hold.
        let query = format!(
            "SELECT {column}, TOTAL(requests), TOTAL(input), TOTAL(cache_read),
                 TOTAL(cache_write), TOTAL(cache_write_hour), TOTAL(output),
                 SUM(cost / 1000000), SUM(cost % 1000000),
                 SUM(iif(estimated, cost / 1000000, 0)), SUM(iif(estimated, cost % 1000000, 0)),
                 TOTAL(turns), TOTAL(commands), TOTAL(subagents)
             FROM charge WHERE day >= ? GROUP BY {column} ORDER BY {column}"
        );
        let lines = || -> rusqlite::Result<Vec<Line>> {
            self.database
                .prepare(&query)?
                .query_map(params![since.unwrap_or_default()], line)?
                .collect::<Result<_, _>>()
        };
        lines().map_err(|source| self.error(source))
    }
}

fn line(row: &rusqlite::Row<'_>) -> rusqlite::Result<Line> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from a floating-point number saturates"
    )]
    let count = |column| row.get::<_, f64>(column).map(|number| number as u64);
    // Micro-dollars and the rest apart: sums of pico-dollars could overflow.
    let money = |column: usize| -> rusqlite::Result<Money> {
        let (micros, rest): (i64, i64) = (row.get(column)?, row.get(column + 1)?);
        let picos = i128::from(micros) * 1_000_000 + i128::from(rest);
        Ok(Money::from_picos(u128::try_from(picos).unwrap_or_default()))
    };
    Ok(Line {
        name: row.get(0)?,
        requests: count(1)?,
        turns: count(11)?,
        commands: count(12)?,
        subagents: count(13)?,
        usage: Usage {
            input: count(2)?,
            cache_read: count(3)?,
            cache_write: count(4)?,
            cache_write_hour: count(5)?,
            output: count(6)?,
        },
        cost: money(7)?,
        estimated: money(9)?,
    })
}
