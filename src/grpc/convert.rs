//! Between the contract's messages and the domain: requests are parsed here, once, into types
//! that can't be wrong afterwards, and answers are written out.
//!
//! Everything that is wrong with a request is reported together, each by its field's path. Nothing
//! here asks a store, and nothing outside the gRPC edge sees a message of the contract.

pub(super) mod account;
pub(super) mod action;
pub(super) mod admin;
pub(super) mod again;
pub(super) mod answer;
pub(super) mod audit;
pub(super) mod entry;
pub(super) mod fields;
pub(super) mod list;
pub(super) mod quota;
pub(super) mod subject;
#[cfg(test)]
mod tests;

/// The bounds of requests that the configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The shortest time that a hold may be asked for, in milliseconds.
    pub ttl_min_ms: u64,
    /// The longest time that a hold may be asked for, in milliseconds.
    pub ttl_max_ms: u64,
}
