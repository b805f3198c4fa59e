//! The stores as everybody in the program uses them: a hot store and a ledger that time what they
//! do, count what fails, and tell the present call what its time went to.
//!
//! They change no answer. An operation that is given up before it ends, since its caller's time is
//! up, is timed until then.

mod hot;
mod ledger;

pub use self::{hot::ObservedHot, ledger::ObservedLedger};
