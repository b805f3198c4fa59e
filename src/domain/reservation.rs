//! A reservation: a hold on named grants, with a receipt for everything that was settled on it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    credits::Credits,
    decision::{Denial, ReservationView},
    entry::Receipt,
    grant::{Draw, sum_draws},
    ids::{AccountId, ExtensionId, ReservationId},
    timestamp::Timestamp,
    usage::{Action, Amount, Outcome},
};

/// The most extensions that one reservation takes. Each is remembered as long as the reservation
/// is, so that none is ever applied twice.
pub const EXTENSIONS_MAX: usize = 1024;

/// Where a reservation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Credits are set aside, or may be again.
    Open,
    /// Settled to the end.
    Committed,
    /// Given back: the action did not run.
    Released,
    /// Given back by its deadline; a late commit still counts.
    Expired,
}

impl State {
    /// The name that scenario files, metrics and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Committed => "committed",
            State::Released => "released",
            State::Expired => "expired",
        }
    }
}

/// By which request a reservation came to be: what a retry is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A reserve.
    Reserve {
        /// What was asked for.
        amount: Amount,
        /// Whether less would do, and how little.
        min_credits: Option<Credits>,
        /// The caller's own duration of the hold.
        ttl_ms: Option<u64>,
    },
    /// A charge.
    Charge {
        /// What was charged.
        amount: Amount,
        /// Whether the balance had to cover it.
        force: bool,
    },
    /// A commit of a reservation that was not known.
    Commit {
        /// What was committed.
        amount: Amount,
    },
}

impl Origin {
    /// What was asked for, whatever the request.
    pub fn amount(&self) -> &Amount {
        match self {
            Origin::Reserve { amount, .. }
            | Origin::Charge { amount, .. }
            | Origin::Commit { amount } => amount,
        }
    }

    fn into_amount(self) -> Amount {
        match self {
            Origin::Reserve { amount, .. }
            | Origin::Charge { amount, .. }
            | Origin::Commit { amount } => amount,
        }
    }
}

/// The request of a commit: what a retry is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// What was reported.
    pub amount: Amount,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether more would follow.
    pub keep_open: bool,
    /// What was to be held next.
    pub next_hold: Credits,
}

/// The last commit and its answer, kept for whoever retries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastCommit {
    /// The request.
    pub request: CommitRequest,
    /// What it did.
    pub receipt: Receipt,
    /// Why `next_hold` could not be held.
    pub next_hold_denial: Option<Denial>,
}

/// One extension that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its idempotency key.
    pub id: ExtensionId,
    /// What it added.
    pub add: Credits,
    /// How long it asked for.
    pub ttl_ms: Option<u64>,
}

/// What every price of a reservation depends on, and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What it is for.
    pub action: Arc<Action>,
    /// The version that every price of it uses.
    pub rate_card_version: Arc<str>,
}

/// A reservation, whatever its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its id, unique within the account.
    pub id: ReservationId,
    /// Its account.
    pub account_id: AccountId,
    /// Where it is in its life.
    pub state: State,
    /// What it is for.
    pub action: Arc<Action>,
    /// The version that every price of it uses.
    pub rate_card_version: Arc<str>,
    /// By which request it came to be.
    pub origin: Origin,
    /// What is set aside, in the order in which the grants are spent.
    pub holds: Vec<Draw>,
    /// What was charged to grants, in the order of charging.
    pub charges: Vec<Draw>,
    /// Charged so far, in whole: draws, debt and write-offs.
    pub charged: u64,
    /// Of that, what became debt.
    pub debt: u64,
    /// Of that, what was written off.
    pub written_off: u64,
    /// How many commits it had.
    pub commits: u32,
    /// The last one.
    pub last_commit: Option<Box<LastCommit>>,
    /// The extensions that it had.
    pub extensions: Vec<Extension>,
    /// What a release gave back.
    pub returned: u64,
    /// How long a hold of it stands.
    pub ttl_ms: u64,
    /// When the hold ends.
    pub expires_at: Timestamp,
    /// When it left the open state, for the replay window.
    pub ended_at: Option<Timestamp>,
}

impl Reservation {
    /// An open reservation that holds nothing yet.
    pub fn new(
        (account_id, id): (&AccountId, &ReservationId),
        (action, rate_card_version): (&Arc<Action>, &Arc<str>),
        origin: Origin,
        ttl_ms: u64,
        now: Timestamp,
    ) -> Self {
        Reservation {
            id: id.clone(),
            account_id: account_id.clone(),
            state: State::Open,
            action: Arc::clone(action),
            rate_card_version: Arc::clone(rate_card_version),
            origin,
            holds: Vec::new(),
            charges: Vec::new(),
            charged: 0,
            debt: 0,
            written_off: 0,
            commits: 0,
            last_commit: None,
            extensions: Vec::new(),
            returned: 0,
            ttl_ms,
            expires_at: now.plus_millis(ttl_ms),
            ended_at: None,
        }
    }

    /// What is set aside.
    pub fn held(&self) -> u64 {
        sum_draws(&self.holds)
    }

    /// Since when the hold stands with the time that it has: since its reserve, or what prolonged
    /// it last. Never earlier than that, and later where an extension asked for less time than was
    /// left.
    pub fn stands_since(&self) -> Timestamp {
        let ttl_ms = i64::try_from(self.ttl_ms).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.expires_at.millis().saturating_sub(ttl_ms))
    }

    /// Whether its deadline has passed and it still counts as open.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Open && self.expires_at <= now
    }

    /// As it is at an instant: one that is due holds nothing any more, also where nobody has come to
    /// expire it yet.
    pub fn as_of(mut self, now: Timestamp) -> Self {
        if self.is_due(now) {
            self.expire(now);
        }
        self
    }

    /// Ends it at its deadline, whatever was settled of it; answers what it held.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Draw> {
        self.state = State::Expired;
        self.ended_at = Some(now);
        std::mem::take(&mut self.holds)
    }

    /// What was last reported.
    pub fn reported(&self) -> Option<&Amount> {
        self.last_commit.as_ref().map(|last| &last.request.amount)
    }

    /// As it is answered.
    pub fn view(&self) -> ReservationView {
        ReservationView {
            id: self.id.clone(),
            account_id: self.account_id.clone(),
            state: Some(self.state),
            action: Arc::clone(&self.action),
            held: self.held(),
            charged: self.charged,
            expires_at: self.expires_at,
            rate_card_version: Arc::clone(&self.rate_card_version),
            asked: self.origin.amount().clone(),
            reported: self.reported().cloned(),
        }
    }

    /// As it is answered, where nothing else is asked of it.
    pub fn into_view(self) -> ReservationView {
        ReservationView {
            state: Some(self.state),
            held: self.held(),
            charged: self.charged,
            expires_at: self.expires_at,
            id: self.id,
            account_id: self.account_id,
            action: self.action,
            rate_card_version: self.rate_card_version,
            asked: self.origin.into_amount(),
            reported: self.last_commit.map(|last| last.request.amount),
        }
    }
}
