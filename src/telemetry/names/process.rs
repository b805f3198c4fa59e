//! Metrics of what goes wrong, what telemetry does itself, and the process.

use super::{Spec, counter, gauge};

/// The catalogue.
pub const CATALOG_INFO: Spec = gauge(
    "tollgate_catalog_info",
    "tollgate.catalog.info",
    "1",
    &["version"],
    "Always 1; the catalogue in force.",
);
/// Reloads of it.
pub const CATALOG_RELOADS: Spec = counter(
    "tollgate_catalog_reloads_total",
    "tollgate.catalog.reloads",
    "{reload}",
    &["result"],
    "Attempts to read a changed catalogue: loaded, or refused (the old one stays).",
);

/// Broken invariants.
pub const INVARIANT_VIOLATIONS: Spec = counter(
    "tollgate_invariant_violations_total",
    "tollgate.invariant_violations",
    "{violation}",
    &[],
    "Broken invariants that this process met in what it read or wrote; must stay 0.",
);
/// Hot store and ledger apart.
pub const DRIFT: Spec = counter(
    "tollgate_drift_accounts_total",
    "tollgate.drift.accounts",
    "{account}",
    &[],
    "Times that an account was not as the ledger has it; must stay 0.",
);
/// Hot store and ledger together again.
pub const REPAIRS: Spec = counter(
    "tollgate_repaired_accounts_total",
    "tollgate.repaired.accounts",
    "{account}",
    &[],
    "Accounts that differed from the ledger and were put right.",
);
/// Shards of a Redis server that lost something.
pub const RECOVERED_SHARDS: Spec = counter(
    "tollgate_recovered_shards_total",
    "tollgate.recovered.shards",
    "{shard}",
    &[],
    "Shards that began anew from the ledger, since their Redis server had lost something.",
);
/// What no ledger gets.
pub const LOST_ENTRIES: Spec = counter(
    "tollgate_lost_entries_total",
    "tollgate.lost.entries",
    "{entry}",
    &[],
    "Entries of a Redis server that was replaced which never reach the ledger; must stay 0.",
);
/// Holds that went with a server.
pub const DROPPED_HOLDS: Spec = counter(
    "tollgate_dropped_holds_total",
    "tollgate.dropped.holds",
    "{hold}",
    &[],
    "Open holds that were dropped in a rebuild: the ledger has settled them, or does not cover \
     them any more.",
);
/// Workers in trouble.
pub const WORKER_ERRORS: Spec = counter(
    "tollgate_worker_errors_total",
    "tollgate.worker.errors",
    "{step}",
    &["worker"],
    "Rounds of a worker that failed and will be tried again.",
);
/// Workers that work.
pub const WORKER_SUCCESS: Spec = gauge(
    "tollgate_worker_last_success_timestamp_seconds",
    "tollgate.worker.last_success",
    "s",
    &["worker"],
    "When a worker's last round succeeded, in seconds since 1970.",
);

/// Spans that arrived.
pub const SPANS_EXPORTED: Spec = counter(
    "tollgate_spans_exported_total",
    "tollgate.spans.exported",
    "{span}",
    &[],
    "Spans that the collector took.",
);
/// Spans that did not.
pub const SPANS_DROPPED: Spec = counter(
    "tollgate_spans_dropped_total",
    "tollgate.spans.dropped",
    "{span}",
    &["reason"],
    "Spans that were given up: queue_full, export_failed, or rejected by the collector.",
);
/// Pushes.
pub const OTLP_EXPORTS: Spec = counter(
    "tollgate_otlp_exports_total",
    "tollgate.otlp.exports",
    "{request}",
    &["signal", "result"],
    "Requests to the collector, by signal (traces, metrics) and result (ok, failed).",
);
/// Lines not written.
pub const LOG_SUPPRESSED: Spec = counter(
    "tollgate_log_lines_suppressed_total",
    "tollgate.log.lines.suppressed",
    "{line}",
    &[],
    "Lines that the log left out, since the same line came too often.",
);

/// The build.
pub const BUILD_INFO: Spec = gauge(
    "tollgate_build_info",
    "tollgate.build.info",
    "1",
    &["version", "rustc"],
    "Always 1; which build this is, and what compiled it.",
);
/// Processor time.
pub const PROCESS_CPU: Spec = counter(
    "process_cpu_seconds_total",
    "process.cpu.time",
    "s",
    &[],
    "Processor time of the process, user and system.",
);
/// Memory.
pub const PROCESS_MEMORY: Spec = gauge(
    "process_resident_memory_bytes",
    "process.memory.usage",
    "By",
    &[],
    "Resident memory of the process.",
);
/// Open files.
pub const PROCESS_FDS: Spec = gauge(
    "process_open_fds",
    "process.unix.file_descriptor.count",
    "{file_descriptor}",
    &[],
    "Open file descriptors.",
);
/// Open files at most.
pub const PROCESS_FDS_MAX: Spec = gauge(
    "process_max_fds",
    "process.unix.file_descriptor.limit",
    "{file_descriptor}",
    &[],
    "The most file descriptors that the process may open.",
);
/// The start.
pub const PROCESS_START: Spec = gauge(
    "process_start_time_seconds",
    "process.start_time",
    "s",
    &[],
    "When the process started, in seconds since 1970.",
);
