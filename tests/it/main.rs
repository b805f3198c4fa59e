//! Everything that is tested from outside, in one binary: one suite per seam and per face.

mod bench;
mod cli;
mod demo;
mod faults;
mod hot_store;
mod ledger;
mod model;
mod process;
mod python;
mod support;
mod tidy;
