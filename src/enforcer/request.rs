//! What callers ask for, parsed: ids, amounts and durations are in range, texts within bounds.

use super::error::Violation;
use crate::domain::{
    credits::Credits,
    ids::{AccountId, ExtensionId, ReservationId},
    usage::{Action, Amount, Outcome},
};

/// Sets credits aside.
#[derive(Clone, Debug)]
pub struct ReserveRequest {
    /// The account.
    pub account_id: AccountId,
    /// The idempotency key.
    pub reservation_id: ReservationId,
    /// What it is for.
    pub action: Action,
    /// How much.
    pub amount: Amount,
    /// The least that will do; absent: all of it.
    pub min_credits: Option<Credits>,
    /// How long the hold stands; absent: the default.
    pub ttl_ms: Option<u64>,
    /// Decide, but hold nothing.
    pub dry_run: bool,
}

/// Adds to an open hold.
#[derive(Clone, Debug)]
pub struct ExtendRequest {
    /// The account.
    pub account_id: AccountId,
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The idempotency key.
    pub extension_id: ExtensionId,
    /// Credits to add.
    pub add: Credits,
    /// How long the hold stands from now on.
    pub ttl_ms: Option<u64>,
}

/// Settles usage.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// The account.
    pub account_id: AccountId,
    /// The reservation.
    pub reservation_id: ReservationId,
    /// How much, cumulative.
    pub amount: Amount,
    /// How it ended.
    pub outcome: Outcome,
    /// More will follow.
    pub keep_open: bool,
    /// What to hold next.
    pub next_hold: Credits,
    /// What it was for, where the reservation may not be known; or what is wrong with that, which
    /// counts only then.
    pub action: Result<Option<Action>, Vec<Violation>>,
}

/// Reserves and commits in one step.
#[derive(Clone, Debug)]
pub struct ChargeRequest {
    /// The account.
    pub account_id: AccountId,
    /// The idempotency key.
    pub charge_id: ReservationId,
    /// What was done.
    pub action: Action,
    /// How much.
    pub amount: Amount,
    /// Charge even what the balance does not cover.
    pub force: bool,
}
