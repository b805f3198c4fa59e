//! The ledger in Postgres, for as many processes as there are. What each table holds, who writes it
//! and in which order rows are locked is in `migrations/postgres`.
//!
//! Nothing here decides about credits: the domain has worked out what an entry moves, and this
//! adds it up.

mod accounts;
mod audit;
mod catalogs;
mod changes;
mod claim;
mod copy;
mod entries;
mod fences;
mod open;
mod options;
mod outcome;
mod partitions;
mod refunds;
mod rows;
mod settle;
mod settlements;
mod setup;
mod state;
mod submit;
mod yardstick;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::{PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::{
    ChangeRequest, EntryFilter, EntryPage, Finding, InUse, Ledger, LedgerFault, PageToken,
    Recorded, Settled, StoredCatalog, Submitted,
    batch::{Prepared, Unfit},
};
use crate::{
    domain::{
        account::Account,
        change::Change,
        grant::Grant,
        ids::{AccountId, GrantId, ReservationId},
        reservation::Reservation,
        timestamp::Timestamp,
    },
    hot::{Commits, Cursor, Fence, OutboxBatch, Standing},
};

pub use open::{Migrated, OpenError};
pub use options::PostgresOptions;
pub use yardstick::Yardstick;

/// How often a transaction is tried that Postgres has ended for the sake of another one.
const TRIES_MAX: u32 = 5;

/// A ledger on a Postgres server.
#[derive(Debug)]
pub struct PostgresLedger {
    pool: PgPool,
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
}

impl Fault {
    fn during(self, operation: &'static str) -> LedgerFault {
        LedgerFault {
            operation,
            source: Box::new(self),
        }
    }

    /// Whether nothing was written, and the next try may well succeed.
    fn is_transient(&self) -> bool {
        match self {
            // serialization_failure, deadlock_detected
            Fault::Sql(error) => matches!(sql_state(error).as_deref(), Some("40001" | "40P01")),
            Fault::Raced => true,
            Fault::Open(_) | Fault::Unfit(_) | Fault::Decode { .. } => false,
        }
    }

    /// Whether an entry found no partition.
    fn lacks_partition(&self) -> bool {
        match self {
            // check_violation: no other check is on any table
            Fault::Sql(error) => sql_state(error).as_deref() == Some("23514"),
            Fault::Open(_) | Fault::Unfit(_) | Fault::Decode { .. } | Fault::Raced => false,
        }
    }
}

fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

impl PostgresLedger {
    /// The connections, once the schema is known to be the right one.
    async fn pool(&self, operation: &'static str) -> Result<&PgPool, LedgerFault> {
        let checked = self.checked.get_or_try_init(|| async {
            open::check(&self.options, self.options.migrate)
                .await
                .map(|_| ())
        });
        match checked.await {
            Ok(()) => Ok(&self.pool),
            Err(error) => Err(Fault::from(error).during(operation)),
        }
    }

    /// Makes the partitions of the month of `now` and of the configured number of months after
    /// it; answers how many it made. Entries of any other month get theirs when they come.
    pub async fn ensure_partitions(&self, now: Timestamp) -> Result<usize, LedgerFault> {
        let pool = self.pool("ensure_partitions").await?;
        partitions::ahead(pool, &self.partitions, now, self.options.months_ahead)
            .await
            .map_err(|fault| fault.during("ensure_partitions"))
    }

    /// Detaches the partition of every month that ended by `before`; answers the names of the
    /// tables, which stay. No balance changes, the audit still adds up, and no settlement is taken
    /// twice; but entries of those months are neither listed nor refunded any more. Keep more
    /// months than a hot store may take to settle what it has.
    pub async fn detach(&self, before: Timestamp) -> Result<Vec<String>, LedgerFault> {
        let pool = self.pool("detach").await?;
        partitions::detach(pool, &self.partitions, before)
            .await
            .map_err(|fault| fault.during("detach"))
    }

    /// Claims the ledger for this process, until the ledger is closed or dropped. `false`: another
    /// process has claimed it, and did not end within a few seconds.
    pub async fn claim(&self) -> Result<bool, LedgerFault> {
        let pool = self.pool("claim").await?;
        let claimed = claim::claim(pool).await;
        let session = claimed.map_err(|fault| fault.during("claim"))?;
        let is_mine = session.is_some();
        *self.claimed.lock() = session;
        Ok(is_mine)
    }

    /// Closes all connections. A ledger that is dropped instead loses nothing.
    pub async fn close(&self) {
        drop(self.claimed.lock().take());
        self.pool.close().await;
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn fix_shards(&self, wanted: u32) -> Result<u32, LedgerFault> {
        let pool = self.pool("fix_shards").await?;
        let result = setup::fix_shards(pool, wanted).await;
        result.map_err(|fault| fault.during("fix_shards"))
    }

    async fn in_use(&self) -> Result<InUse, LedgerFault> {
        setup::in_use(self.pool("in_use").await?)
            .await
            .map_err(|fault| fault.during("in_use"))
    }

    async fn submit(
        &self,
        request: &ChangeRequest,
        now: Timestamp,
    ) -> Result<Submitted, LedgerFault> {
        let pool = self.pool("submit").await?;
        let result = submit::submit(pool, request, now).await;
        result.map_err(|fault| fault.during("submit"))
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, LedgerFault> {
        let found =
            changes::from_number(self.pool("changes").await?, account_id, number, max).await;
        found.map_err(|fault| fault.during("changes"))
    }

    async fn unapplied(&self, max: usize) -> Result<Vec<AccountId>, LedgerFault> {
        let found = changes::unapplied(self.pool("unapplied").await?, max).await;
        found.map_err(|fault| fault.during("unapplied"))
    }

    async fn settle(
        &self,
        batches: &[OutboxBatch],
        now: Timestamp,
    ) -> Result<Settled, LedgerFault> {
        self.pool("settle").await?;
        let prepared =
            Prepared::new(batches).map_err(|unfit| Fault::from(unfit).during("settle"))?;
        let result = settle::settle(self, &prepared, now).await;
        result.map_err(|fault| fault.during("settle"))
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, LedgerFault> {
        fences::cursors(self.pool("cursors").await?)
            .await
            .map_err(|fault| fault.during("cursors"))
    }

    async fn fence(&self, fences: &[Fence]) -> Result<bool, LedgerFault> {
        fences::fence(self.pool("fence").await?, fences)
            .await
            .map_err(|fault| fault.during("fence"))
    }

    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, LedgerFault> {
        fences::standing(self.pool("standing").await?, shard, epoch)
            .await
            .map_err(|fault| fault.during("standing"))
    }

    async fn accounts_of(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, LedgerFault> {
        let found = accounts::some(self.pool("accounts_of").await?, account_ids).await;
        found.map_err(|fault| fault.during("accounts_of"))
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, LedgerFault> {
        let pool = self.pool("commits").await?;
        let found = settlements::commits(pool, account_id, reservation_ids).await;
        found.map_err(|fault| fault.during("commits"))
    }

    async fn account(
        &self,
        account_id: &AccountId,
        _now: Timestamp,
    ) -> Result<Option<Account>, LedgerFault> {
        let found = accounts::one(self.pool("account").await?, account_id).await;
        found.map_err(|fault| fault.during("account"))
    }

    async fn accounts(
        &self,
        after: Option<&AccountId>,
        max: usize,
        _now: Timestamp,
    ) -> Result<Vec<Account>, LedgerFault> {
        let found = accounts::page(self.pool("accounts").await?, after, max).await;
        found.map_err(|fault| fault.during("accounts"))
    }

    async fn grant(
        &self,
        account_id: &AccountId,
        grant_id: &GrantId,
    ) -> Result<Option<Grant>, LedgerFault> {
        let found = accounts::grant(self.pool("grant").await?, account_id, grant_id).await;
        found.map_err(|fault| fault.during("grant"))
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<AccountId>, LedgerFault> {
        accounts::due(self.pool("due").await?, now, max)
            .await
            .map_err(|fault| fault.during("due"))
    }

    async fn reservations(
        &self,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Result<Vec<Reservation>, LedgerFault> {
        let found = accounts::reservations(self.pool("reservations").await?, after, max).await;
        found.map_err(|fault| fault.during("reservations"))
    }

    async fn entries(
        &self,
        filter: &EntryFilter,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let found = entries::page(self.pool("entries").await?, filter, page, max).await;
        found.map_err(|fault| fault.during("entries"))
    }

    async fn conversation(&self, conversation_id: &str) -> Result<Vec<Recorded>, LedgerFault> {
        let found = entries::conversation(self.pool("conversation").await?, conversation_id).await;
        found.map_err(|fault| fault.during("conversation"))
    }

    async fn put_catalog(
        &self,
        catalog: &StoredCatalog,
        now: Timestamp,
    ) -> Result<bool, LedgerFault> {
        let pool = self.pool("put_catalog").await?;
        let result = catalogs::put(pool, catalog, now).await;
        result.map_err(|fault| fault.during("put_catalog"))
    }

    async fn catalogs(&self) -> Result<Vec<StoredCatalog>, LedgerFault> {
        catalogs::all(self.pool("catalogs").await?)
            .await
            .map_err(|fault| fault.during("catalogs"))
    }

    async fn audit(&self, max: usize) -> Result<Vec<Finding>, LedgerFault> {
        audit::audit(self.pool("audit").await?, max)
            .await
            .map_err(|fault| fault.during("audit"))
    }
}
