//! The rules of the credits, pure: no IO, no clock, no task. `now` is always an argument, and no
//! input makes anything here panic.
//!
//! Read [`account`] for what an account is, [`book`] for the transitions (reserve, commit, …)
//! and [`entry`] for what each settled change leaves in the ledger.

pub mod account;
pub mod book;
pub mod catalog;
pub mod change;
pub mod command;
pub mod credits;
pub mod cycle;
pub mod decision;
pub mod drift;
pub mod entry;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
pub mod grant;
pub mod ids;
pub mod packed;
pub mod rate_card;
pub mod refund;
pub mod reservation;
pub mod timestamp;
pub mod usage;
