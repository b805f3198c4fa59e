//! A grant: credits given at once, with a lifetime and a place in the order of spending.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::{ids::GrantId, timestamp::Timestamp};

/// The priority of a grant that names none. Lower is spent first.
pub const DEFAULT_PRIORITY: i32 = 100;
/// The most live grants that one account may have: the cost of a hold grows with them.
pub const GRANTS_MAX: usize = 256;

/// Where a grant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Made by the billing cycle, expires with it.
    Plan,
    /// Bought once, never expires.
    Pack,
    /// A promotion: spent before what was paid for.
    Promo,
    /// Made by support or by a refund.
    Adjustment,
}

/// Credits given at once. All amounts are whole credits;
/// `amount = remaining + held + used + expired` always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Unique within the account.
    pub id: GrantId,
    /// Where it comes from.
    pub kind: GrantKind,
    /// What it gave.
    pub amount: u64,
    /// What was charged to it.
    pub used: u64,
    /// What open holds set aside of it.
    pub held: u64,
    /// What was left when it expired or was voided.
    pub expired: u64,
    /// Lower is spent first.
    pub priority: i32,
    /// From when on it can be spent.
    pub effective_at: Timestamp,
    /// Until when it can be spent, exclusive; `None`: for ever.
    pub expires_at: Option<Timestamp>,
    /// When support took back what was left.
    pub voided_at: Option<Timestamp>,
    /// Plan or pack id, or the reason given.
    pub source: String,
}

impl Grant {
    /// What can still be held or charged, were it active.
    pub fn remaining(&self) -> u64 {
        self.amount
            .saturating_sub(self.used + self.held + self.expired)
    }

    /// Whether it has ended: its time is over, or it was voided.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.voided_at.is_some() || self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether it can be spent.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.effective_at <= now && !self.has_ended(now)
    }

    /// The one total order of spending (PRODUCT.md, rule 9): priority, expiry (never comes
    /// last), promotions before paid, effective date, id.
    pub fn spending_order(&self, other: &Grant) -> Ordering {
        self.spending_key().cmp(&other.spending_key())
    }

    fn spending_key(&self) -> (i32, Timestamp, bool, Timestamp, &GrantId) {
        let never = Timestamp::from_millis(i64::MAX);
        let paid = match self.kind {
            GrantKind::Promo => false,
            GrantKind::Plan | GrantKind::Pack | GrantKind::Adjustment => true,
        };
        (
            self.priority,
            self.expires_at.unwrap_or(never),
            paid,
            self.effective_at,
            &self.id,
        )
    }

    /// Whether its parts add up (DESIGN.md, invariant 1).
    pub fn adds_up(&self) -> bool {
        self.used
            .checked_add(self.held)
            .and_then(|sum| sum.checked_add(self.expired))
            .is_some_and(|sum| sum <= self.amount)
    }
}

/// Credits taken from, or given back to, one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// The grant.
    pub grant_id: GrantId,
    /// Whole credits, above zero.
    pub credits: u64,
}

/// Adds to the draw on a grant, or starts one.
pub fn add_draw(draws: &mut Vec<Draw>, grant_id: &GrantId, credits: u64) {
    if credits == 0 {
        return;
    }
    match draws.iter_mut().find(|draw| draw.grant_id == *grant_id) {
        Some(draw) => draw.credits += credits,
        None => draws.push(Draw {
            grant_id: grant_id.clone(),
            credits,
        }),
    }
}

/// The sum of some draws.
pub fn sum_draws(draws: &[Draw]) -> u64 {
    draws.iter().map(|draw| draw.credits).sum()
}
