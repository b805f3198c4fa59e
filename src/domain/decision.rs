//! What a step on an account answers: views of what is, denials and refusals. Expected refusals
//! are values here; faults belong to the stores.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    account::PlanTerm,
    credits::MAX_CREDITS,
    cycle::Cycle,
    entry::Receipt,
    ids::{AccountId, PlanId, ReservationId},
    reservation::State,
    timestamp::Timestamp,
    usage::{Action, Amount},
};

/// Why a hold was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenialReason {
    /// Something is left, but not enough.
    InsufficientCredits,
    /// Nothing is left.
    BalanceExhausted,
    /// Earlier overage is unpaid.
    DebtOutstanding,
    /// The account takes no new holds.
    AccountSuspended,
    /// The account is closed.
    AccountClosed,
}

impl DenialReason {
    /// The name that scenario files, metrics and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            DenialReason::InsufficientCredits => "insufficient_credits",
            DenialReason::BalanceExhausted => "balance_exhausted",
            DenialReason::DebtOutstanding => "debt_outstanding",
            DenialReason::AccountSuspended => "account_suspended",
            DenialReason::AccountClosed => "account_closed",
        }
    }
}

/// A refusal to hold or to charge. It is an answer, not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Why.
    pub reason: DenialReason,
    /// The least that would have been granted.
    pub required: u64,
    /// What can be spent.
    pub available: u64,
}

/// What an account has, at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Spendable now; zero while there is debt.
    pub available: u64,
    /// Set aside by open holds.
    pub held: u64,
    /// Overage that no grant covered yet.
    pub debt: u64,
    /// The plan.
    pub plan_id: PlanId,
    /// Its credits per cycle.
    pub plan_allowance: u64,
    /// The plan of the next cycle, where it differs.
    pub next_plan: Option<PlanTerm>,
    /// Settled against the plan's grant in this cycle.
    pub plan_used: u64,
    /// Left of the plan's grant in this cycle.
    pub plan_remaining: u64,
    /// What can become of the plan's grant of this cycle.
    pub plan_grant: PlanGrant,
    /// Left of packs, promotions and adjustments together.
    pub pack_remaining: u64,
    /// Of that, what is not over when the next cycle begins.
    pub pack_lasting: u64,
    /// When the next cycle begins: the first one, where the subscription is still to come.
    pub renews_at: Timestamp,
    /// Of the newest ledger entry.
    pub sequence: u64,
    /// When this was read, by the store's clock.
    pub as_of: Timestamp,
    /// Increases with every change, holds included; what time alone does is ordered by `as_of`.
    pub version: u64,
}

/// What can become of the grant of a cycle's plan, whole credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanGrant {
    /// Another plan makes it larger or smaller at once.
    Open {
        /// What open holds set aside of it: with what is used, all that another plan keeps of it.
        held: u64,
    },
    /// Its cycle is the first one, and is still to come.
    ToCome {
        /// What it brings then.
        credits: u64,
    },
    /// Nothing: it was voided.
    Over,
}

/// A reservation as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationView {
    /// The reservation.
    pub id: ReservationId,
    /// Its account.
    pub account_id: AccountId,
    /// Where it is in its life; `None` for a dry run.
    pub state: Option<State>,
    /// What it is for.
    pub action: Arc<Action>,
    /// What is still set aside.
    pub held: u64,
    /// What was settled so far.
    pub charged: u64,
    /// When the hold ends.
    pub expires_at: Timestamp,
    /// The version that every price of it uses.
    pub rate_card_version: Arc<str>,
    /// What it was made for.
    pub asked: Amount,
    /// What was last reported, cumulative.
    pub reported: Option<Amount>,
}

/// The answer to a reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The hold, or why there is none.
    pub result: Result<ReservationView, Denial>,
    /// The account after it.
    pub balance: Balance,
    /// The same request was answered before.
    pub replayed: bool,
}

/// The answer to an extension: the same shape as a reserve's.
pub type Extended = Reserved;

/// The answer to a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// What it did.
    pub receipt: Receipt,
    /// The reservation after it.
    pub reservation: ReservationView,
    /// The account after it.
    pub balance: Balance,
    /// The same request was answered before.
    pub replayed: bool,
    /// Why `next_hold` could not be held.
    pub next_hold_denial: Option<Denial>,
}

/// The answer to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The reservation after it.
    pub reservation: ReservationView,
    /// Of the hold, back to its grants.
    pub returned: u64,
    /// The account after it.
    pub balance: Balance,
    /// The same request was answered before.
    pub replayed: bool,
}

/// The answer to a charge.
#[derive(Clone, Debug, PartialEq)]
pub struct Charged {
    /// What it did, or why it did nothing.
    pub result: Result<Receipt, Denial>,
    /// The account after it.
    pub balance: Balance,
    /// The same request was answered before.
    pub replayed: bool,
}

/// Why a step did nothing, though nothing is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The hot store does not know the account, or not yet what its creation gave it: load it and
    /// ask again.
    #[error("the account is not loaded")]
    NotLoaded,
    /// Whoever can ask the ledger has lately found no such account there.
    #[error("there is no such account")]
    Absent,
    /// The account's cycle is over: renew it and ask again.
    #[error("the billing cycle is over")]
    CycleEnded(CycleEnded),
    /// The command was priced for a reservation that is known, or is not, and the opposite is
    /// so: price it again.
    #[error("the reservation changed while it was priced")]
    Reprice,
    /// No reservation of this id.
    #[error("no such reservation")]
    ReservationNotFound,
    /// The id was used before, with another payload.
    #[error("the id was used before with another {field}")]
    Conflict {
        /// The first field that differs.
        field: &'static str,
    },
    /// The reservation is not open.
    #[error("the reservation is {}, not open", state.name())]
    NotOpen {
        /// What it is instead.
        state: State,
    },
    /// A number would leave the range that every store keeps exactly.
    #[error("{field} would exceed {MAX_CREDITS} credits")]
    OutOfRange {
        /// Which one.
        field: &'static str,
    },
    /// The reservation has too many extensions or commits.
    #[error("a reservation takes at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it takes.
        max: usize,
    },
    /// What is stored of the reservation can't be read: something else wrote it, or damaged it.
    #[error("what is stored of the reservation can't be read")]
    Unreadable,
    /// Earlier changes of this account must be applied first.
    #[error("changes from number {next} on must be applied first")]
    ChangeGap {
        /// The next change that the account takes.
        next: u64,
    },
}

/// What is needed to renew an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleEnded {
    /// The anchor of the cycles.
    pub anchor: Timestamp,
    /// The cycle that is over.
    pub ended: Cycle,
    /// The plan of the next one.
    pub plan_id: PlanId,
    /// Its allowance when it was chosen, for a plan that the catalogue has lost.
    pub allowance: u64,
    /// The store's clock.
    pub now: Timestamp,
}
