//! What a transaction of the ledger does to its tables.

use rusqlite::{Connection, OptionalExtension, params};
use stockade_types::Usage;

use super::{Balance, Charge, Renewal, Warning};
use crate::{
    amount::{Amount, Unit},
    caps::{Caps, Scope, Spender},
    error::Exhausted,
};

/// A slice is at most this many times what was asked for …
const SLICE_TIMES: u64 = 8;
/// … and what goes beyond it at most this part of what is left, so that one
/// task's slice does not keep others from the last of a cap.
const SLICE_PART: u64 = 16;
/// Per cent of a cap at which a person is told, once each.
const WARN_AT: [u64; 2] = [80, 50];

pub(super) fn set_caps(
    ledger: &Connection,
    spender: &Spender,
    caps: &Caps,
    day: &str,
    begins: bool,
) -> rusqlite::Result<()> {
    // A task's cap may have been raised since, and so stays; the others are
    // what the configuration says now.
    for scope in Scope::ALL {
        let kept = if begins && scope != Scope::Task {
            "excluded.cap"
        } else {
            "COALESCE(cap, excluded.cap)"
        };
        let mut set = ledger.prepare_cached(&format!(
            "INSERT INTO balance (scope, name, unit, cap) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET cap = {kept}"
        ))?;
        for unit in Unit::ALL {
            let cap = caps
                .get(scope)
                .get(unit)
                .map(|cap| cap.min(Amount::MAX).cast_signed());
            set.execute(params![
                scope.name(),
                spender.account(scope, day),
                unit.name(),
                cap
            ])?;
        }
    }
    Ok(())
}

fn count(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

pub(super) fn balance(
    ledger: &Connection,
    scope: Scope,
    name: &str,
    unit: Unit,
) -> rusqlite::Result<Balance> {
    let found = ledger
        .prepare_cached(
            "SELECT spent, held, cap FROM balance WHERE scope = ? AND name = ? AND unit = ?",
        )?
        .query_row(params![scope.name(), name, unit.name()], |row| {
            Ok(Balance {
                spent: count(row, 0)?,
                held: count(row, 1)?,
                cap: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn leased(ledger: &Connection, owner: i64, day: &str, unit: Unit) -> rusqlite::Result<u64> {
    let found = ledger
        .prepare_cached("SELECT amount FROM lease WHERE owner = ? AND day = ? AND unit = ?")?
        .query_row(params![owner, day, unit.name()], |row| count(row, 0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Sets what an owner holds, and what that makes of its accounts.
fn hold(
    ledger: &Connection,
    renewal: &Renewal<'_>,
    unit: Unit,
    spent: u64,
    held: u64,
) -> rusqlite::Result<()> {
    let before = leased(ledger, renewal.owner, renewal.day, unit)?;
    if (spent, held) == (0, before) {
        return Ok(());
    }
    ledger
        .prepare_cached(
            "INSERT INTO lease (owner, day, unit, amount) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET amount = excluded.amount",
        )?
        .execute(params![
            renewal.owner,
            renewal.day,
            unit.name(),
            held.cast_signed()
        ])?;
    // MIN, because a sum beyond 2⁶³ would become a floating-point number.
    let mut update = ledger.prepare_cached(
        "INSERT INTO balance (scope, name, unit, spent, held) VALUES (?1, ?2, ?3, ?4, ?6)
         ON CONFLICT DO UPDATE SET
             spent = CASE WHEN spent > ?7 - ?4 THEN ?7 ELSE spent + ?4 END,
             held = CASE WHEN held - ?5 > ?7 - ?6 THEN ?7 ELSE held - ?5 + ?6 END",
    )?;
    for scope in Scope::ALL {
        update.execute(params![
            scope.name(),
            renewal.spender.account(scope, renewal.day),
            unit.name(),
            spent.cast_signed(),
            before.cast_signed(),
            held.cast_signed(),
            Amount::MAX.cast_signed(),
        ])?;
    }
    Ok(())
}

/// Books charges, after which the owner holds `kept`.
pub(super) fn book(
    ledger: &Connection,
    renewal: &Renewal<'_>,
    kept: &Amount,
) -> rusqlite::Result<Vec<Warning>> {
    let settled = renewal
        .charges
        .iter()
        .fold(Amount::NONE, |sum, charge| sum.plus(&charge.amount));
    for charge in renewal.charges {
        insert_charge(ledger, renewal.spender, renewal.day, charge)?;
    }
    let mut warnings = Vec::new();
    for unit in Unit::ALL {
        hold(ledger, renewal, unit, settled.get(unit), kept.get(unit))?;
        if settled.get(unit) > 0 {
            warn(ledger, renewal, unit, &mut warnings)?;
        }
    }
    Ok(warnings)
}

fn insert_charge(
    ledger: &Connection,
    spender: &Spender,
    day: &str,
    charge: &Charge,
) -> rusqlite::Result<()> {
    let usage = &charge.usage;
    let bounded = |count: u64| count.min(Amount::MAX).cast_signed();
    ledger
        .prepare_cached(
            "INSERT INTO charge (day, task, agent, repository, model, prices, input, cache_read,
                 cache_write, cache_write_hour, output, cost, requests, estimated, turns,
                 commands, subagents)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            day,
            spender.task.as_str(),
            spender.agent,
            spender.repository,
            charge.model,
            charge.prices,
            bounded(usage.input),
            bounded(usage.cache_read),
            bounded(usage.cache_write),
            bounded(usage.cache_write_hour),
            bounded(usage.output),
            bounded(charge.amount.get(Unit::Cost)),
            bounded(charge.amount.get(Unit::Requests)),
            charge.estimated,
            bounded(charge.amount.get(Unit::Turns)),
            bounded(charge.amount.get(Unit::Commands)),
            bounded(charge.amount.get(Unit::Subagents)),
        ])?;
    Ok(())
}

fn warn(
    ledger: &Connection,
    renewal: &Renewal<'_>,
    unit: Unit,
    warnings: &mut Vec<Warning>,
) -> rusqlite::Result<()> {
    for scope in Scope::ALL {
        let name = renewal.spender.account(scope, renewal.day);
        let Balance { cap, spent, .. } = balance(ledger, scope, &name, unit)?;
        let Some(cap) = cap.filter(|cap| *cap > 0) else {
            continue;
        };
        let part = u128::from(spent) * 100 / u128::from(cap);
        let Some(passed) = WARN_AT.into_iter().find(|&at| part >= u128::from(at)) else {
            continue;
        };
        let told = ledger
            .prepare_cached(
                "UPDATE balance SET warned = ?1
                 WHERE scope = ?2 AND name = ?3 AND unit = ?4 AND warned < ?1",
            )?
            .execute(params![
                passed.cast_signed(),
                scope.name(),
                name,
                unit.name()
            ])?;
        if told > 0 {
            warnings.push(Warning {
                scope,
                unit,
                spent,
                cap,
                passed,
            });
        }
    }
    Ok(())
}

/// Takes a slice: at least what is needed, or nothing at all.
pub(super) fn grant(
    ledger: &Connection,
    renewal: &Renewal<'_>,
) -> rusqlite::Result<Result<Amount, Exhausted>> {
    let mut slice = Amount::NONE;
    for unit in Unit::ALL {
        let need = renewal.need.get(unit);
        let nothing_asked = renewal.need == Amount::NONE;
        if nothing_asked || need == 0 && !unit.is_counted_afterwards() {
            continue;
        }
        let mut left = Amount::MAX;
        for scope in Scope::ALL {
            let name = renewal.spender.account(scope, renewal.day);
            let Balance { cap, spent, held } = balance(ledger, scope, &name, unit)?;
            let Some(cap) = cap else { continue };
            left = left.min(cap.saturating_sub(spent).saturating_sub(held));
            let passed = unit.is_counted_afterwards() && spent > cap;
            if passed || need > left {
                return Ok(Err(Exhausted {
                    scope,
                    name,
                    unit,
                    spent,
                    held,
                    cap,
                    asked: need,
                }));
            }
        }
        let more = need.saturating_mul(SLICE_TIMES - 1);
        slice = slice.with(unit, need + more.min((left - need) / SLICE_PART));
    }
    for unit in Unit::ALL {
        let held = renewal.outstanding.plus(&slice).get(unit);
        hold(ledger, renewal, unit, 0, held)?;
    }
    Ok(Ok(slice))
}

/// Counts what an owner holds as spent, and forgets the owner.
pub(super) fn settle_in_full(ledger: &Connection, owner: i64) -> rusqlite::Result<()> {
    let row = |row: &rusqlite::Row<'_>| {
        let task: String = row.get(0)?;
        Ok((task, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    };
    let (task, agent, repository) = ledger
        .prepare_cached("SELECT task, agent, repository FROM owner WHERE number = ?")?
        .query_row([owner], row)?;
    let task = task.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })?;
    let spender = Spender {
        task,
        agent,
        repository,
    };
    let days: Vec<String> = ledger
        .prepare_cached("SELECT DISTINCT day FROM lease WHERE owner = ? AND amount > 0")?
        .query_map([owner], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for day in days {
        let mut amount = Amount::NONE;
        for unit in Unit::ALL {
            amount = amount.with(unit, leased(ledger, owner, &day, unit)?);
        }
        let charge = Charge {
            amount,
            usage: Usage {
                input: amount.get(Unit::Tokens),
                ..Usage::default()
            },
            estimated: true,
            ..Charge::default()
        };
        let renewal = Renewal {
            owner,
            spender: &spender,
            day: &day,
            charges: &[charge],
            outstanding: Amount::NONE,
            need: Amount::NONE,
        };
        book(ledger, &renewal, &Amount::NONE)?;
    }
    ledger.execute("DELETE FROM lease WHERE owner = ?", [owner])?;
    ledger.execute("DELETE FROM owner WHERE number = ?", [owner])?;
    Ok(())
}
