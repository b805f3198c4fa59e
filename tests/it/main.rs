//! Everything that is tested from outside, in one binary: one suite per seam and per face.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test that can't go on stops at once, in its helpers too, and says what it ran on"
)]

mod bench;
mod cli;
mod demo;
mod drain;
mod faults;
mod fleet;
mod grpc;
mod helm;
mod hot_store;
mod ledger;
mod model;
mod operations;
mod process;
mod python;
mod redis;
mod reload;
mod roles;
mod scenario;
mod security;
mod served_redis;
mod settling;
mod starts;
mod support;
mod telemetry;
mod tidy;
