//! The ledger in Postgres, for as many processes as there are. What each table holds, who writes it
//! and in which order rows are locked is in `migrations/postgres`.
//!
//! Nothing here decides about credits: the domain has worked out what an entry moves, and this
//! adds it up.

mod accounts;
mod audit;
mod calls;
mod catalogs;
mod changes;
mod claim;
mod copy;
mod entries;
mod fences;
mod new_entries;
mod open;
mod options;
mod partitions;
mod refunds;
mod rows;
mod sessions;
mod settle;
mod settlements;
mod setup;
mod state;
mod submit;
mod yardstick;

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::{PgConnection, PgPool};
use tokio::sync::OnceCell;

use self::sessions::Sessions;
use super::{
    AdminCall, CallFilter, CallPage, ChangeRequest, EntryFilter, EntryPage, Finding, InUse, Ledger,
    LedgerFault, PageToken, Settled, StoredCatalog, Submitted,
    batch::{Prepared, Unfit},
};
use crate::{
    domain::{
        account::Account,
        change::Change,
        grant::Grant,
        ids::{AccountId, GrantId, ReservationId},
        timestamp::Timestamp,
    },
    hot::{Commits, Cursor, Fence, KeptReservation, OutboxBatch, Standing},
};

pub use open::{Migrated, OpenError};
pub use options::PostgresOptions;
pub use yardstick::Yardstick;

/// How often a transaction is tried that Postgres has ended for the sake of another one.
const TRIES_MAX: u32 = 5;

/// A ledger on a Postgres server.
#[derive(Debug)]
pub struct PostgresLedger {
    sessions: Sessions,
    options: PostgresOptions,
    /// Set once the schema was found to be the right one.
    checked: OnceCell<()>,
    partitions: partitions::Known,
    /// The session that keeps other processes out, where this one has to be alone.
    claimed: Mutex<Option<PgConnection>>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("a stored {what} can't be read: {source}")]
    Decode {
        what: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("another process wrote the same at the same time")]
    Raced,
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("as many lists are read as may be at once, and none has ended within {0:?}: try again")]
    Busy(Duration),
}

impl Fault {
    fn during(self, operation: &'static str) -> LedgerFault {
        // By itself, for `LedgerFault::is_unfit`.
        let source: Box<dyn std::error::Error + Send + Sync> = if let Fault::Unfit(unfit) = self {
            Box::new(unfit)
        } else {
            Box::new(self)
        };
        LedgerFault { operation, source }
    }

    /// Whether nothing was written, and the next try may well succeed.
    fn is_transient(&self) -> bool {
        match self {
            // serialization_failure, deadlock_detected
            Fault::Sql(error) => matches!(sql_state(error).as_deref(), Some("40001" | "40P01")),
            Fault::Raced => true,
            Fault::Open(_)
            | Fault::Unfit(_)
            | Fault::Decode { .. }
            | Fault::Silent(_)
            | Fault::Busy(_) => false,
        }
    }

    /// Whether an entry found no partition.
    fn lacks_partition(&self) -> bool {
        match self {
            // check_violation: no other check is on any table
            Fault::Sql(error) => sql_state(error).as_deref() == Some("23514"),
            Fault::Open(_)
            | Fault::Unfit(_)
            | Fault::Decode { .. }
            | Fault::Raced
            | Fault::Silent(_)
            | Fault::Busy(_) => false,
        }
    }
}

fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

impl PostgresLedger {
    /// The connections, once the schema is known to be the right one.
    async fn pool(&self, operation: &'static str) -> Result<PgPool, LedgerFault> {
        let checked = self.checked.get_or_try_init(|| async {
            open::check(&self.options, self.options.migrate)
                .await
                .map(|_| ())
        });
        match checked.await {
            Ok(()) => Ok(self.sessions.pool()),
            Err(error) => Err(Fault::from(error).during(operation)),
        }
    }

    /// Runs an operation that no silence may hold up.
    async fn bounded<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, LedgerFault> {
        let answer = self.sessions.bounded(work).await;
        answer.map_err(|fault| fault.during(operation))
    }

    /// Runs what support asks, which may read a lot: only so much of it at once.
    async fn slow<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, LedgerFault> {
        let answer = self.sessions.slow(read).await;
        answer.map_err(|fault| fault.during(operation))
    }

    /// Makes the partitions of the month of `now` and of the configured number of months after
    /// it; answers how many it made. Entries of any other month get theirs when they come.
    pub async fn ensure_partitions(&self, now: Timestamp) -> Result<usize, LedgerFault> {
        let pool = self.pool("ensure_partitions").await?;
        let made = partitions::ahead(&pool, &self.partitions, now, self.options.months_ahead);
        self.bounded("ensure_partitions", made).await
    }

    /// Claims the ledger for this process, until the ledger is closed or dropped. `false`: another
    /// process has claimed it, and did not end within a few seconds.
    pub async fn claim(&self) -> Result<bool, LedgerFault> {
        let pool = self.pool("claim").await?;
        let claimed = claim::claim(&pool).await;
        let session = claimed.map_err(|fault| fault.during("claim"))?;
        let is_mine = session.is_some();
        *self.claimed.lock() = session;
        Ok(is_mine)
    }

    /// Settles in one transaction.
    async fn settle_all(
        &self,
        batches: &[OutboxBatch],
        now: Timestamp,
    ) -> Result<Settled, LedgerFault> {
        // Whoever asks Postgres nothing learns nothing of how it is.
        if batches.is_empty() {
            return Ok(Settled::default());
        }
        let prepared =
            Prepared::new(batches).map_err(|unfit| Fault::from(unfit).during("settle"))?;
        let pool = self.pool("settle").await?;
        let settled = settle::settle(&pool, &self.partitions, &prepared, now);
        self.bounded("settle", settled).await
    }

    /// Closes all connections. A ledger that is dropped instead loses nothing.
    pub async fn close(&self) {
        drop(self.claimed.lock().take());
        self.sessions.close().await;
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn fix_shards(&self, wanted: u32) -> Result<u32, LedgerFault> {
        let pool = self.pool("fix_shards").await?;
        self.bounded("fix_shards", setup::fix_shards(&pool, wanted))
            .await
    }

    async fn id(&self) -> Result<String, LedgerFault> {
        let pool = self.pool("id").await?;
        self.bounded("id", setup::id(&pool)).await
    }

    async fn in_use(&self) -> Result<InUse, LedgerFault> {
        let pool = self.pool("in_use").await?;
        let found = setup::in_use(&pool);
        let found = self.sessions.whole(setup::IN_USE_TIMEOUT, found).await;
        found.map_err(|fault| fault.during("in_use"))
    }

    async fn submit(
        &self,
        request: &ChangeRequest,
        now: Timestamp,
    ) -> Result<Submitted, LedgerFault> {
        let pool = self.pool("submit").await?;
        self.bounded("submit", submit::submit(&pool, request, now))
            .await
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, LedgerFault> {
        let pool = self.pool("changes").await?;
        let found = changes::from_number(&pool, account_id, number, max);
        self.bounded("changes", found).await
    }

    async fn unapplied(
        &self,
        after: Option<&AccountId>,
        max: usize,
    ) -> Result<Vec<AccountId>, LedgerFault> {
        let pool = self.pool("unapplied").await?;
        self.bounded("unapplied", changes::unapplied(&pool, after, max))
            .await
    }

    async fn settle(
        &self,
        batches: &[OutboxBatch],
        now: Timestamp,
    ) -> Result<Settled, LedgerFault> {
        let (one, other) = settle::halves(batches);
        // Neither is given up where the other one fails.
        let (one, other) = tokio::join!(self.settle_all(one, now), self.settle_all(other, now));
        Ok(one?.and(other?))
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, LedgerFault> {
        let pool = self.pool("cursors").await?;
        self.bounded("cursors", fences::cursors(&pool)).await
    }

    async fn fence(&self, fences: &[Fence]) -> Result<bool, LedgerFault> {
        let pool = self.pool("fence").await?;
        self.bounded("fence", fences::fence(&pool, fences)).await
    }

    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, LedgerFault> {
        let pool = self.pool("standing").await?;
        let found = fences::standing(&pool, shard, epoch);
        self.bounded("standing", found).await
    }

    async fn accounts_of(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, LedgerFault> {
        let pool = self.pool("accounts_of").await?;
        let found = accounts::some(&pool, account_ids);
        self.bounded("accounts_of", found).await
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, LedgerFault> {
        let pool = self.pool("commits").await?;
        let found = settlements::commits(&pool, account_id, reservation_ids);
        self.bounded("commits", found).await
    }

    async fn account(
        &self,
        account_id: &AccountId,
        _now: Timestamp,
    ) -> Result<Option<Account>, LedgerFault> {
        let pool = self.pool("account").await?;
        self.bounded("account", accounts::one(&pool, account_id))
            .await
    }

    async fn accounts(
        &self,
        after: Option<&AccountId>,
        max: usize,
        _now: Timestamp,
    ) -> Result<Vec<Account>, LedgerFault> {
        let pool = self.pool("accounts").await?;
        self.bounded("accounts", accounts::page(&pool, after, max))
            .await
    }

    async fn grant(
        &self,
        account_id: &AccountId,
        grant_id: &GrantId,
    ) -> Result<Option<Grant>, LedgerFault> {
        let pool = self.pool("grant").await?;
        self.bounded("grant", accounts::grant(&pool, account_id, grant_id))
            .await
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<AccountId>, LedgerFault> {
        let pool = self.pool("due").await?;
        self.bounded("due", accounts::due(&pool, now, max)).await
    }

    async fn reservations(
        &self,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Result<Vec<KeptReservation>, LedgerFault> {
        let pool = self.pool("reservations").await?;
        let found = accounts::reservations(&pool, after, max);
        self.bounded("reservations", found).await
    }

    async fn entries(
        &self,
        filter: &EntryFilter,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let pool = self.pool("entries").await?;
        let filter = filter.clone();
        let found = async move { entries::page(&pool, &filter, page, max).await };
        self.slow("entries", found).await
    }

    async fn conversation(
        &self,
        conversation_id: &str,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let pool = self.pool("conversation").await?;
        let id = conversation_id.to_owned();
        let found = async move { entries::conversation(&pool, &id, page, max).await };
        self.slow("conversation", found).await
    }

    async fn put_catalog(
        &self,
        catalog: &StoredCatalog,
        now: Timestamp,
    ) -> Result<bool, LedgerFault> {
        let pool = self.pool("put_catalog").await?;
        self.bounded("put_catalog", catalogs::put(&pool, catalog, now))
            .await
    }

    async fn catalogs(&self) -> Result<Vec<StoredCatalog>, LedgerFault> {
        let pool = self.pool("catalogs").await?;
        self.bounded("catalogs", catalogs::all(&pool)).await
    }

    async fn log_calls(&self, calls: &[AdminCall]) -> Result<(), LedgerFault> {
        let pool = self.pool("log_calls").await?;
        self.bounded("log_calls", calls::log(&pool, calls)).await
    }

    async fn calls(
        &self,
        filter: &CallFilter,
        after: Option<u64>,
        max: usize,
    ) -> Result<CallPage, LedgerFault> {
        let pool = self.pool("calls").await?;
        let filter = filter.clone();
        let found = async move { calls::page(&pool, &filter, after, max).await };
        self.slow("calls", found).await
    }

    async fn audit(&self, max: usize) -> Result<Vec<Finding>, LedgerFault> {
        // It reads everything, which takes as long as it takes.
        let pool = self.pool("audit").await?;
        let place = self.sessions.place().await;
        let _place = place.map_err(|fault| fault.during("audit"))?;
        audit::audit(&pool, max)
            .await
            .map_err(|fault| fault.during("audit"))
    }
}
