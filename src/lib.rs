//! Tollgate, a quota-enforcement sidecar: callers reserve credits before an AI action, commit
//! what was really used after it, and are blocked when nothing is left.
//!
//! # Bird's eye
//!
//! A request comes in over gRPC ([`grpc`]), is parsed into domain types there, is priced and put
//! as one command to the hot store by the [`enforcer`], and is decided by one atomic step of
//! [`hot`], which runs a transition of [`domain::book`]. What is settled leaves a ledger entry in
//! the hot store's outbox; the settler ([`workers`]) writes the outbox to the [`ledger`], many
//! entries in one transaction, and a commit is answered once that is done.
//!
//! # Where things are
//!
//! | module | what it is |
//! |---|---|
//! | [`domain`] | the rules, pure: no IO, no clock, no panic |
//! | [`enforcer`] | prices, asks the hot store, shapes the answer; carries out changes |
//! | [`hot`] | the seam to the hot balances; the memory store; the store in Redis and its scripts |
//! | [`ledger`] | the seam to the durable ledger; SQLite and the redo log in front of it; Postgres |
//! | [`observed`] | both stores, timed and counted |
//! | [`grpc`] | the contract: conversion, services, statuses |
//! | [`access`], [`tls`] | who may do what, and what a connection must show |
//! | [`catalogs`] | the catalogue's file: parsed, checked, watched, kept by version |
//! | [`workers`] | who settles, sweeps, renews, applies, reloads, and who tells other processes so through Redis: a `step` each, and one loop |
//! | [`app`] | the composition root: opens, restores, serves, drains |
//! | [`config`], [`cli`], [`telemetry`], [`http`], [`clock`] | what their names say |
//! | `gathered` | tasks that write for many calls at once |
//!
//! # What is absent
//!
//! Proto types appear under `grpc` only (and in the command line's client), `tonic::Status` is
//! built in `grpc::status` only, SQL stands under `ledger` only, and only `clock` reads the time.
//! `tests/it/tidy.rs` holds the imports to that.

pub mod access;
pub mod app;
pub mod catalogs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod enforcer;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod gathered;
pub mod grpc;
pub mod hot;
pub mod http;
pub mod ledger;
pub mod observed;
pub mod telemetry;
pub mod tls;
pub mod workers;

/// The contract, as it is generated from `proto/`.
#[allow(
    missing_docs,
    clippy::all,
    reason = "generated code; the contract is documented in proto/"
)]
pub mod pb {
    tonic::include_proto!("tollgate.v1");

    /// The descriptor set, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.bin"));
}
