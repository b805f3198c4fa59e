//! A ledger that is observed.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Clock,
    domain::{
        account::Account,
        change::Change,
        grant::Grant,
        ids::{AccountId, GrantId, ReservationId},
        timestamp::Timestamp,
    },
    hot::{Commits, Cursor, Fence, KeptReservation, OutboxBatch, Standing},
    ledger::{
        AdminCall, CallFilter, CallPage, ChangeRequest, EntryFilter, EntryPage, Finding, InUse,
        Ledger, LedgerFault, PageToken, Settled, StoredCatalog, Submitted,
    },
    telemetry::{
        Ended, LedgerOperation, Metrics,
        present::{self, Part},
    },
};

/// What every operation answers, or its fault.
type Answer<T> = Result<T, LedgerFault>;

/// A ledger whose operations are timed and counted.
pub struct ObservedLedger {
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl ObservedLedger {
    /// Observes a ledger.
    pub fn new(ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        ObservedLedger {
            ledger,
            metrics,
            clock,
        }
    }

    async fn run<T>(
        &self,
        operation: LedgerOperation,
        run: impl Future<Output = Answer<T>>,
    ) -> Answer<T> {
        let mut watch = Watch {
            of: self,
            operation,
            started: self.clock.monotonic(),
            ended: Ended::GivenUp,
        };
        let answer = run.await;
        watch.ended = match &answer {
            Ok(_) => Ended::Well,
            Err(_) => Ended::Failed("failed"),
        };
        answer
    }
}

/// An operation in progress.
struct Watch<'l> {
    of: &'l ObservedLedger,
    operation: LedgerOperation,
    started: Duration,
    ended: Ended,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let now = self.of.clock.monotonic();
        let took = now.saturating_sub(self.started);
        self.of
            .metrics
            .ledger_operation(self.operation, took, self.ended);
        let name = self.operation.span_name();
        present::spent(Part::Ledger, name, self.started, now, self.ended.error());
    }
}

#[async_trait]
impl Ledger for ObservedLedger {
    async fn submit(&self, request: &ChangeRequest, now: Timestamp) -> Answer<Submitted> {
        let run = self.ledger.submit(request, now);
        self.run(LedgerOperation::Submit, run).await
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Answer<Vec<Change>> {
        let run = self.ledger.changes(account_id, number, max);
        self.run(LedgerOperation::Changes, run).await
    }

    async fn unapplied(&self, after: Option<&AccountId>, max: usize) -> Answer<Vec<AccountId>> {
        let run = self.ledger.unapplied(after, max);
        self.run(LedgerOperation::Unapplied, run).await
    }

    async fn settle(&self, batches: &[OutboxBatch], now: Timestamp) -> Answer<Settled> {
        let run = self.ledger.settle(batches, now);
        // That a store has nothing to write says nothing of how the ledger is.
        if batches.is_empty() {
            return run.await;
        }
        self.run(LedgerOperation::Settle, run).await
    }

    async fn cursors(&self) -> Answer<Vec<Cursor>> {
        let run = self.ledger.cursors();
        self.run(LedgerOperation::Cursors, run).await
    }

    async fn fence(&self, fences: &[Fence]) -> Answer<bool> {
        let run = self.ledger.fence(fences);
        self.run(LedgerOperation::Fence, run).await
    }

    async fn standing(&self, shard: u32, epoch: u64) -> Answer<Standing> {
        let run = self.ledger.standing(shard, epoch);
        self.run(LedgerOperation::Standing, run).await
    }

    async fn accounts_of(&self, account_ids: &[AccountId]) -> Answer<Vec<Account>> {
        let run = self.ledger.accounts_of(account_ids);
        self.run(LedgerOperation::AccountsOf, run).await
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Answer<Vec<(ReservationId, Commits)>> {
        let run = self.ledger.commits(account_id, reservation_ids);
        self.run(LedgerOperation::Commits, run).await
    }

    async fn account(&self, account_id: &AccountId, now: Timestamp) -> Answer<Option<Account>> {
        let run = self.ledger.account(account_id, now);
        self.run(LedgerOperation::Account, run).await
    }

    async fn accounts(
        &self,
        after: Option<&AccountId>,
        max: usize,
        now: Timestamp,
    ) -> Answer<Vec<Account>> {
        let run = self.ledger.accounts(after, max, now);
        self.run(LedgerOperation::Accounts, run).await
    }

    async fn grant(&self, account_id: &AccountId, grant_id: &GrantId) -> Answer<Option<Grant>> {
        let run = self.ledger.grant(account_id, grant_id);
        self.run(LedgerOperation::Grant, run).await
    }

    async fn due(&self, now: Timestamp, max: usize) -> Answer<Vec<AccountId>> {
        let run = self.ledger.due(now, max);
        self.run(LedgerOperation::Due, run).await
    }

    async fn reservations(
        &self,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Answer<Vec<KeptReservation>> {
        let run = self.ledger.reservations(after, max);
        self.run(LedgerOperation::Reservations, run).await
    }

    async fn entries(
        &self,
        filter: &EntryFilter,
        page: Option<PageToken>,
        max: usize,
    ) -> Answer<EntryPage> {
        let run = self.ledger.entries(filter, page, max);
        self.run(LedgerOperation::Entries, run).await
    }

    async fn conversation(
        &self,
        conversation_id: &str,
        page: Option<PageToken>,
        max: usize,
    ) -> Answer<EntryPage> {
        let run = self.ledger.conversation(conversation_id, page, max);
        self.run(LedgerOperation::Conversation, run).await
    }

    async fn put_catalog(&self, catalog: &StoredCatalog, now: Timestamp) -> Answer<bool> {
        let run = self.ledger.put_catalog(catalog, now);
        self.run(LedgerOperation::PutCatalog, run).await
    }

    async fn catalogs(&self) -> Answer<Vec<StoredCatalog>> {
        let run = self.ledger.catalogs();
        self.run(LedgerOperation::Catalogs, run).await
    }

    async fn fix_shards(&self, wanted: u32) -> Answer<u32> {
        let run = self.ledger.fix_shards(wanted);
        self.run(LedgerOperation::FixShards, run).await
    }

    async fn id(&self) -> Answer<String> {
        self.run(LedgerOperation::Id, self.ledger.id()).await
    }

    async fn in_use(&self) -> Answer<InUse> {
        let run = self.ledger.in_use();
        self.run(LedgerOperation::InUse, run).await
    }

    async fn log_calls(&self, calls: &[AdminCall]) -> Answer<()> {
        let run = self.ledger.log_calls(calls);
        self.run(LedgerOperation::LogCalls, run).await
    }

    async fn calls(&self, filter: &CallFilter, after: Option<u64>, max: usize) -> Answer<CallPage> {
        let run = self.ledger.calls(filter, after, max);
        self.run(LedgerOperation::Calls, run).await
    }

    async fn audit(&self, max: usize) -> Answer<Vec<Finding>> {
        let run = self.ledger.audit(max);
        self.run(LedgerOperation::Audit, run).await
    }
}
