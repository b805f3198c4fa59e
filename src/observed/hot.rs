//! A hot store that is observed.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Clock,
    domain::{
        account::Account,
        change::{Applied, Change},
        command::{Charge, Commit, Extend, Release, Renewal, Repair, Reserve},
        decision::{Balance, Charged, Committed, Extended, Released, ReservationView, Reserved},
        ids::{AccountId, ReservationId},
        reservation::Terms,
        timestamp::Timestamp,
    },
    hot::{
        Answer, Cursor, HotFault, HotStats, HotStore, Loaded, Loading, OutboxBatch, Stored, Swept,
    },
    telemetry::{
        Ended, HotOperation, Metrics,
        present::{self, Part},
    },
};

/// A hot store whose steps are timed and counted.
pub struct ObservedHot {
    store: Arc<dyn HotStore>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl ObservedHot {
    /// Observes a store.
    pub fn new(store: Arc<dyn HotStore>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        ObservedHot {
            store,
            metrics,
            clock,
        }
    }

    async fn step<T>(
        &self,
        operation: HotOperation,
        step: impl Future<Output = Result<T, HotFault>>,
    ) -> Result<T, HotFault> {
        let mut watch = self.watch(operation);
        let answer = step.await;
        watch.ended = answer.as_ref().err().map_or(Ended::Well, failed);
        answer
    }

    fn watch(&self, operation: HotOperation) -> Watch<'_> {
        Watch {
            of: self,
            operation,
            started: self.clock.monotonic(),
            ended: Ended::GivenUp,
        }
    }
}

fn failed(fault: &HotFault) -> Ended {
    Ended::Failed(fault.certainty.name())
}

/// A step in progress.
struct Watch<'s> {
    of: &'s ObservedHot,
    operation: HotOperation,
    started: Duration,
    ended: Ended,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let now = self.of.clock.monotonic();
        let took = now.saturating_sub(self.started);
        self.of.metrics.hot_step(self.operation, took, self.ended);
        let name = self.operation.span_name();
        present::spent(Part::Hot, name, self.started, now, self.ended.error());
    }
}

#[async_trait]
impl HotStore for ObservedHot {
    async fn reserve(&self, command: &Reserve) -> Answer<Reserved> {
        let step = self.store.reserve(command);
        self.step(HotOperation::Reserve, step).await
    }

    async fn extend(&self, command: &Extend) -> Answer<Extended> {
        let step = self.store.extend(command);
        self.step(HotOperation::Extend, step).await
    }

    async fn commit(&self, command: &Commit) -> Answer<Committed> {
        let step = self.store.commit(command);
        self.step(HotOperation::Commit, step).await
    }

    async fn release(&self, command: &Release) -> Answer<Released> {
        let step = self.store.release(command);
        self.step(HotOperation::Release, step).await
    }

    async fn charge(&self, command: &Charge) -> Answer<Charged> {
        let step = self.store.charge(command);
        self.step(HotOperation::Charge, step).await
    }

    async fn balance(&self, account_id: &AccountId) -> Answer<Balance> {
        let step = self.store.balance(account_id);
        self.step(HotOperation::Balance, step).await
    }

    async fn account(&self, account_id: &AccountId) -> Answer<(Account, Balance)> {
        let step = self.store.account(account_id);
        self.step(HotOperation::Account, step).await
    }

    async fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<ReservationView>> {
        let step = self.store.reservation(account_id, reservation_id);
        self.step(HotOperation::Reservation, step).await
    }

    // What a store remembers it answers at once: such a step counts as one, of no length.
    async fn terms(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<Terms>> {
        let step = self.store.terms(account_id, reservation_id);
        self.step(HotOperation::Reservation, step).await
    }

    async fn apply(&self, change: &Change) -> Answer<Applied> {
        let step = self.store.apply(change);
        self.step(HotOperation::Apply, step).await
    }

    async fn renew(&self, renewal: &Renewal) -> Answer<()> {
        let step = self.store.renew(renewal);
        self.step(HotOperation::Renew, step).await
    }

    async fn loaded(&self, shard: u32, from: Option<&str>, max: usize) -> Result<Loaded, HotFault> {
        let step = self.store.loaded(shard, from, max);
        self.step(HotOperation::Loaded, step).await
    }

    async fn stored(&self, account_id: &AccountId) -> Result<Option<Stored>, HotFault> {
        let step = self.store.stored(account_id);
        self.step(HotOperation::Stored, step).await
    }

    async fn repair(&self, repair: &Repair) -> Answer<Option<usize>> {
        let step = self.store.repair(repair);
        self.step(HotOperation::Repair, step).await
    }

    async fn loading(&self, account_id: &AccountId) -> Result<Loading, HotFault> {
        let step = self.store.loading(account_id);
        self.step(HotOperation::Loading, step).await
    }

    async fn load(&self, account: Account, loading: Loading) -> Result<(), HotFault> {
        let step = self.store.load(account, loading);
        self.step(HotOperation::Load, step).await
    }

    async fn sweep(&self, max: usize) -> Result<Swept, HotFault> {
        let step = self.store.sweep(max);
        self.step(HotOperation::Sweep, step).await
    }

    fn shards(&self) -> u32 {
        self.store.shards()
    }

    // One step, which has failed where one of the shards has.
    async fn outboxes(&self, shards: &[u32]) -> Vec<Result<OutboxBatch, HotFault>> {
        let mut watch = self.watch(HotOperation::Outbox);
        let found = self.store.outboxes(shards).await;
        let fault = found.iter().find_map(|batch| batch.as_ref().err());
        watch.ended = fault.map_or(Ended::Well, failed);
        found
    }

    async fn trim(&self, reached: Cursor) -> Result<(), HotFault> {
        let step = self.store.trim(reached);
        self.step(HotOperation::Trim, step).await
    }

    async fn distrust(&self, cursor: Cursor) -> Result<(), HotFault> {
        let step = self.store.distrust(cursor);
        self.step(HotOperation::Distrust, step).await
    }

    async fn stats(&self) -> Result<HotStats, HotFault> {
        let step = self.store.stats();
        self.step(HotOperation::Stats, step).await
    }

    async fn now(&self) -> Result<Timestamp, HotFault> {
        let step = self.store.now();
        self.step(HotOperation::Now, step).await
    }

    async fn broken_invariants(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault> {
        let step = self.store.broken_invariants(max);
        self.step(HotOperation::BrokenInvariants, step).await
    }
}
