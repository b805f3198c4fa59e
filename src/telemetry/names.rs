//! Every metric, named in one place: what it is called on `/metrics` and over OTLP, its kind, its
//! labels, and the help that goes with it. `tollgate metrics` prints this table.
//!
//! Units are base units: seconds, bytes, credits. Labels take few values, all known from the code
//! or from the catalogue (modes and tiers); models are not among them, and no account, conversation
//! or request id ever is.
//!
//! Processes that share a Redis all report what they see of it (`open_holds`, `loaded_accounts`,
//! `outbox_*`, `expiry_lag_seconds`; those with the settler role do, and `oldest_hold_age_seconds`
//! one of them at a time): take the `max` of these over the processes, and the `sum` of counters.
//!
//! What is settled and not in the ledger yet waits in Redis, where `outbox_*` say how much, or in an
//! embedded process's redo log, where `redo_backlog_*` do. A process with Redis and no ledger has no
//! such log, since it answers a commit that Redis can't take with `UNAVAILABLE`. For one that has,
//! which is called a spool, these stay reserved, so that nobody takes them for something else:
//! `tollgate_spool_entries` and `tollgate_spool_bytes`, and of `tollgate_buffered_commits_total` the
//! `log` named `spool`. So does every `answer` of `tollgate_degraded_answers_total` but
//! `unavailable`, for policies that are not closed.

mod process;
mod security;
mod service;
mod stores;

pub use self::{process::*, security::*, service::*, stores::*};

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times, counted by upper bound.
    Histogram,
}

impl Kind {
    /// As the text formats write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// On `/metrics`.
    pub name: &'static str,
    /// Over OTLP, which knows the unit apart.
    pub otlp: &'static str,
    /// UCUM, as OTLP wants it.
    pub unit: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// All of them, in the order of the parts above.
pub const ALL: [Spec; 61] = [
    CALLS,
    CALLS_IN_FLIGHT,
    CALLS_REFUSED,
    DEGRADED,
    CONNECTIONS,
    CONNECTIONS_ACCEPTED,
    ACCEPT_ERRORS,
    CONNECTIONS_REFUSED,
    ADMIN_REFUSALS,
    FILE_RELOADS,
    FILE_REFUSED,
    CERTIFICATE_NOT_BEFORE,
    CERTIFICATE_NOT_AFTER,
    DECISIONS,
    CREDITS,
    REPLAYS,
    ID_CONFLICTS,
    LATE_COMMITS,
    EXPIRED,
    OPEN_HOLDS,
    OLDEST_HOLD,
    EXPIRY_LAG,
    HOT_OPERATIONS,
    HOT_FAULTS,
    LEDGER_OPERATIONS,
    LEDGER_FAULTS,
    STORE_UP,
    BREAKER_OPEN,
    READY,
    LOADED_ACCOUNTS,
    ACCOUNT_LOADS,
    ACCOUNT_UNLOADS,
    OUTBOX_ENTRIES,
    OUTBOX_LAG,
    SETTLER_BATCHES,
    SETTLER_ENTRIES,
    CURSOR_CONFLICTS,
    REDO_BACKLOG,
    REDO_BYTES,
    REDO_AGE,
    BUFFERED_COMMITS,
    CATALOG_INFO,
    CATALOG_RELOADS,
    INVARIANT_VIOLATIONS,
    DRIFT,
    REPAIRS,
    RECOVERED_SHARDS,
    LOST_ENTRIES,
    DROPPED_HOLDS,
    WORKER_ERRORS,
    WORKER_SUCCESS,
    SPANS_EXPORTED,
    SPANS_DROPPED,
    OTLP_EXPORTS,
    LOG_SUPPRESSED,
    BUILD_INFO,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_FDS,
    PROCESS_FDS_MAX,
    PROCESS_START,
];

const fn counter(
    name: &'static str,
    otlp: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Spec {
    Spec {
        name,
        otlp,
        unit,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(
    name: &'static str,
    otlp: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Spec {
    Spec {
        kind: Kind::Gauge,
        ..counter(name, otlp, unit, labels, help)
    }
}

const fn seconds(
    name: &'static str,
    otlp: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Spec {
    Spec {
        kind: Kind::Histogram,
        ..counter(name, otlp, "s", labels, help)
    }
}
