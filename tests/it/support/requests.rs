//! Requests to QuotaService in a few words, with everything else as a caller would leave it.

use tollgate::pb::{Action, CommitRequest, ReserveRequest, commit_request, reserve_request};

use super::commands::ACCOUNT;

/// Holds credits of the account that a suite talks about.
pub fn reserve(id: &str, credits: u64) -> ReserveRequest {
    reserve_of(ACCOUNT, id, credits)
}

/// Charges credits to the account that a suite talks about.
pub fn commit(id: &str, credits: u64) -> CommitRequest {
    commit_of(ACCOUNT, id, credits)
}

/// Holds credits of an account.
pub fn reserve_of(account_id: &str, id: &str, credits: u64) -> ReserveRequest {
    ReserveRequest {
        account_id: account_id.to_owned(),
        reservation_id: id.to_owned(),
        action: Some(Action {
            mode: "discuss".to_owned(),
            ..Action::default()
        }),
        amount: Some(reserve_request::Amount::Credits(credits)),
        ..ReserveRequest::default()
    }
}

/// Charges credits to an account.
pub fn commit_of(account_id: &str, id: &str, credits: u64) -> CommitRequest {
    CommitRequest {
        account_id: account_id.to_owned(),
        reservation_id: id.to_owned(),
        amount: Some(commit_request::Amount::Credits(credits)),
        ..CommitRequest::default()
    }
}
