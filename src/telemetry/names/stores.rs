//! Metrics of the stores, and the way from one to the other.

use super::{Spec, counter, gauge, seconds};

/// The hot store's steps.
pub const HOT_OPERATIONS: Spec = seconds(
    "tollgate_hot_operation_duration_seconds",
    "tollgate.hot.operation.duration",
    &["operation"],
    "Time of one step of the hot store, failed ones included.",
);
/// The hot store's failures.
pub const HOT_FAULTS: Spec = counter(
    "tollgate_hot_faults_total",
    "tollgate.hot.faults",
    "{fault}",
    &["operation", "certainty"],
    "Steps of the hot store that failed, and whether they may have happened all the same.",
);
/// The ledger's operations.
pub const LEDGER_OPERATIONS: Spec = seconds(
    "tollgate_ledger_operation_duration_seconds",
    "tollgate.ledger.operation.duration",
    &["operation"],
    "Time of one operation of the ledger, failed ones included; settle is the settler's \
     transaction with its sync to disk.",
);
/// The ledger's failures.
pub const LEDGER_FAULTS: Spec = counter(
    "tollgate_ledger_faults_total",
    "tollgate.ledger.faults",
    "{fault}",
    &["operation"],
    "Operations of the ledger that failed.",
);
/// Whether the stores answer.
pub const STORE_UP: Spec = gauge(
    "tollgate_store_up",
    "tollgate.store.up",
    "1",
    &["store"],
    "1 where the last operation on the store (hot or ledger) succeeded, 0 where it failed.",
);
/// Whether calls to a store fail at once.
pub const BREAKER_OPEN: Spec = gauge(
    "tollgate_breaker_open",
    "tollgate.breaker.open",
    "1",
    &["store"],
    "1 from a failed attempt to connect until one succeeds: calls to the store fail at once, but for \
     one attempt in 100 ms. Only a hot store in Redis has a breaker.",
);
/// Whether this process is ready.
pub const READY: Spec = gauge(
    "tollgate_ready",
    "tollgate.ready",
    "1",
    &["check"],
    "1 where the part of /readyz is ready, 0 where it is not; the process is where all are.",
);
/// Accounts in the hot store.
pub const LOADED_ACCOUNTS: Spec = gauge(
    "tollgate_loaded_accounts",
    "tollgate.loaded_accounts",
    "{account}",
    &[],
    "Accounts in the hot store; processes that share a Redis all see the same ones.",
);
/// Accounts that came.
pub const ACCOUNT_LOADS: Spec = counter(
    "tollgate_account_loads_total",
    "tollgate.account.loads",
    "{account}",
    &[],
    "Accounts read from the ledger into the hot store on demand.",
);
/// Accounts that went.
pub const ACCOUNT_UNLOADS: Spec = counter(
    "tollgate_account_unloads_total",
    "tollgate.account.unloads",
    "{account}",
    &[],
    "Idle accounts dropped from Redis; a store in memory keeps all.",
);

/// What waits for the ledger.
pub const OUTBOX_ENTRIES: Spec = gauge(
    "tollgate_outbox_entries",
    "tollgate.outbox.entries",
    "{record}",
    &[],
    "Records in the hot store's outbox that the ledger does not have yet.",
);
/// How long it has waited.
pub const OUTBOX_LAG: Spec = gauge(
    "tollgate_outbox_lag_seconds",
    "tollgate.outbox.lag",
    "s",
    &[],
    "Age of the oldest settled entry that the ledger does not have yet; 0 where it has all.",
);
/// Transactions of the settler.
pub const SETTLER_BATCHES: Spec = counter(
    "tollgate_settler_batches_total",
    "tollgate.settler.batches",
    "{transaction}",
    &[],
    "Transactions that moved entries from the hot store to the ledger.",
);
/// Entries of the settler.
pub const SETTLER_ENTRIES: Spec = counter(
    "tollgate_settler_entries_total",
    "tollgate.settler.entries",
    "{entry}",
    &[],
    "Entries moved from the hot store to the ledger.",
);
/// Settlers that met.
pub const CURSOR_CONFLICTS: Spec = counter(
    "tollgate_settler_cursor_conflicts_total",
    "tollgate.settler.cursor_conflicts",
    "{transaction}",
    &[],
    "Transactions of the settler that wrote nothing, since another settler was faster.",
);
/// What waits in the redo log.
pub const REDO_BACKLOG: Spec = gauge(
    "tollgate_redo_backlog_records",
    "tollgate.redo.backlog",
    "{record}",
    &[],
    "Records of the redo log that SQLite does not have yet; commits wait from 131072 on.",
);
/// The same on disk.
pub const REDO_BYTES: Spec = gauge(
    "tollgate_redo_backlog_bytes",
    "tollgate.redo.backlog.size",
    "By",
    &[],
    "What the redo log has on disk that SQLite does not have yet.",
);
/// How long it waits.
pub const REDO_AGE: Spec = gauge(
    "tollgate_redo_backlog_age_seconds",
    "tollgate.redo.backlog.age",
    "s",
    &[],
    "How long the oldest record of the redo log has waited for SQLite; more than some seconds: SQLite \
     does not take it.",
);
/// Commits that were safe on disk before the ledger had them.
pub const BUFFERED_COMMITS: Spec = counter(
    "tollgate_buffered_commits_total",
    "tollgate.buffered_commits",
    "{commit}",
    &["log"],
    "Commits written to a log on local disk before the ledger had them: in the redo log of an \
     embedded process, all; those of charges are among them.",
);
