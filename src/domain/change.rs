//! Administrative changes. Each is written to the ledger first, under its idempotency key and with
//! the account's next change number, and then applied to the hot store: in the order of the
//! numbers, each once, by whoever comes first.

use serde::{Deserialize, Serialize};

use super::{
    account::{Account, AccountHead, OveragePolicy, PlanTerm, Status},
    cycle::Cycle,
    decision::Balance,
    grant::{Grant, GrantKind},
    ids::{AccountId, GrantId, ReservationId},
    timestamp::Timestamp,
};

/// A change as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The account.
    pub account_id: AccountId,
    /// Counts the account's changes, from 1, without gaps.
    pub number: u64,
    /// What changes.
    pub body: ChangeBody,
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeBody {
    /// The account comes to be, with its first plan grant.
    Create(Create),
    /// It may hold, or may not.
    SetStatus {
        /// What it becomes.
        status: Status,
        /// Why.
        reason: String,
    },
    /// Another plan.
    ChangePlan {
        /// The plan.
        plan: PlanTerm,
        /// Wait for the renewal; absent: an upgrade acts at once, a downgrade waits.
        at_renewal: Option<bool>,
    },
    /// More credits.
    Grant {
        /// The grant, untouched.
        grant: Box<Grant>,
        /// Why.
        reason: String,
    },
    /// What is left of a grant is taken back.
    Void {
        /// The grant.
        grant_id: GrantId,
        /// Why.
        reason: String,
    },
    /// Charged credits are given back.
    Refund(Refund),
}

/// A new account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Its plan.
    pub plan: PlanTerm,
    /// The anchor of its cycles.
    pub subscribed_at: Timestamp,
    /// The cycle that it begins in.
    pub cycle: Cycle,
    /// What becomes of uncovered overage.
    pub overage: OveragePolicy,
}

/// Credits of one reservation that are given back, grant by grant, as the ledger worked it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// What was settled.
    pub reservation_id: ReservationId,
    /// To the grants that were charged, last charged first.
    pub parts: Vec<RefundPart>,
    /// Of what became debt: off the debt where it is still owed, else to an adjustment grant.
    pub of_debt: u64,
    /// What earlier refunds of the reservation give back. A correction that the ledger did not have
    /// yet may have given back a part of this one already: all refunds together give back no more
    /// than the reservation costs when they are applied. Absent where that does not bound it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded: Option<u64>,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
}

/// What a refund gives back to one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundPart {
    /// The grant as the ledger had it, for a hot store that has dropped it as used up.
    pub grant: Box<Grant>,
    /// What it gets back.
    pub credits: u64,
}

impl Refund {
    /// All that is given back.
    pub fn credits(&self) -> u64 {
        self.of_debt + self.parts.iter().map(|part| part.credits).sum::<u64>()
    }

    /// What is left of it where the reservation costs so much: what was charged last has gone back
    /// with the correction.
    pub(super) fn within(&self, charged: u64) -> Refund {
        let mut left = self.clone();
        let Some(refunded) = self.refunded else {
            return left;
        };
        let mut excess = self
            .credits()
            .saturating_sub(charged.saturating_sub(refunded));
        let amounts = left.parts.iter_mut().map(|part| &mut part.credits);
        for credits in std::iter::once(&mut left.of_debt).chain(amounts) {
            let gone = excess.min(*credits);
            *credits -= gone;
            excess -= gone;
        }
        left.parts.retain(|part| part.credits > 0);
        left
    }
}

impl Create {
    /// The account before its first change, which is this one.
    pub fn blank_account(&self, id: &AccountId) -> Account {
        Account {
            id: id.clone(),
            head: AccountHead {
                status: Status::Active,
                plan: self.plan.clone(),
                next_plan: None,
                overage: self.overage,
                anchor: self.subscribed_at,
                cycle: self.cycle,
                debt: 0,
                applied_change: 0,
            },
            grants: Vec::new(),
            sequence: 0,
            version: 0,
        }
    }
}

/// The plan's grant for one cycle.
pub fn plan_grant(plan: &PlanTerm, cycle: Cycle) -> Grant {
    Grant {
        id: GrantId::plan(cycle.index),
        kind: GrantKind::Plan,
        amount: plan.allowance,
        used: 0,
        held: 0,
        expired: 0,
        priority: super::grant::DEFAULT_PRIORITY,
        effective_at: cycle.start,
        expires_at: Some(cycle.end),
        voided_at: None,
        source: plan.id.to_string(),
    }
}

/// What applying a change answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether this call did it; otherwise it had been done before.
    pub now: bool,
    /// The account after it.
    pub balance: Balance,
}
