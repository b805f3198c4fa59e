//! The seam to the hot balances: one atomic step per method, each of which decides and answers.
//! There is no get and no set, so no caller can check first and act later.
//!
//! Expected refusals are values ([`Refusal`]); a [`HotFault`] says that the store failed and
//! whether the step may have happened. Every step is safe to repeat after either: the ids in the
//! commands make a second run answer what the first one answered.
//!
//! What is absent: no method takes the time (a store has its own clock), none waits for the
//! ledger, and none knows a rate card.

mod cursor;
mod line;
pub mod memory;
pub mod redis;

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;

use crate::domain::{
    account::Account,
    change::{Applied, Change},
    command::{Charge, Commit, Extend, Release, Renewal, Repair, Reserve},
    decision::{
        Balance, Charged, Committed, Extended, Refusal, Released, ReservationView, Reserved,
    },
    ids::{AccountId, ReservationId},
    packed::Packed,
    reservation::Reservation,
    timestamp::Timestamp,
};

pub use self::cursor::{Commits, Cursor, Fence, Standing};
pub use self::line::Line;
pub use crate::domain::reservation::Terms;

/// What a step answers: its value or an expected refusal; or the store's fault.
pub type Answer<T> = Result<Result<Done<T>, Refusal>, HotFault>;

/// A step's value, and where its shard's outbox stood after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Done<T> {
    /// The value.
    pub value: T,
    /// What the ledger must have reached for this answer to be durable there.
    pub mark: Mark,
}

/// A place in a shard's outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The shard.
    pub shard: u32,
    /// The epoch in which the shard was verified last: positions of another one say nothing about
    /// this one's, since some may have been lost in between and given out again.
    pub era: u64,
    /// How many records its outbox had had.
    pub position: u64,
}

/// When an account was found not to be loaded: asked for before the ledger is read, so that a
/// state that was read before the store lost something is never put in after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    /// By the store's clock.
    pub now: Timestamp,
    /// The epoch of the account's shard.
    pub era: u64,
}

/// Whether a step that failed may have happened all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It did not happen.
    Determinate,
    /// It may have happened.
    Indeterminate,
}

impl Certainty {
    /// As error details and metrics write it.
    pub fn name(self) -> &'static str {
        match self {
            Certainty::Determinate => "did_not_happen",
            Certainty::Indeterminate => "may_have_happened",
        }
    }
}

/// The store failed.
#[derive(Debug)]
pub struct HotFault {
    /// Whether the step may have happened.
    pub certainty: Certainty,
    /// Which step it was.
    pub operation: &'static str,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What is stored is nothing that this version can read: somebody else has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record that this version can't read: {0}")]
pub struct Unreadable(pub &'static str);

impl HotFault {
    /// The record that is at fault, where it is not the store.
    pub fn unreadable(&self) -> Option<Unreadable> {
        self.source.downcast_ref().copied()
    }
}

impl fmt::Display for HotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certainty = match self.certainty {
            Certainty::Determinate => "did not happen",
            Certainty::Indeterminate => "may have happened",
        };
        write!(
            f,
            "hot store: {} failed and {certainty}: {}",
            self.operation, self.source
        )
    }
}

impl Error for HotFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// What one shard has for the ledger: a consistent cut, everything up to `to`. A copy shares what
/// is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboxBatch {
    /// The shard.
    pub shard: u32,
    /// The cursor that the ledger must have: what it has had so far.
    pub from: u64,
    /// The cursor after this batch.
    pub to: u64,
    /// The epoch that the ledger must have the shard at.
    pub epoch: u64,
    /// The epoch that marks of its positions name.
    pub era: u64,
    /// New entries, in sequence for each account.
    pub entries: Arc<[Arc<Line>]>,
    /// Reservations that changed, for a hot store that keeps none on disk itself; `None`:
    /// forgotten.
    pub reservations: Arc<[Changed]>,
}

/// A reservation that changed, as it is now; `None`: forgotten.
pub type Changed = ((AccountId, ReservationId), Option<Packed>);
/// A reservation that a ledger keeps for a hot store that keeps none on disk itself.
pub type KeptReservation = ((AccountId, ReservationId), Packed);

impl OutboxBatch {
    /// Where the ledger must be for the batch to settle.
    pub fn start(&self) -> Cursor {
        self.cursor_at(self.from)
    }

    /// Where the ledger is once the batch has settled.
    pub fn end(&self) -> Cursor {
        self.cursor_at(self.to)
    }

    /// What an answer waits for whose last record is at `position`.
    pub fn mark_at(&self, position: u64) -> Mark {
        Mark {
            shard: self.shard,
            era: self.era,
            position,
        }
    }

    /// A place in the batch's outbox.
    pub fn cursor_at(&self, position: u64) -> Cursor {
        Cursor {
            shard: self.shard,
            epoch: self.epoch,
            position,
        }
    }
}

/// Some loaded accounts of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Their ids. An account may come twice while the shard changes, and none is left out that
    /// was there all the time.
    pub ids: Vec<AccountId>,
    /// Where the next ones start; absent: there are no more.
    pub next: Option<String>,
}

/// An account as it is stored: no time has acted on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The account.
    pub account: Account,
    /// The first invariant that it breaks, with its holds.
    pub broken: Option<String>,
    /// How many those are.
    pub holds: usize,
    /// The one of them that has stood for longest.
    pub oldest: Option<OldHold>,
}

/// An open hold, and how long it has stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldHold {
    /// Its account.
    pub account_id: AccountId,
    /// Which one.
    pub reservation_id: ReservationId,
    /// When it ends, unless somebody prolongs it.
    pub expires_at: Timestamp,
    /// See [`Reservation::stands_since`].
    pub since: Timestamp,
}

impl OldHold {
    /// Of some holds the one that has stood for longest.
    pub fn of<'a>(holds: impl IntoIterator<Item = &'a Reservation>) -> Option<Self> {
        let oldest = holds.into_iter().min_by_key(|hold| hold.stands_since())?;
        Some(OldHold {
            account_id: oldest.account_id.clone(),
            reservation_id: oldest.id.clone(),
            expires_at: oldest.expires_at,
            since: oldest.stands_since(),
        })
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds that expired.
    pub expired: usize,
    /// Settled reservations whose replay window is over.
    pub forgotten: usize,
    /// Idle accounts that were dropped.
    pub unloaded: usize,
}

/// How much a hot store has on its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStats {
    /// Accounts that are loaded.
    pub accounts: usize,
    /// Reservations that are open.
    pub open: usize,
    /// Outbox records that the ledger does not have yet.
    pub outbox: usize,
    /// Steps after which an invariant of their account did not hold, since the start.
    pub violations: u64,
    /// The earliest deadline that a sweep has to look at, past or to come.
    pub earliest_deadline: Option<Timestamp>,
    /// What this process has put right after a server lost something, since the start.
    pub recovered: Recovered,
}

/// What was put right after a server lost something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Shards that were begun anew or rebuilt from the ledger.
    pub shards: u64,
    /// Outbox records of an older history that the ledger had not and never gets.
    pub lost: u64,
    /// Open holds that were dropped.
    pub holds: u64,
}

/// Hot balances. Every method is one atomic step on one account, or on one shard.
#[async_trait]
pub trait HotStore: Send + Sync {
    /// Sets credits aside, or denies it.
    async fn reserve(&self, command: &Reserve) -> Answer<Reserved>;
    /// Adds to an open hold.
    async fn extend(&self, command: &Extend) -> Answer<Extended>;
    /// Settles usage.
    async fn commit(&self, command: &Commit) -> Answer<Committed>;
    /// Gives a hold back.
    async fn release(&self, command: &Release) -> Answer<Released>;
    /// Reserves and commits in one step.
    async fn charge(&self, command: &Charge) -> Answer<Charged>;

    /// What an account has.
    async fn balance(&self, account_id: &AccountId) -> Answer<Balance>;
    /// An account with its live grants and its balance.
    async fn account(&self, account_id: &AccountId) -> Answer<(Account, Balance)>;
    /// A reservation as it is, expired where its deadline has passed; `None`: not known.
    async fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<ReservationView>>;
    /// By what to price a commit; `None`: the reservation is not known. A store may answer what it
    /// remembers: then it refuses the commit with [`Refusal::Reprice`] where that is not so any
    /// more, and remembers it no longer.
    async fn terms(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<Terms>> {
        let answer = self.reservation(account_id, reservation_id).await?;
        Ok(answer.map(|done| Done {
            value: done.value.map(|view| Terms {
                action: view.action,
                rate_card_version: view.rate_card_version,
            }),
            mark: done.mark,
        }))
    }

    /// Applies an administrative change, if it is the account's next.
    async fn apply(&self, change: &Change) -> Answer<Applied>;
    /// Begins a new cycle, if the one that the renewal names is still the account's.
    async fn renew(&self, renewal: &Renewal) -> Answer<()>;
    /// What [`HotStore::load`] must be given: asked before the ledger is read.
    async fn loading(&self, account_id: &AccountId) -> Result<Loading, HotFault>;
    /// Some of a shard's accounts, after those before `from`; about `max` of them.
    async fn loaded(&self, shard: u32, from: Option<&str>, max: usize) -> Result<Loaded, HotFault>;
    /// An account as it is stored; `None`: it is not loaded, or changes too fast to be seen with
    /// its holds. A record that can't be read is a fault that is [`HotFault::unreadable`]. Changes
    /// nothing.
    async fn stored(&self, account_id: &AccountId) -> Result<Option<Stored>, HotFault>;
    /// Puts the ledger's account in the place of one that is still at its sequence and at the
    /// version that was compared, with its open holds as far as the grants still cover them, and
    /// leaves an entry that says so. Answers how many holds expired; `None`: nothing was done.
    async fn repair(&self, repair: &Repair) -> Answer<Option<usize>>;
    /// Puts an account in, unless it is there already, or its shard began another history since
    /// `loading` was asked. What the ledger said then may be older than what it has settled.
    async fn load(&self, account: Account, loading: Loading) -> Result<(), HotFault>;

    /// Expires holds whose deadline has passed and forgets what no retry can ask for any more;
    /// at most `max` of each per shard.
    async fn sweep(&self, max: usize) -> Result<Swept, HotFault>;
    /// How many shards there are, numbered from zero.
    fn shards(&self) -> u32;
    /// Everything that the ledger does not have yet of some shards, in their order. Nothing is
    /// taken out: that is `trim`'s work.
    async fn outboxes(&self, shards: &[u32]) -> Vec<Result<OutboxBatch, HotFault>>;
    /// As [`HotStore::outboxes`], of one shard; one that there is not has nothing.
    async fn outbox(&self, shard: u32) -> Result<OutboxBatch, HotFault> {
        let mut found = self.outboxes(&[shard]).await;
        found.pop().unwrap_or_else(|| Ok(OutboxBatch::default()))
    }
    /// Forgets what the ledger has. Nothing happens where the shard is of another epoch.
    async fn trim(&self, reached: Cursor) -> Result<(), HotFault>;
    /// Says that the ledger does not take a shard's entries, and where it is instead. Either the
    /// store clears that up and runs no step on the shard before it has; or it can't.
    async fn distrust(&self, cursor: Cursor) -> Result<(), HotFault>;
    /// How much there is.
    async fn stats(&self) -> Result<HotStats, HotFault>;
    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, HotFault>;
    /// The first broken invariant of every loaded account that has one, at most `max`.
    async fn broken_invariants(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault>;
}
