mod booking;

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use rustix::fs::FlockOperation;
use stockade_types::Usage;

use self::booking::{balance, book, grant, set_caps, settle_in_full};
use crate::{
    amount::{Amount, Unit},
    caps::{Caps, Scope, Spender},
    error::{BudgetError, Exhausted},
    owner::{self, OwnerLock},
};

/// The format of the database.
const FORMAT: u32 = 2;
/// How long a writer waits for the others.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ledger of all tasks that share a state directory.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    path: PathBuf,
    pub(crate) database: Connection,
}

/// What a settled request came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// What it takes from the accounts.
    pub amount: Amount,
    /// The model that was asked.
    pub model: String,
    /// The version of the price table.
    pub prices: String,
    /// What was reported.
    pub usage: Usage,
    /// Whether nothing was reported, or the model's price is not known.
    pub estimated: bool,
}

/// A cap that is used up to a good part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Whose cap.
    pub scope: Scope,
    /// Of what.
    pub unit: Unit,
    /// What was spent.
    pub spent: u64,
    /// The cap.
    pub cap: u64,
    /// Per cent of it that are passed.
    pub passed: u64,
}

/// One account's count of one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The cap.
    pub cap: Option<u64>,
    /// What was spent.
    pub spent: u64,
    /// What is leased to running tasks.
    pub held: u64,
}

/// What an owner settled and what it still needs, on one day.
#[derive(Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) owner: i64,
    pub(crate) spender: &'a Spender,
    pub(crate) day: &'a str,
    pub(crate) charges: &'a [Charge],
    /// What requests under way may still cost.
    pub(crate) outstanding: Amount,
    /// What the next request may cost.
    pub(crate) need: Amount,
}

/// What came of a [`Renewal`]: the slice, or why there is none.
pub(crate) struct Renewed {
    pub(crate) granted: Result<Amount, Exhausted>,
    pub(crate) warnings: Vec<Warning>,
}

/// Waits until nobody else opens the ledger in `folder`; the next may when the
/// file is closed. Of two who turn a new database to another journal at once,
/// SQLite refuses one without waiting (pragma.html#pragma_journal_mode).
fn turn(folder: &Path) -> Result<fs::File, BudgetError> {
    let path = folder.join("opening.lock");
    let lock = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .and_then(|file| {
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
    lock.map_err(|source| BudgetError::File { path, source })
}

impl Ledger {
    /// Opens or makes the ledger in `folder`, and settles what the dead held.
    pub fn open(folder: &Path) -> Result<Self, BudgetError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|source| BudgetError::File {
            path: folder.to_owned(),
            source,
        })?;
        let _turn = turn(folder)?;
        let path = folder.join("ledger.sqlite");
        let opened = Connection::open(&path).and_then(|database| {
            database.busy_timeout(PATIENCE)?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            Ok(database)
        });
        let database = opened.map_err(|source| BudgetError::Database {
            path: path.clone(),
            source,
        })?;
        let mut ledger = Self {
            folder: folder.to_owned(),
            path,
            database,
        };
        ledger.migrate()?;
        ledger.settle_dead()?;
        Ok(ledger)
    }

    fn migrate(&mut self) -> Result<(), BudgetError> {
        let path = self.path.clone();
        let found = self.write(|ledger, _| {
            let found: u32 = ledger.pragma_query_value(None, "user_version", |row| row.get(0))?;
            ledger.execute_batch(match found {
                0 => include_str!("ledger/schema.sql"),
                1 => include_str!("ledger/from-1.sql"),
                _ => return Ok(found),
            })?;
            ledger.pragma_update(None, "user_version", FORMAT)?;
            Ok(FORMAT)
        })?;
        if found == FORMAT {
            return Ok(());
        }
        Err(BudgetError::Format {
            path,
            found,
            known: FORMAT,
        })
    }

    /// Runs `change` as one transaction that nobody else writes beside.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &Path) -> rusqlite::Result<T>,
    ) -> Result<T, BudgetError> {
        let done = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let result = change(&transaction, &self.folder)?;
                transaction.commit()?;
                Ok(result)
            });
        done.map_err(|source| self.error(source))
    }

    pub(crate) fn error(&self, source: rusqlite::Error) -> BudgetError {
        BudgetError::Database {
            path: self.path.clone(),
            source,
        }
    }

    /// Makes an owner that spends for `spender`, under `caps`.
    pub(crate) fn admit(
        &mut self,
        spender: &Spender,
        caps: &Caps,
        day: &str,
    ) -> Result<(i64, OwnerLock), BudgetError> {
        self.write(|ledger, folder| {
            ledger.execute(
                "INSERT INTO owner (task, agent, repository) VALUES (?, ?, ?)",
                params![spender.task.as_str(), spender.agent, spender.repository],
            )?;
            let number = ledger.last_insert_rowid();
            set_caps(ledger, spender, caps, day, true)?;
            Ok((number, OwnerLock::take(folder, number).map_err(foreign)?))
        })
    }

    /// Puts the caps on the accounts of a day that begins.
    pub(crate) fn begin_day(
        &mut self,
        spender: &Spender,
        caps: &Caps,
        day: &str,
    ) -> Result<(), BudgetError> {
        self.write(|ledger, _| set_caps(ledger, spender, caps, day, false))
    }

    /// Books what was settled, gives back what is left of the slice, and takes
    /// a new one if something is needed.
    pub(crate) fn renew(&mut self, renewal: &Renewal<'_>) -> Result<Renewed, BudgetError> {
        self.write(|ledger, _| {
            let warnings = book(ledger, renewal, &renewal.outstanding)?;
            let granted = grant(ledger, renewal)?;
            Ok(Renewed { granted, warnings })
        })
    }

    /// Ends an owner: what it still holds counts as spent.
    pub(crate) fn dismiss(&mut self, owner: i64, lock: OwnerLock) -> Result<(), BudgetError> {
        self.write(|ledger, _| {
            settle_in_full(ledger, owner)?;
            lock.remove().map_err(foreign)
        })
    }

    /// Settles in full whatever is held by owners that are dead.
    pub fn settle_dead(&mut self) -> Result<(), BudgetError> {
        self.write(|ledger, folder| {
            let owners: Vec<i64> = ledger
                .prepare_cached("SELECT number FROM owner")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for owner in owners {
                if owner::is_dead(folder, owner).map_err(foreign)? {
                    settle_in_full(ledger, owner)?;
                    owner::forget(folder, owner).map_err(foreign)?;
                }
            }
            Ok(())
        })
    }

    /// Raises a cap by `more`; `None` if there is none. It holds from the next
    /// reservation on, whoever makes it.
    pub fn raise(
        &mut self,
        scope: Scope,
        name: &str,
        unit: Unit,
        more: u64,
    ) -> Result<Option<Balance>, BudgetError> {
        self.write(|ledger, _| {
            let before = balance(ledger, scope, name, unit)?;
            let Some(cap) = before.cap else {
                return Ok(None);
            };
            let cap = cap.saturating_add(more).min(Amount::MAX);
            // What was told of the old cap may have to be told of the new one.
            ledger
                .prepare_cached(
                    "UPDATE balance SET cap = ?, warned = 0 WHERE scope = ? AND name = ? AND unit = ?",
                )?
                .execute(params![cap.cast_signed(), scope.name(), name, unit.name()])?;
            Ok(Some(Balance {
                cap: Some(cap),
                ..before
            }))
        })
    }

    /// One account's count of one unit.
    pub fn balance(&self, scope: Scope, name: &str, unit: Unit) -> Result<Balance, BudgetError> {
        balance(&self.database, scope, name, unit).map_err(|source| self.error(source))
    }
}

fn foreign(source: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(source))
}
