//! What the hot path asks of an account: parsed, priced, with every default filled in. The store
//! that carries a command out adds only its clock.

use std::sync::Arc;

use super::{
    account::{Account, PlanTerm},
    credits::Credits,
    cycle::Cycle,
    ids::{AccountId, ExtensionId, ReservationId},
    rate_card::Price,
    reservation::CommitRequest,
    usage::{Action, Amount},
};

/// Sets credits aside.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The account.
    pub account_id: AccountId,
    /// The idempotency key.
    pub reservation_id: ReservationId,
    /// What it is for.
    pub action: Arc<Action>,
    /// What the caller asked for.
    pub amount: Amount,
    /// What that costs.
    pub credits: Credits,
    /// The least that will do; absent: all of it.
    pub min_credits: Option<Credits>,
    /// How long the caller wants the hold to stand.
    pub ttl_ms: Option<u64>,
    /// How long it stands: the caller's wish or the default.
    pub effective_ttl_ms: u64,
    /// The version that priced it.
    pub rate_card_version: Arc<str>,
    /// Decide, but hold nothing.
    pub dry_run: bool,
}

/// Adds to an open hold.
#[derive(Clone, Debug)]
pub struct Extend {
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
pub struct Commit {
    /// The account.
    pub account_id: AccountId,
    /// The reservation.
    pub reservation_id: ReservationId,
    /// What a retry is compared with.
    pub request: CommitRequest,
    /// What the reservation costs in whole, outcome considered.
    pub credits: Credits,
    /// How that came about, where the caller gave usage.
    pub price: Option<Arc<Price>>,
    /// Whether it was priced by what the store knows of the reservation, or by the request alone.
    pub known: bool,
    /// What it was for and by which version it was priced; used where it is not known.
    pub action: Arc<Action>,
    /// The version that priced it.
    pub rate_card_version: Arc<str>,
    /// How long a hold stands that this commit keeps open on an unknown reservation.
    pub effective_ttl_ms: u64,
}

/// Gives a hold back.
#[derive(Clone, Debug)]
pub struct Release {
    /// The account.
    pub account_id: AccountId,
    /// The reservation.
    pub reservation_id: ReservationId,
}

/// Reserves and commits in one step.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The account.
    pub account_id: AccountId,
    /// The idempotency key, in the name space of reservations.
    pub charge_id: ReservationId,
    /// What was done.
    pub action: Arc<Action>,
    /// What the caller reported.
    pub amount: Amount,
    /// What that costs.
    pub credits: Credits,
    /// How that came about, where the caller gave usage.
    pub price: Option<Arc<Price>>,
    /// The version that priced it.
    pub rate_card_version: Arc<str>,
    /// Charge even what the balance does not cover.
    pub force: bool,
}

/// Begins a new billing cycle, if the one named is still the account's.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The account.
    pub account_id: AccountId,
    /// The cycle that is over.
    pub ended: Cycle,
    /// The one that begins.
    pub cycle: Cycle,
    /// The plan of it, at the catalogue's present allowance.
    pub plan: PlanTerm,
}

/// Puts the ledger's account in the place of one that differs from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Repair {
    /// As the ledger has it.
    pub stored: Account,
    /// The version of the hot store's account that was compared with it.
    pub version: u64,
    /// How they differ.
    pub reason: String,
}
