use std::{collections::BTreeMap, path::Path};

use time::OffsetDateTime;

use crate::{
    amount::{Amount, Unit},
    caps::{Caps, Day, Spender},
    error::{BudgetError, ReserveError},
    ledger::{Charge, Ledger, Renewal, Warning},
    owner::OwnerLock,
};

/// Charges kept in memory before they are booked.
const CHARGES_MAX: usize = 256;

/// One process's hold on the ledger, for one task.
///
/// It reserves out of leased slices. Dropped without [`Purse::close`], as by a
/// crash, all that it holds counts as spent.
#[derive(Debug)]
pub struct Purse {
    ledger: Ledger,
    owner: i64,
    lock: OwnerLock,
    spender: Spender,
    caps: Caps,
    /// By day; what was reserved yesterday is settled on yesterday's account.
    slices: BTreeMap<String, Slice>,
    warnings: Vec<Warning>,
}

/// What was leased for a day and what became of it.
#[derive(Debug, Default)]
struct Slice {
    leased: Amount,
    settled: Amount,
    outstanding: Amount,
    charges: Vec<Charge>,
}

/// An amount that is kept for one request. It is settled, or counts as spent.
#[derive(Debug)]
#[must_use = "what is not settled counts as spent in full"]
pub struct Reservation {
    day: String,
    amount: Amount,
}

impl Reservation {
    /// How much is kept.
    pub fn amount(&self) -> &Amount {
        &self.amount
    }
}

impl Slice {
    fn free(&self) -> Amount {
        self.leased.minus(&self.settled).minus(&self.outstanding)
    }

    /// Whether the provider charged more than was reserved, so that the slice
    /// no longer covers what is under way.
    fn is_short(&self) -> bool {
        !self.leased.covers(&self.settled.plus(&self.outstanding))
    }

    fn is_at_rest(&self) -> bool {
        self.leased == self.outstanding && self.charges.is_empty()
    }
}

impl Purse {
    /// A purse for `spender` out of the ledger in `folder`, under `caps`.
    pub fn open(folder: &Path, spender: Spender, caps: Caps) -> Result<Self, BudgetError> {
        let mut ledger = Ledger::open(folder)?;
        let today = today();
        let (owner, lock) = ledger.admit(&spender, &caps, &today)?;
        Ok(Self {
            ledger,
            owner,
            lock,
            spender,
            caps,
            slices: BTreeMap::from([(today, Slice::default())]),
            warnings: Vec::new(),
        })
    }

    /// Keeps `amount` for one request, or says which cap leaves no room.
    pub fn reserve(&mut self, amount: Amount) -> Result<Reservation, ReserveError> {
        self.reserve_on(today(), amount)
    }

    fn reserve_on(&mut self, day: String, amount: Amount) -> Result<Reservation, ReserveError> {
        if !self.slices.contains_key(&day) {
            self.ledger.begin_day(&self.spender, &self.caps, &day)?;
            self.slices.insert(day.clone(), Slice::default());
        }
        let covered = |slice: &Slice| slice.free().covers(&amount);
        if !self.slices.get(&day).is_some_and(covered) {
            self.renew(&day, amount)?;
        }
        if let Some(slice) = self.slices.get_mut(&day) {
            slice.outstanding = slice.outstanding.plus(&amount);
        }
        Ok(Reservation { day, amount })
    }

    /// Books what a request came to in place of what was kept for it.
    pub fn settle(&mut self, reservation: Reservation, charge: Charge) -> Result<(), BudgetError> {
        let Reservation { day, amount } = reservation;
        let Some(slice) = self.slices.get_mut(&day) else {
            return Ok(());
        };
        slice.outstanding = slice.outstanding.minus(&amount);
        slice.settled = slice.settled.plus(&charge.amount);
        slice.charges.push(charge);
        if slice.is_short() || slice.charges.len() > CHARGES_MAX {
            self.rest_on(&day)?;
        }
        Ok(())
    }

    /// Books everything and gives back what no request needs, so that other
    /// tasks can have it.
    pub fn rest(&mut self) -> Result<(), BudgetError> {
        let days: Vec<String> = self.slices.keys().cloned().collect();
        for day in days {
            self.rest_on(&day)?;
        }
        Ok(())
    }

    fn rest_on(&mut self, day: &str) -> Result<(), BudgetError> {
        if self.slices.get(day).is_none_or(Slice::is_at_rest) {
            return Ok(());
        }
        match self.renew(day, Amount::NONE) {
            Err(ReserveError::Ledger(error)) => Err(error),
            // Nothing was asked for.
            Ok(()) | Err(ReserveError::Exhausted(_)) => Ok(()),
        }
    }

    /// What a person should be told since the last time.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// What the task has spent so far, of `unit`.
    pub fn spent(&self, unit: Unit) -> Result<u64, BudgetError> {
        let task = self.spender.task.as_str();
        let booked = self.ledger.balance(crate::Scope::Task, task, unit)?.spent;
        let settled = self.slices.values().map(|slice| slice.settled.get(unit));
        Ok(settled.fold(booked, u64::saturating_add))
    }

    /// Ends it; what requests under way may cost counts as spent.
    pub fn close(mut self) -> Result<(), BudgetError> {
        self.rest()?;
        self.ledger.dismiss(self.owner, self.lock)
    }

    fn renew(&mut self, day: &str, need: Amount) -> Result<(), ReserveError> {
        let Some(slice) = self.slices.get_mut(day) else {
            return Ok(());
        };
        let renewed = self.ledger.renew(&Renewal {
            owner: self.owner,
            spender: &self.spender,
            day,
            charges: &slice.charges,
            outstanding: slice.outstanding,
            need,
        })?;
        self.warnings.extend(renewed.warnings);
        slice.charges.clear();
        slice.settled = Amount::NONE;
        slice.leased = slice.outstanding;
        let granted = renewed.granted.map_err(ReserveError::Exhausted)?;
        slice.leased = slice.leased.plus(&granted);
        Ok(())
    }
}

fn today() -> String {
    Day(OffsetDateTime::now_utc().date()).to_string()
}

#[cfg(test)]
mod tests {
    use stockade_types::TaskId;

    use super::*;
    use crate::{Cap, Scope};

    #[test]
    fn a_day_keeps_its_own_account_whenever_the_clock_comes_back_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let spender = Spender {
            task: TaskId::from_random(1),
            agent: "claude".to_owned(),
            repository: "here".to_owned(),
        };
        let caps = Caps {
            day: Cap {
                tokens: Some(10),
                ..Cap::default()
            },
            ..Caps::default()
        };
        let ten = Amount::NONE.with(Unit::Tokens, 10);
        let one = Amount::NONE.with(Unit::Tokens, 1);
        let mut purse = Purse::open(folder.path(), spender, caps).unwrap();
        let (first, next) = ("2026-02-28".to_owned(), "2026-03-01".to_owned());
        let kept = purse.reserve_on(first.clone(), ten).unwrap();
        let after = purse.reserve_on(next.clone(), ten).unwrap();
        assert!(purse.reserve_on(next.clone(), one).is_err());
        // Settled a month later, it is still of the day on which it was asked.
        let charge = |amount| Charge {
            amount,
            ..Charge::default()
        };
        purse.settle(kept, charge(ten)).unwrap();
        assert!(purse.reserve_on(first.clone(), one).is_err());
        purse.settle(after, charge(one)).unwrap();
        drop(purse.reserve_on(next.clone(), one).unwrap());
        purse.rest().unwrap();
        let spent = |day: &str| purse.ledger.balance(Scope::Day, day, Unit::Tokens);
        assert_eq!(spent(&first).unwrap().spent, 10);
        assert_eq!(spent(&next).unwrap().spent, 1);
    }
}
