//! Commands in a few words: `reserve("r1", 60)`, with everything else as a caller would leave it.

use std::sync::Arc;

use tollgate::domain::{
    command::{Charge, Commit, Extend, Release, Reserve},
    credits::Credits,
    ids::{AccountId, ExtensionId, ReservationId},
    reservation::CommitRequest,
    usage::{Action, Amount, Outcome},
};

use super::account_id;

/// How long a hold stands where nobody says otherwise.
pub const TTL_MS: u64 = 60_000;
/// The rate card that prices everything here.
pub const VERSION: &str = "v1";
/// The account that a suite talks about unless it names another.
pub const ACCOUNT: &str = "acme";

/// The account that a suite talks about.
pub fn acme() -> AccountId {
    account_id(ACCOUNT)
}

/// A reservation's id.
pub fn reservation_id(text: &str) -> ReservationId {
    ReservationId::new(text).expect("an id")
}

/// Credits, in range.
pub fn credits(credits: u64) -> Credits {
    Credits::new(credits).expect("credits in range")
}

/// An action of a mode.
pub fn action(mode: &str) -> Arc<Action> {
    Arc::new(Action {
        mode: mode.to_owned(),
        ..Action::default()
    })
}

/// Holds all of some credits.
pub fn reserve(id: &str, amount: u64) -> Reserve {
    Reserve {
        account_id: acme(),
        reservation_id: reservation_id(id),
        action: action("agent"),
        amount: Amount::Credits(credits(amount)),
        credits: credits(amount),
        min_credits: None,
        ttl_ms: None,
        effective_ttl_ms: TTL_MS,
        rate_card_version: VERSION.into(),
        dry_run: false,
    }
}

/// Adds credits to a hold.
pub fn extend(id: &str, extension: &str, add: u64) -> Extend {
    Extend {
        account_id: acme(),
        reservation_id: reservation_id(id),
        extension_id: ExtensionId::new(extension).expect("an id"),
        add: credits(add),
        ttl_ms: None,
    }
}

/// The last commit of a reservation that the store knows.
pub fn commit(id: &str, amount: u64) -> Commit {
    Commit {
        account_id: acme(),
        reservation_id: reservation_id(id),
        request: CommitRequest {
            amount: Amount::Credits(credits(amount)),
            outcome: Outcome::Succeeded,
            keep_open: false,
            next_hold: Credits::ZERO,
        },
        credits: credits(amount),
        price: None,
        known: true,
        action: action("agent"),
        rate_card_version: VERSION.into(),
        effective_ttl_ms: TTL_MS,
    }
}

/// A commit that more will follow.
pub fn commit_open(id: &str, amount: u64, next_hold: u64) -> Commit {
    let last = commit(id, amount);
    let request = CommitRequest {
        keep_open: true,
        next_hold: credits(next_hold),
        ..last.request
    };
    Commit { request, ..last }
}

/// Gives a hold back.
pub fn release(id: &str) -> Release {
    Release {
        account_id: acme(),
        reservation_id: reservation_id(id),
    }
}

/// Charges at once.
pub fn charge(id: &str, amount: u64) -> Charge {
    Charge {
        account_id: acme(),
        charge_id: reservation_id(id),
        action: action("agent"),
        amount: Amount::Credits(credits(amount)),
        credits: credits(amount),
        price: None,
        rate_card_version: VERSION.into(),
        force: false,
    }
}
