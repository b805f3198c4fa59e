//! The seam to the durable ledger: append-only entries, the state that they add up to, the
//! administrative changes before they are applied, and every catalogue that ever priced anything.
//!
//! What is absent: a ledger never decides about credits, has no clock, and no method changes or
//! deletes an entry.

pub mod access;
mod batch;
mod calls;
mod eras;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod kept_entry;
mod months;
mod moves;
mod names;
mod page;
pub mod postgres;
mod raw;
pub mod redo;
pub mod sqlite;
mod standing;

use std::{error::Error, fmt};

use async_trait::async_trait;

pub use self::{
    calls::{AdminCall, CallFilter, CallPage},
    page::{EntryPage, PageToken, PageTokenError},
};
use crate::{
    domain::{
        account::{Account, PlanTerm, Status},
        change::{Change, Create},
        entry::{Entry, EntryKind},
        grant::Grant,
        ids::{AccountId, GrantId, ReservationId},
        timestamp::Timestamp,
    },
    hot::{Commits, Cursor, Fence, KeptReservation, OutboxBatch, Standing},
};

/// The ledger failed: nothing of the operation counts, and it may be tried again.
#[derive(Debug)]
pub struct LedgerFault {
    /// Which operation it was.
    pub operation: &'static str,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for LedgerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ledger: {} failed: {}", self.operation, self.source)
    }
}

impl Error for LedgerFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// An administrative change that somebody asks for.
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    /// The account.
    pub account_id: AccountId,
    /// The idempotency key, unique within the account, e.g. `grant:pack-17`; absent for a change
    /// that is idempotent by nature.
    pub key: Option<String>,
    /// What was asked for, field by field as the caller gave it: what a retry is compared with.
    pub payload: Vec<(String, String)>,
    /// What is to change.
    pub wanted: Wanted,
    /// The call that asks for it: its line of the audit log is written together with the change,
    /// and not where the request turns out to be refused or carried out before. Absent: nobody
    /// called.
    pub call: Option<AdminCall>,
}

/// What is to change.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A new account.
    Create(Create),
    /// Another status.
    SetStatus {
        /// Which.
        status: Status,
        /// Why.
        reason: String,
    },
    /// Another plan.
    ChangePlan {
        /// Which, at its present allowance.
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
    Refund {
        /// What was settled.
        reservation_id: ReservationId,
        /// How many; zero: all that is not refunded yet.
        credits: u64,
        /// Why.
        reason: String,
        /// Who.
        actor: String,
    },
    /// Nothing new: what was submitted under the same key before.
    Again,
}

/// What became of a change request.
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// It is in the ledger; it counts once it is applied.
    New(Change),
    /// It was there already, with the same payload.
    Known(Change),
    /// It was there already, with another payload.
    Conflict {
        /// The first field that differs.
        field: String,
    },
    /// It can't be done.
    Refused(SubmitRefusal),
}

/// Why a change can't be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitRefusal {
    /// No such account.
    #[error("no such account")]
    AccountNotFound,
    /// No such grant.
    #[error("no such grant")]
    GrantNotFound,
    /// Nothing was submitted under this key.
    #[error("no such change")]
    NotSubmitted,
    /// Nothing was settled under this reservation.
    #[error("nothing was settled under this reservation")]
    NothingSettled,
    /// More than what was charged and not refunded yet.
    #[error("{refundable} credits are charged and not refunded yet")]
    RefundTooMuch {
        /// What can be refunded.
        refundable: u64,
    },
    /// The account's credits would leave the range that every store keeps exactly.
    #[error("the account would have more than 9007199254740991 credits")]
    OutOfRange,
    /// The account has too many live grants.
    #[error("an account has at most {max} live grants")]
    TooManyGrants {
        /// How many it may have.
        max: usize,
    },
}

/// An entry, and when the ledger got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The entry.
    pub entry: Entry,
    /// When, by the settler's clock.
    pub recorded_at: Timestamp,
}

/// Which entries to list. Every condition that is given must hold; none given: all.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Of one account.
    pub account_id: Option<AccountId>,
    /// Of one conversation.
    pub conversation_id: Option<String>,
    /// Of one reservation.
    pub reservation_id: Option<ReservationId>,
    /// Of these kinds; empty: all.
    pub kinds: Vec<EntryKind>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// What settling some batches did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// Entries that were written.
    pub entries: usize,
    /// Whether another settler had moved a cursor: then its transaction wrote nothing.
    pub cursor_conflict: bool,
    /// Changes that reverse settlements which the ledger had already: to be applied.
    pub reversals: Vec<Change>,
}

impl Settled {
    /// What two transactions did.
    fn and(mut self, other: Settled) -> Settled {
        self.entries += other.entries;
        self.cursor_conflict |= other.cursor_conflict;
        self.reversals.extend(other.reversals);
        self
    }
}

/// Something that is off, found by an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The account, where it is about one.
    pub account_id: Option<AccountId>,
    /// The invariant of DESIGN.md section 7, 1 to 6.
    pub invariant: u8,
    /// What is off.
    pub detail: String,
}

/// A catalogue as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCatalog {
    /// Its version.
    pub version: String,
    /// Its text.
    pub yaml: String,
}

/// What a new catalogue must still have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Present and next plans of accounts that are not closed.
    pub plans: Vec<String>,
    /// Modes of open reservations, as far as the ledger keeps those: not where Redis does, in
    /// which nobody may walk all holds. Nothing breaks without them, since a reservation stays
    /// on its own version, which is kept for ever.
    pub modes: Vec<String>,
}

/// The durable ledger.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Writes a change under its key with the account's next change number, and the audit log's
    /// line of its call, both or neither; or says why not.
    async fn submit(
        &self,
        request: &ChangeRequest,
        now: Timestamp,
    ) -> Result<Submitted, LedgerFault>;
    /// Changes of one account from `number` on, in order, at most `max`.
    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, LedgerFault>;
    /// Accounts that have changes which are not applied yet, by id, after one, at most `max`.
    async fn unapplied(
        &self,
        after: Option<&AccountId>,
        max: usize,
    ) -> Result<Vec<AccountId>, LedgerFault>;

    /// Writes all batches in one transaction: entries, the state that they add up to, the
    /// reservations, and each shard's cursor by compare-and-set on epoch and position. Many
    /// entries may be several transactions of whole shards: where one of them fails, or finds a
    /// cursor elsewhere, the others may have happened. The cursors tell.
    ///
    /// A settlement whose key (account, reservation, commit) the ledger has already is written
    /// too, since sequences have no gaps, and is reversed by a change of its own.
    async fn settle(&self, batches: &[OutboxBatch], now: Timestamp)
    -> Result<Settled, LedgerFault>;
    /// Every shard's cursor.
    async fn cursors(&self) -> Result<Vec<Cursor>, LedgerFault>;
    /// Begins the next epoch of some shards, by compare-and-set: once this has answered `true`,
    /// nothing of an older epoch settles any more. `false`: one of them has another epoch than its
    /// fence says, and nothing has changed.
    async fn fence(&self, fences: &[Fence]) -> Result<bool, LedgerFault>;
    /// Where a shard stands, and up to where the history of `epoch` is the ledger's.
    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, LedgerFault>;

    /// One account, with the grants that are live at `now`, and those that are used up and may still
    /// get something back, where all are fewer than [`GRANTS_MAX`](crate::domain::grant::GRANTS_MAX).
    async fn account(
        &self,
        account_id: &AccountId,
        now: Timestamp,
    ) -> Result<Option<Account>, LedgerFault>;
    /// Accounts by id, after one, at most `max`, each as [`Ledger::account`] answers it.
    async fn accounts(
        &self,
        after: Option<&AccountId>,
        max: usize,
        now: Timestamp,
    ) -> Result<Vec<Account>, LedgerFault>;
    /// Those of some accounts that there are, each as [`Ledger::account`] answers it, or as it
    /// was a moment before: the sequence says which.
    async fn accounts_of(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, LedgerFault>;
    /// What there is of some reservations of one account; those that were never settled are left
    /// out.
    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, LedgerFault>;
    /// One grant, live or not, without what is held of it.
    async fn grant(
        &self,
        account_id: &AccountId,
        grant_id: &GrantId,
    ) -> Result<Option<Grant>, LedgerFault>;
    /// Accounts on which time has something to do by `now`: a cycle that is over (of an account
    /// that is not closed) or a grant with something left that has expired. At most `max`.
    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<AccountId>, LedgerFault>;
    /// Reservations that the hot store had when it last settled, after one of them, in an order of
    /// the ledger's own: `max` of them or some more, none where there are no more. To be read
    /// whole before anything settles. Packed, since they may be millions; each can be unpacked, and
    /// where one can't it is a fault.
    async fn reservations(
        &self,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Result<Vec<KeptReservation>, LedgerFault>;

    /// Entries, newest first.
    async fn entries(
        &self,
        filter: &EntryFilter,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault>;
    /// Usage and refund entries of a conversation, oldest first; a refund belongs to the
    /// conversation of the reservation that it refunds.
    async fn conversation(
        &self,
        conversation_id: &str,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault>;

    /// Keeps a catalogue by its version for ever. `false`: that version is there with other text.
    async fn put_catalog(
        &self,
        catalog: &StoredCatalog,
        now: Timestamp,
    ) -> Result<bool, LedgerFault>;
    /// Every catalogue that was ever put.
    async fn catalogs(&self) -> Result<Vec<StoredCatalog>, LedgerFault>;

    /// What the ledger is called since it was made, of which no other one is but a copy of it.
    async fn id(&self) -> Result<String, LedgerFault>;
    /// Fixes the number of shards at the first start; answers what it was fixed at.
    async fn fix_shards(&self, wanted: u32) -> Result<u32, LedgerFault>;
    /// What a new catalogue must still have, each name once.
    async fn in_use(&self) -> Result<InUse, LedgerFault>;

    /// Writes calls to the audit log, all or none, each once for each time that it is given.
    async fn log_calls(&self, calls: &[AdminCall]) -> Result<(), LedgerFault>;
    /// Calls, newest first: after the one of a number that [`CallPage`] gave, at most `max`.
    async fn calls(
        &self,
        filter: &CallFilter,
        after: Option<u64>,
        max: usize,
    ) -> Result<CallPage, LedgerFault>;

    /// Checks DESIGN.md's invariants on everything that is stored, in one consistent view; at
    /// most `max` findings.
    async fn audit(&self, max: usize) -> Result<Vec<Finding>, LedgerFault>;
}
