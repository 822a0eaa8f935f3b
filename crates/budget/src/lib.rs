//! What model requests cost, and the ledger that keeps spending within caps.
//!
//! A request is priced before it is sent, at the most it can cost
//! ([`Prices::quote`]); that much is reserved ([`Purse::reserve`]), and settled
//! by what was reported, or in full if nothing was. The [`Ledger`] is a
//! database that all tasks of a user share. So that not every request waits for
//! the disk, a purse leases slices of what is left and reserves out of them;
//! whatever a dead process had leased counts as spent.
//!
//! The [`breaker`]s see loops that a cap alone would let run until it is reached.

mod amount;
pub mod breaker;
mod caps;
mod error;
mod ledger;
mod owner;
mod prices;
mod purse;
mod report;

pub use self::{
    amount::{Amount, Unit},
    breaker::{Breakers, Seen},
    caps::{Cap, Caps, Scope, Spender},
    error::{BudgetError, Exhausted, ReserveError},
    ledger::{Balance, Charge, Ledger, Warning},
    prices::{Api, Call, Prices, Quote},
    purse::{Purse, Reservation},
    report::{Group, Line},
};
