//! Attacks on a sandbox: probes that must fail inside, each shown to succeed
//! outside first, and the verdicts.
//!
//! A [`Probe`] is a row of a table: what is ordered of the small executable
//! that this crate carries, where it runs, and what makes it an escape. The
//! [`Suite`] runs it first where no sandbox is (the control), then in a
//! [`Target`]: Stockade itself, or any [`Wrapper`] command. After each it looks
//! at the [`Field`]: decoys, listeners and a process of the host. What a probe
//! found out it tells in structured lines; what a program prints decides
//! nothing.
//!
//! Nothing here mends anything.

mod class;
mod decoy;
mod error;
mod field;
mod heard;
mod junit;
mod loan;
mod observed;
mod open;
mod probe;
mod probes;
mod process;
mod repository;
mod suite;
mod target;
mod terminal;
mod verdict;
mod wrapper;

pub use self::{
    class::Class,
    error::AttackError,
    field::{Field, Ground, OWN},
    junit::junit,
    probe::{Probe, Selection},
    suite::Suite,
    target::{Facts, Place, Ran, Start, Target, TargetError},
    verdict::{Outcome, Report, Verdict, Witness},
    wrapper::Wrapper,
};
