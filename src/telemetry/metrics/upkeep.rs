//! What happens behind the calls: in the stores, between them, and in the process.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Metrics, NEVER};
use crate::telemetry::{
    instruments::Pulled,
    labels::{Ended, HotOperation, LedgerOperation, Reload},
    names,
    stores::RedoLevels,
};

/// The stores, and the way from one to the other.
impl Metrics {
    /// A step of the hot store; one that failed, with the certainty of its fault.
    pub fn hot_step(&self, operation: HotOperation, took: Duration, ended: Ended) {
        self.hot.step(operation, took, ended);
        if operation == HotOperation::Load && ended == Ended::Well {
            self.account_loads.inc();
        }
    }

    /// An operation of the ledger.
    pub fn ledger_operation(&self, operation: LedgerOperation, took: Duration, ended: Ended) {
        self.ledger.operation(operation, took, ended);
    }

    /// What a part of the process says of its readiness.
    pub fn set_ready(&self, check: &'static str, is_ready: bool) {
        self.ready.set([check], i64::from(is_ready));
    }

    /// How much the hot store has on its hands.
    pub fn set_hot_levels(&self, accounts: usize, open_holds: usize, outbox: usize) {
        let value = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.loaded_accounts.set(value(accounts));
        self.open_holds.set(value(open_holds));
        self.outbox_entries.set(value(outbox));
    }

    /// When the earliest hold is due, in milliseconds since 1970; `None`: there is no hold.
    pub fn set_earliest_deadline(&self, at_ms: Option<i64>) {
        let at_ms = at_ms.unwrap_or(NEVER);
        self.levels
            .earliest_deadline_ms
            .store(at_ms, Ordering::Relaxed);
    }

    /// Since when the oldest hold that is known stands, in milliseconds since 1970; `None`: none is
    /// known.
    pub fn set_oldest_hold(&self, since_ms: Option<i64>) {
        let since_ms = since_ms.unwrap_or(NEVER);
        self.levels
            .oldest_hold_ms
            .store(since_ms, Ordering::Relaxed);
    }

    /// Idle accounts that the hot store dropped.
    pub fn accounts_unloaded(&self, count: u64) {
        self.account_unloads.inc_by(count);
    }

    /// When the oldest entry was settled that the ledger does not have, in milliseconds since
    /// 1970; `None`: it has all.
    pub fn set_oldest_unsettled(&self, at_ms: Option<i64>) {
        let at_ms = at_ms.unwrap_or(NEVER);
        self.levels.oldest_entry_ms.store(at_ms, Ordering::Relaxed);
    }

    /// A transaction of the settler, and how many entries it wrote.
    pub fn settled_batch(&self, entries: u64) {
        self.settler_batches.inc();
        self.settler_entries.inc_by(entries);
    }

    /// A transaction of the settler that wrote nothing, since another settler was faster.
    pub fn cursor_conflict(&self) {
        self.cursor_conflicts.inc();
    }

    /// Has the redo log looked at from now on, by this function.
    pub fn watch_redo(
        &self,
        look: impl Fn() -> RedoLevels + Clone + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let level = |of: fn(RedoLevels) -> f64| {
            let look = look.clone();
            move || of(look())
        };
        let r = &self.registry;
        Pulled::register(r, &names::REDO_BACKLOG, level(|redo| redo.records as f64))?;
        Pulled::register(r, &names::REDO_BYTES, level(|redo| redo.bytes as f64))?;
        let age = level(|redo| redo.age_ms as f64 / 1000.0);
        Pulled::register(r, &names::REDO_AGE, age)?;
        let commits = level(|redo| redo.commits as f64);
        Pulled::register_of(r, &names::BUFFERED_COMMITS, ["redo"], commits)
    }

    /// Has the hot store's breaker looked at from now on, by this function.
    pub fn watch_breaker(
        &self,
        is_open: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let value = move || f64::from(u8::from(is_open()));
        Pulled::register_of(&self.registry, &names::BREAKER_OPEN, ["hot"], value)
    }
}

/// The catalogue, what goes wrong, and telemetry itself.
impl Metrics {
    /// An attempt to read a changed catalogue.
    pub fn catalog_reload(&self, reload: Reload) {
        self.catalog_reloads[reload as usize].inc();
    }

    /// The catalogue that is in force from now on.
    pub fn set_catalog_version(&self, version: &str) {
        self.catalog_info.reset();
        self.catalog_info.set([version], 1);
    }

    /// A broken invariant. Log the account's id beside it.
    pub fn invariant_violation(&self) {
        self.invariant_violations.inc();
    }

    /// An account in the hot store that is not as the ledger has it. Log its id beside it.
    pub fn drift(&self) {
        self.drift.inc();
    }

    /// An account that was put right by the ledger.
    pub fn repaired(&self) {
        self.repairs.inc();
    }

    /// What was put right after a Redis server had lost something: shards that began anew, entries
    /// that never reach the ledger, holds that were dropped.
    pub fn recovered(&self, shards: u64, lost_entries: u64, dropped_holds: u64) {
        let counts = [shards, lost_entries, dropped_holds];
        let counters = self.recovered.iter().zip(counts);
        counters.for_each(|(counter, count)| counter.inc_by(count));
    }

    /// A round of a worker that failed.
    pub fn worker_error(&self, worker: &'static str) {
        self.worker_errors.add([worker], 1);
    }

    /// A round of a worker that did not.
    pub fn worker_success(&self, worker: &'static str) {
        let now_s = self.clock.now().millis() / 1000;
        self.worker_success.set([worker], now_s);
    }

    /// Spans that the collector took.
    pub fn spans_exported(&self, count: u64) {
        self.spans_exported.inc_by(count);
    }

    /// Spans that were given up: `queue_full`, `export_failed` or `rejected`.
    pub fn spans_dropped(&self, reason: &'static str, count: u64) {
        self.spans_dropped.add([reason], count);
    }

    /// A request to the collector: `traces` or `metrics`.
    pub fn exported(&self, signal: &'static str, ok: bool) {
        let result = if ok { "ok" } else { "failed" };
        self.exports.add([signal, result], 1);
    }
}
