//! The audit log: a line for each call of AdminService, in the ledger for ever.

use crate::domain::{ids::AccountId, timestamp::Timestamp};

/// One call of AdminService, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminCall {
    /// When it came in.
    pub at: Timestamp,
    /// Who called, by the access file; empty: there was none, or it does not know the caller.
    pub principal: String,
    /// Where the connection came from.
    pub peer: String,
    /// The method's short name, e.g. `Refund`.
    pub method: String,
    /// The account that it named; empty: none.
    pub account_id: String,
    /// The idempotency key that it named; empty: none.
    pub key: String,
    /// The name of its status, e.g. `OK`.
    pub outcome: String,
    /// The stable reason of a status that is not `OK`.
    pub reason: String,
    /// The caller's id of its request, or one that was made for it.
    pub request_id: String,
}

/// Which calls to list. Every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// That named this account.
    pub account_id: Option<AccountId>,
    /// By this principal.
    pub principal: Option<String>,
    /// Of this method.
    pub method: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// A page of calls, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<AdminCall>,
    /// The number of the last of them, where the next page starts; absent on the last page.
    pub next: Option<u64>,
}
