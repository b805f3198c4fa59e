//! A redo log in front of a ledger, so that many small settlements share few disk writes.
//!
//! A ledger in pages writes a dozen of them for every settlement, scattered over its file. So what
//! is settled is appended to a log first, synced, and answered: one short write for everything
//! that waited. From there it goes to the ledger behind, in large transactions that write each
//! page once. Only then is its part of the log deleted, or used anew.
//!
//! - The log's files are `PATH-redo.N`; [`Ledger::settle`] writes them, for the settler and for the
//!   flush at the end. A busy log has its next one ready, as `PATH-redo.spare`.
//! - A crash leaves files. Opening reads them, gives the ledger what it lacks (each shard's cursor
//!   says what that is), and deletes them. A record that was cut short was never answered.
//! - Whoever reads waits until the ledger behind has what was settled before he asked.
//! - At most [`WAITING_MAX`] records wait; then settling waits for the ledger behind.

mod backlog;
mod error;
mod files;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod record;
mod replay;
mod spare;

use std::{future::pending, path::PathBuf, sync::Arc, thread, time::Duration};

use async_trait::async_trait;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Mutex,
    time::sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::{backlog::Depth, error::RedoError};
use self::{
    backlog::{Backlog, Waiting},
    files::Files,
    record::Record,
    replay::redo,
};
use super::{
    AdminCall, CallFilter, CallPage, ChangeRequest, EntryFilter, EntryPage, Finding, InUse, Ledger,
    LedgerFault, PageToken, Settled, StoredCatalog, Submitted,
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

/// How many entries and reservations wait for the ledger behind before settling waits for it.
pub const WAITING_MAX: usize = 131_072;
/// The name of the thread that moves what is in the log to the ledger behind.
pub const WRITER_THREAD: &str = "redo-writer";
/// How long a reader waits for what was settled before it asked, where the ledger behind is slow.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A ledger with a redo log in front of it.
pub struct RedoLedger {
    inner: Arc<dyn Ledger>,
    files: Arc<Mutex<Files>>,
    backlog: Arc<Backlog>,
    writer: parking_lot::Mutex<Option<thread::JoinHandle<()>>>,
    /// Cancelled when the writer ends.
    ended: CancellationToken,
    stop: CancellationToken,
}

impl RedoLedger {
    /// Puts a log in front of a ledger that nobody else writes: its files are `path` with
    /// `-redo.N`. What a crash left in them is in the ledger when this returns.
    pub async fn open(inner: Arc<dyn Ledger>, path: PathBuf) -> Result<Self, RedoError> {
        let mut files = Files::find(path)?;
        // First: the disk may be full of it, and the ledger behind needs room.
        files.delete_spare()?;
        let redone = redo(inner.as_ref(), &files).await?;
        if redone > 0 {
            tracing::info!(records = redone, "put the redo log into the ledger");
        }
        files.delete_all()?;
        let cursors = inner.cursors().await?;
        let files = Arc::new(Mutex::new(files));
        let backlog = Arc::new(Backlog::new(cursors));
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let work = backlog::write_on(Arc::clone(&backlog), Arc::clone(&inner), Arc::clone(&files));
        let writer = in_background(stop.clone(), ended.clone().drop_guard(), work)?;
        Ok(RedoLedger {
            inner,
            files,
            backlog,
            writer: parking_lot::Mutex::new(Some(writer)),
            ended,
            stop,
        })
    }

    /// Waits until the ledger behind has everything, and deletes the files. Nothing can be settled
    /// after it. A ledger that is dropped instead loses nothing: the files are read again.
    pub async fn close(&self) -> Result<(), LedgerFault> {
        // Nothing is appended meanwhile: what came after the look would be deleted unread.
        let mut files = self.files.lock().await;
        // A ledger that fails may still take it.
        self.waited(self.backlog.appended(), "close", pending())
            .await?;
        self.stop.cancel();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let ended = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                return Err(fault("close", writer_is_gone()));
            }
        }
        files.close().map_err(|error| fault("close", error))
    }

    /// Waits for the thread to end that moves what is in the log to the ledger behind: closed, or
    /// by a panic, after which nothing can be read that waits for it.
    pub async fn writer_ended(&self) {
        self.ended.cancelled().await;
    }

    /// What the log has that the ledger behind has not, and what it has had.
    pub fn depth(&self) -> Depth {
        self.backlog.depth()
    }

    /// Waits until the ledger behind has everything that was settled before.
    async fn caught_up(&self, operation: &'static str) -> Result<&dyn Ledger, LedgerFault> {
        self.caught_up_to(self.backlog.appended(), operation).await
    }

    /// As [`RedoLedger::caught_up`], where only one account is asked about.
    async fn caught_up_on(
        &self,
        account_id: &AccountId,
        operation: &'static str,
    ) -> Result<&dyn Ledger, LedgerFault> {
        let last = self.backlog.last_about(account_id).unwrap_or(0);
        self.caught_up_to(last, operation).await
    }

    async fn caught_up_to(
        &self,
        record: u64,
        operation: &'static str,
    ) -> Result<&dyn Ledger, LedgerFault> {
        self.waited(record, operation, self.backlog.fails()).await
    }

    async fn waited(
        &self,
        record: u64,
        operation: &'static str,
        in_vain: impl Future<Output = ()> + Send,
    ) -> Result<&dyn Ledger, LedgerFault> {
        let reached = self.backlog.reached(record);
        tokio::select! {
            biased;
            () = reached => Ok(self.inner.as_ref()),
            () = self.ended.cancelled() => Err(fault(operation, writer_is_gone())),
            () = in_vain => Err(fault(operation, self.backlog.behind())),
            () = sleep(READ_TIMEOUT) => Err(fault(operation, self.backlog.behind())),
        }
    }

    async fn append(&self, batches: &[OutboxBatch], now: Timestamp) -> Result<Settled, RedoError> {
        let mut files = Arc::clone(&self.files).lock_owned().await;
        if batches.is_empty() {
            return Ok(Settled {
                reversals: self.backlog.reversals(),
                ..Settled::default()
            });
        }
        if !self.backlog.continues(batches) {
            return Ok(Settled {
                cursor_conflict: true,
                ..Settled::default()
            });
        }
        let room = self.backlog.has_room(WAITING_MAX);
        if tokio::time::timeout(READ_TIMEOUT, room).await.is_err() {
            return Err(self.backlog.behind());
        }
        let record = Record::write(batches, now, files.memory())?;
        let (bytes, batches) = (record.len(), batches.to_vec());
        let entries = batches.iter().map(|batch| batch.entries.len()).sum();
        let backlog = Arc::clone(&self.backlog);
        // One piece, so that whoever stops waiting for it can't part it: what the file has and the
        // backlog has not would be appended again. The files are held until its end.
        let append = move || {
            let file = files.append(record)?;
            Ok::<_, RedoError>(backlog.push(Waiting {
                file,
                now,
                bytes,
                batches,
            }))
        };
        let is_own_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let reversals = if is_own_thread {
            // The settler's, which has nothing else to do meanwhile.
            append()?
        } else {
            let appended = tokio::task::spawn_blocking(append).await;
            appended.map_err(|error| RedoError::Unusable(error.to_string()))??
        };
        Ok(Settled {
            entries,
            cursor_conflict: false,
            reversals,
        })
    }
}

impl Drop for RedoLedger {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs the work on a thread of its own until it is told to stop: a large transaction takes long
/// to make ready, and the threads that answer calls must not wait for that. `end` is dropped with
/// the thread.
fn in_background(
    stop: CancellationToken,
    end: DropGuard,
    work: impl Future<Output = ()> + Send + 'static,
) -> Result<thread::JoinHandle<()>, RedoError> {
    let failed = |error: std::io::Error| RedoError::Unusable(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(failed)?;
    thread::Builder::new()
        .name(WRITER_THREAD.to_owned())
        .spawn(move || {
            let _end = end;
            runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = work => {}
                }
            });
        })
        .map_err(failed)
}

fn writer_is_gone() -> RedoError {
    RedoError::Unusable(format!("its thread {WRITER_THREAD} has panicked"))
}

fn fault(operation: &'static str, error: RedoError) -> LedgerFault {
    LedgerFault {
        operation,
        source: Box::new(error),
    }
}

#[async_trait]
impl Ledger for RedoLedger {
    async fn submit(
        &self,
        request: &ChangeRequest,
        now: Timestamp,
    ) -> Result<Submitted, LedgerFault> {
        let ledger = self.caught_up_on(&request.account_id, "submit").await?;
        ledger.submit(request, now).await
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, LedgerFault> {
        self.inner.changes(account_id, number, max).await
    }

    // What waits only ever shortens this list, so an empty one needs no waiting.
    async fn unapplied(
        &self,
        after: Option<&AccountId>,
        max: usize,
    ) -> Result<Vec<AccountId>, LedgerFault> {
        if self.inner.unapplied(after, max).await?.is_empty() {
            return Ok(Vec::new());
        }
        let ledger = self.caught_up("unapplied").await?;
        ledger.unapplied(after, max).await
    }

    async fn settle(
        &self,
        batches: &[OutboxBatch],
        now: Timestamp,
    ) -> Result<Settled, LedgerFault> {
        let settled = self.append(batches, now).await;
        settled.map_err(|error| fault("settle", error))
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, LedgerFault> {
        self.caught_up("cursors").await?.cursors().await
    }

    // Nothing is appended meanwhile: what is in the log was settled before the fence, all of it.
    async fn fence(&self, fences: &[Fence]) -> Result<bool, LedgerFault> {
        let _files = self.files.lock().await;
        let ledger = self.caught_up("fence").await?;
        let fenced = ledger.fence(fences).await?;
        self.backlog.continue_at(ledger.cursors().await?);
        Ok(fenced)
    }

    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, LedgerFault> {
        let ledger = self.caught_up("standing").await?;
        ledger.standing(shard, epoch).await
    }

    // Whoever asks for many holds their sequences against what he knows, and asks again.
    async fn accounts_of(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, LedgerFault> {
        self.inner.accounts_of(account_ids).await
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, LedgerFault> {
        let ledger = self.caught_up_on(account_id, "commits").await?;
        ledger.commits(account_id, reservation_ids).await
    }

    async fn account(
        &self,
        account_id: &AccountId,
        now: Timestamp,
    ) -> Result<Option<Account>, LedgerFault> {
        let ledger = self.caught_up_on(account_id, "account").await?;
        ledger.account(account_id, now).await
    }

    async fn accounts(
        &self,
        after: Option<&AccountId>,
        max: usize,
        now: Timestamp,
    ) -> Result<Vec<Account>, LedgerFault> {
        let ledger = self.caught_up("accounts").await?;
        ledger.accounts(after, max, now).await
    }

    async fn grant(
        &self,
        account_id: &AccountId,
        grant_id: &GrantId,
    ) -> Result<Option<Grant>, LedgerFault> {
        let ledger = self.caught_up_on(account_id, "grant").await?;
        ledger.grant(account_id, grant_id).await
    }

    // As with `unapplied`: a grant that waits to be made can't have expired already, or the hot
    // store expires it by itself.
    async fn due(&self, now: Timestamp, max: usize) -> Result<Vec<AccountId>, LedgerFault> {
        if self.inner.due(now, max).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.caught_up("due").await?.due(now, max).await
    }

    async fn reservations(
        &self,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Result<Vec<KeptReservation>, LedgerFault> {
        let ledger = self.caught_up("reservations").await?;
        ledger.reservations(after, max).await
    }

    async fn entries(
        &self,
        filter: &EntryFilter,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let ledger = self.caught_up("entries").await?;
        ledger.entries(filter, page, max).await
    }

    async fn conversation(
        &self,
        conversation_id: &str,
        page: Option<PageToken>,
        max: usize,
    ) -> Result<EntryPage, LedgerFault> {
        let ledger = self.caught_up("conversation").await?;
        ledger.conversation(conversation_id, page, max).await
    }

    async fn put_catalog(
        &self,
        catalog: &StoredCatalog,
        now: Timestamp,
    ) -> Result<bool, LedgerFault> {
        self.inner.put_catalog(catalog, now).await
    }

    async fn catalogs(&self) -> Result<Vec<StoredCatalog>, LedgerFault> {
        self.inner.catalogs().await
    }

    async fn fix_shards(&self, wanted: u32) -> Result<u32, LedgerFault> {
        self.inner.fix_shards(wanted).await
    }

    async fn id(&self) -> Result<String, LedgerFault> {
        self.inner.id().await
    }

    async fn in_use(&self) -> Result<InUse, LedgerFault> {
        self.caught_up("in_use").await?.in_use().await
    }

    async fn log_calls(&self, calls: &[AdminCall]) -> Result<(), LedgerFault> {
        self.inner.log_calls(calls).await
    }

    async fn calls(
        &self,
        filter: &CallFilter,
        after: Option<u64>,
        max: usize,
    ) -> Result<CallPage, LedgerFault> {
        self.inner.calls(filter, after, max).await
    }

    async fn audit(&self, max: usize) -> Result<Vec<Finding>, LedgerFault> {
        self.caught_up("audit").await?.audit(max).await
    }
}
