//! What a settled change leaves in the ledger: one immutable entry each, with the account's next
//! sequence, and by how much it moved each grant.

mod json;
#[cfg(test)]
pub(in crate::domain) mod strategies;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::json::usage_entry as usage_json;

use super::{
    account::AccountHead,
    grant::{Draw, Grant},
    ids::{AccountId, GrantId, ReservationId},
    rate_card::Price,
    timestamp::Timestamp,
    usage::{Action, Amount, Outcome},
};

/// What kind of change an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A grant was added, the first plan grant included.
    Grant,
    /// Usage was settled.
    Usage,
    /// Charged credits were given back.
    Refund,
    /// What was left of a grant expired.
    Expiry,
    /// What was left of a grant was taken back.
    Void,
    /// A new billing cycle began.
    Renewal,
    /// The plan changed, now or for the next renewal.
    PlanChange,
    /// A grant paid debt.
    DebtRepaid,
    /// The account's status changed.
    Status,
    /// The hot store had another account than the ledger, and was put right: the ledger's own
    /// account does not move.
    Repair,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [EntryKind; 10] = [
        EntryKind::Grant,
        EntryKind::Usage,
        EntryKind::Refund,
        EntryKind::Expiry,
        EntryKind::Void,
        EntryKind::Renewal,
        EntryKind::PlanChange,
        EntryKind::DebtRepaid,
        EntryKind::Status,
        EntryKind::Repair,
    ];

    /// The name that stored records, the command line and the metrics use.
    pub fn name(self) -> &'static str {
        match self {
            EntryKind::Grant => "grant",
            EntryKind::Usage => "usage",
            EntryKind::Refund => "refund",
            EntryKind::Expiry => "expiry",
            EntryKind::Void => "void",
            EntryKind::Renewal => "renewal",
            EntryKind::PlanChange => "plan_change",
            EntryKind::DebtRepaid => "debt_repaid",
            EntryKind::Status => "status",
            EntryKind::Repair => "repair",
        }
    }
}

/// One line of an account's ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The account.
    pub account_id: AccountId,
    /// The account's next number; no gaps.
    pub sequence: u64,
    /// What happened.
    pub kind: EntryKind,
    /// By how much the account's worth (what its grants have left, holds included, less its
    /// debt) changed. All entries of an account add up to its worth.
    pub credits: i64,
    /// What could be spent after it.
    pub available_after: u64,
    /// What was owed after it.
    pub debt_after: u64,
    /// The grants that it took from, or gave back to where `credits` is positive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draws: Vec<Draw>,
    /// When, by the hot store's clock.
    pub occurred_at: Timestamp,
    /// Why, where somebody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who, where somebody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// The reservation that was settled or refunded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<ReservationId>,
    /// What was settled, for usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<Box<Settlement>>,
    /// The number of the administrative change that this carries out, its last entry only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
    /// By how much each grant moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<GrantMove>,
    /// The account after it, without its grants.
    pub head: AccountHead,
}

/// The settled usage of one commit or charge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// The number of this commit within its reservation, from 1: with account and reservation
    /// the key that the ledger accepts once.
    pub commit: u32,
    /// Whether it ended the reservation.
    pub last: bool,
    /// What was done.
    pub action: Arc<Action>,
    /// How much of it, cumulative.
    pub amount: Amount,
    /// How it ended.
    pub outcome: Outcome,
    /// What was held before it.
    pub held_before: u64,
    /// What it did.
    pub receipt: Receipt,
}

/// What one settlement did to the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Charged by this settlement, written-off credits included.
    pub credits: u64,
    /// Charged by earlier commits of this reservation and given back by this one.
    #[serde(default)]
    pub corrected: u64,
    /// The price of the cumulative usage, where the caller gave usage.
    pub price: Option<Arc<Price>>,
    /// Of the hold, back to its grants.
    pub returned: u64,
    /// Charged above the hold.
    pub overage: u64,
    /// Of the overage, what no grant covered.
    pub debt_added: u64,
    /// Of the overage, what the account's policy absorbs.
    pub written_off: u64,
    /// The grants that were charged (or given back to, where `corrected`).
    pub draws: Vec<Draw>,
    /// The reservation had expired, or was not known.
    pub late: bool,
    /// Of the entry; zero where there was nothing to settle.
    pub sequence: u64,
}

/// By how much one grant moved, and its definition where the entry made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantMove {
    /// The grant.
    pub grant_id: GrantId,
    /// Added to `amount`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub amount: i64,
    /// Added to `used`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub used: i64,
    /// Added to `expired`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: i64,
    /// Set where the entry voided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voided_at: Option<Timestamp>,
    /// The grant as it was made, with nothing used, held or expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Box<Grant>>,
}

// Serde hands the field over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(delta: &i64) -> bool {
    *delta == 0
}

impl GrantMove {
    /// A move of nothing, to be filled in.
    pub fn of(grant_id: &GrantId) -> Self {
        GrantMove {
            grant_id: grant_id.clone(),
            amount: 0,
            used: 0,
            expired: 0,
            voided_at: None,
            made: None,
        }
    }

    /// By how much the grant's worth (amount − used − expired) changed.
    pub fn worth(&self) -> i64 {
        self.amount - self.used - self.expired
    }
}
