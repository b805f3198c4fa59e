//! tests

mod ledger;
