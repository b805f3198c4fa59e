//! The ledger in one SQLite file, for the embedded server. What each table holds and who writes it
//! is in `migrations/sqlite`.
//!
//! One connection writes, in immediate transactions that are on disk before they are answered; a
//! few others read, each in a snapshot of its own. Nothing here decides about credits: the domain
//! has worked out what an entry moves, and this adds it up.

mod accounts;
mod audit;
mod bulk;
mod calls;
mod catalogs;
mod changes;
mod create;
mod desk;
mod duplicates;
mod entries;
mod fences;
mod kept;
mod open;
mod refunds;
mod rows;
mod settle;
mod setup;
mod state;
mod submit;
mod writer;

use std::{fs::File, sync::Arc};

use async_trait::async_trait;
use sqlx::SqlitePool;

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

pub use open::OpenError;

use desk::Desk;
use kept::Kept;
use writer::Writer;

/// A ledger in a SQLite file.
#[derive(Debug)]
pub struct SqliteLedger {
    /// Absent where the ledger was opened for reading only.
    writer: Option<Arc<Writer>>,
    /// Where changes wait to be taken together.
    desk: Desk,
    readers: SqlitePool,
    /// Where the reservations are; locked after the writer.
    kept: tokio::sync::Mutex<Kept>,
    /// Keeps other processes from writing, for as long as this lives.
    _lock: Option<File>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("a stored {what} can't be read: {source}")]
    Decode {
        what: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("reservations can't be packed: {0}")]
    Pack(String),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the ledger is open for reading only")]
    ReadOnly,
    #[error("a change was handed in, and whoever took it gave no answer")]
    Unanswered,
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
}

impl SqliteLedger {
    fn writer(&self) -> Result<&Arc<Writer>, Fault> {
        self.writer.as_ref().ok_or(Fault::ReadOnly)
    }

    /// Closes all connections, so that the write-ahead log is copied into the file. A ledger that
    /// is dropped instead loses nothing: the log is read when it is opened again.
    pub async fn close(self) {
        self.readers.close().await;
        // Nobody else has it once every change is answered.
        if let Some(writer) = self.writer.and_then(Arc::into_inner) {
            writer.close().await;
        }
    }
}

/// What remains of an operation on the writing connection: a connection that works, and a fault
/// that says which operation it was.
async fn written<T>(
    writer: &Writer,
    operation: &'static str,
    result: Result<T, Fault>,
) -> Result<T, LedgerFault> {
    if let Err(Fault::Sql(_)) = &result {
        writer
            .repair()
            .await
            .map_err(|fault| fault.during(operation))?;
    }
    result.map_err(|fault| fault.during(operation))
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn fix_shards(&self, wanted: u32) -> Result<u32, LedgerFault> {
        let writer = self.writer().map_err(|fault| fault.during("fix_shards"))?;
        let result = setup::fix_shards(&mut *writer.lock().await, wanted).await;
        written(writer, "fix_shards", result).await
    }

    async fn id(&self) -> Result<String, LedgerFault> {
        let id = setup::id(&self.readers).await;
        id.map_err(|fault| fault.during("id"))
    }

    async fn in_use(&self) -> Result<InUse, LedgerFault> {
        setup::in_use(&self.readers)
            .await
            .map_err(|fault| fault.during("in_use"))
    }

    async fn submit(
        &self,
        request: &ChangeRequest,
        now: Timestamp,
    ) -> Result<Submitted, LedgerFault> {
        let writer = self.writer().map_err(|fault| fault.during("submit"))?;
        let submitted = self.desk.submit(writer, request, now).await;
        submitted.map_err(|fault| fault.during("submit"))
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, LedgerFault> {
        let found = changes::from_number(&self.readers, account_id, number, max).await;
        found.map_err(|fault| fault.during("changes"))
    }

    async fn unapplied(
        &self,
        after: Option<&AccountId>,
        max: usize,
    ) -> Result<Vec<AccountId>, LedgerFault> {
        let found = changes::unapplied(&self.readers, after, max).await;
        found.map_err(|fault| fault.during("unapplied"))
    }

    async fn settle(
        &self,
        batches: &[OutboxBatch],
        now: Timestamp,
    ) -> Result<Settled, LedgerFault> {
        let writer = self.writer().map_err(|fault| fault.during("settle"))?;
        let prepared =
            Prepared::new(batches).map_err(|unfit| Fault::from(unfit).during("settle"))?;
        let mut connection = writer.lock().await;
        let mut kept = self.kept.lock().await;
        let result = settle::settle(&mut connection, &mut kept, &prepared, now).await;
        drop((connection, kept));
        written(writer, "settle", result).await
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, LedgerFault> {
        fences::cursors(&self.readers)
            .await
            .map_err(|fault| fault.during("cursors"))
    }

    async fn fence(&self, fences: &[Fence]) -> Result<bool, LedgerFault> {
        let writer = self.writer().map_err(|fault| fault.during("fence"))?;
        let result = fences::fence(&mut *writer.lock().await, fences).await;
        written(writer, "fence", result).await
    }

    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, LedgerFault> {
        fences::standing(&self.readers, shard, epoch)
            .await
            .map_err(|fault| fault.during("standing"))
    }

    async fn accounts_of(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, LedgerFault> {
        let found = accounts::some(&self.readers, account_ids).await;
        found.map_err(|fault| fault.during("accounts_of"))
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, LedgerFault> {
        let found = duplicates::commits(&self.readers, account_id, reservation_ids).await;
        found.map_err(|fault| fault.during("commits"))
    }

    async fn account(
        &self,
        account_id: &AccountId,
        _now: Timestamp,
    ) -> Result<Option<Account>, LedgerFault> {
        let found = accounts::one(&self.readers, account_id).await;
        found.map_err(|fault| fault.during("account"))
    }

    async fn accounts(
        &self,
        after: Option<&AccountId>,
        max: usize,
        _now: Timestamp,
    ) -> Result<Vec<Account>, LedgerFault> {
        let found = accounts::page(&self.readers, after, max).await;
        found.map_err(|fault| fault.during("accounts"))
    }

    async fn grant(
        &self,
        account_id: &AccountId,
        grant_id: &GrantId,
    ) -> Result<Option<Grant>, LedgerFault> {
        let found = accounts::grant(&self.readers, account_id, grant_id).await;
        found.map_err(|fault| fault.during("grant"))
    }

    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<AccountId>, LedgerFault> {
        accounts::due(&self.readers, now, max)
            .await
            .map_err(|fault| fault.during("due"))
    }

    async fn reservations(
        &self,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Result<Vec<KeptReservation>, LedgerFault> {
        let found = async {
            let mut connection = self.readers.acquire().await?;
            let kept = self.kept.lock().await;
            kept.page(&mut connection, after, max).await
        };
        found
            .await
            .map_err(|fault: Fault| fault.during("reservations"))
    }

    async fn entries(
        &self,
        filter: &EntryFilter,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let found = entries::page(&self.readers, filter, page, max).await;
        found.map_err(|fault| fault.during("entries"))
    }

    async fn conversation(
        &self,
        conversation_id: &str,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let found = entries::conversation(&self.readers, conversation_id, page, max).await;
        found.map_err(|fault| fault.during("conversation"))
    }

    async fn put_catalog(
        &self,
        catalog: &StoredCatalog,
        now: Timestamp,
    ) -> Result<bool, LedgerFault> {
        let writer = self.writer().map_err(|fault| fault.during("put_catalog"))?;
        let result = catalogs::put(&mut *writer.lock().await, catalog, now).await;
        written(writer, "put_catalog", result).await
    }

    async fn catalogs(&self) -> Result<Vec<StoredCatalog>, LedgerFault> {
        catalogs::all(&self.readers)
            .await
            .map_err(|fault| fault.during("catalogs"))
    }

    async fn log_calls(&self, calls: &[AdminCall]) -> Result<(), LedgerFault> {
        let writer = self.writer().map_err(|fault| fault.during("log_calls"))?;
        let result = calls::log(&mut *writer.lock().await, calls).await;
        written(writer, "log_calls", result).await
    }

    async fn calls(
        &self,
        filter: &CallFilter,
        after: Option<u64>,
        max: usize,
    ) -> Result<CallPage, LedgerFault> {
        calls::page(&self.readers, filter, after, max)
            .await
            .map_err(|fault| fault.during("calls"))
    }

    async fn audit(&self, max: usize) -> Result<Vec<Finding>, LedgerFault> {
        audit::audit(&self.readers, max)
            .await
            .map_err(|fault| fault.during("audit"))
    }
}
