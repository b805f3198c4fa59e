//! What Tollgate says about itself: metrics, traces and the log, each named in one place.
//!
//! The environment is not consulted, the configuration is. No account id and no conversation id
//! ever becomes a label; every label takes few values, all known from the code or the catalogue.
//!
//! # Metrics
//!
//! [`names`] is the table. Labels take these values and no others:
//!
//! | label | values |
//! |---|---|
//! | `rpc_method` | a method that is served, fully qualified (`tollgate.v1.QuotaService/Reserve`), or `_OTHER` |
//! | `rpc_response_status_code` | a gRPC code: `OK`, `INVALID_ARGUMENT`, `UNAVAILABLE`, … |
//! | `rpc_system_name` | `grpc` |
//! | `rpc` | a method's short name: `Reserve`, `Commit`, `Release`, `Extend`, `Charge`, an admin's |
//! | `mode`, `tier` | of the catalogue, or `none` |
//! | `result` (decisions) | `granted`, `reduced`, `denied` |
//! | `reason` (decisions) | `none`, `insufficient_credits`, `balance_exhausted`, `debt_outstanding`, `account_suspended`, `account_closed` |
//! | `reason` (refused calls) | `too_many_calls` |
//! | `reason` (refused connections) | `handshake_timeout`, `handshake_failed`, `unix_peer` |
//! | `audited` | `yes`, `no` |
//! | `file` | `tls`, `access` |
//! | `reason` (dropped spans) | `queue_full`, `export_failed`, `rejected` |
//! | `kind` | `held`, `settled`, `returned`, `refunded`, `written_off`, `debt` |
//! | `listener` | `tcp`, `unix` |
//! | `operation` | a method of [`HotStore`](crate::hot::HotStore) or [`Ledger`](crate::ledger::Ledger): `reserve`, `commit`, `settle`, … |
//! | `certainty` | `did_not_happen`, `may_have_happened` |
//! | `store` | `hot`, `ledger` |
//! | `check` | a line of `/readyz`: `stores`, `serving`, `settling`, `catalog`, `ledger` |
//! | `worker` | `applier`, `bell`, `catalog_probe`, `follower`, `ledger_probe`, `loader`, `partitioner`, `probe`, `publisher`, `reconciler`, `refresher`, `reloader`, `renewer`, `settler`, `settling_probe`, `sharer`, `subscriber`, `substitute`, `sweeper`, `tally` |
//! | `log` (buffered commits) | `redo` |
//! | `answer` (degraded answers) | `unavailable` |
//! | `version`, `rustc` | this build's |
//! | `result` (reloads) | `loaded`, `refused` |
//! | `signal`, `result` (exports) | `traces`, `metrics`; `ok`, `failed` |
//!
//! Histograms have these upper bounds, in seconds: 0.00005, 0.0001, 0.0002, 0.0003, 0.0005,
//! 0.00075, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10. (OpenMetrics writes
//! the last two as `1.0` and `10.0`: take another for an objective.)
//!
//! # Traces
//!
//! One span for each sampled call, of kind SERVER, named like its method; its parent is the
//! caller's `traceparent`. The caller's sampling flag decides; a call without one is sampled by
//! `telemetry.trace_ratio`. Attributes: `rpc.system.name`, `rpc.method`,
//! `rpc.response.status_code`, `error.type`, `gen_ai.request.model`, `gen_ai.conversation.id`,
//! `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`,
//! `gen_ai.usage.cache_read.input_tokens` (each token once: of a Charge, and of the Commit that
//! ends its reservation), `tollgate.estimate.input_tokens`, `tollgate.estimate.output_tokens` (of
//! a Reserve), `tollgate.mode`, `tollgate.tier`, `tollgate.result`,
//! `tollgate.reason`, `tollgate.credits.held`, `tollgate.credits.charged`, `tollgate.replayed`,
//! `tollgate.request_id`, and, where `log.account_ids` is on, `tollgate.account_id`. Children:
//! `hot.OPERATION` and `ledger.OPERATION` for what the stores did, `ledger.wait` for a settlement
//! that waits for the ledger.
//!
//! # Log
//!
//! Lines on standard error. As JSON: `timestamp`, `level`, `target`, `message`, the line's own
//! fields, and within a call `request_id` and `trace_id`. A line that comes too often is left out;
//! the next one has `suppressed`, how many were. A call above `log.slow_call_ms` leaves the line
//! `slow call` with `method`, `status`, `took_ms` and what the time went to: `queue_ms` (until a
//! thread took it), `hot_ms`, `hot_steps`, `ledger_ms` (reading it), `ledger_wait_ms` (a
//! settlement's), `own_ms` (parsing, pricing, answering). A refused bad request leaves the line
//! `refused a bad request` with `method`, `status`, `reason` and `fields`.

mod exposition;
mod instruments;
mod labels;
mod log;
mod metrics;
pub mod names;
mod observer;
mod otlp;
pub mod present;
mod process;
pub mod procfs;
mod security;
mod series;
mod stores;
mod trace;

pub use self::{
    exposition::Format,
    labels::{CreditsKind, Decision, Ended, HotOperation, LedgerOperation, Reload, Verdict},
    log::{LogError, init_log},
    metrics::{Connected, Metrics},
    observer::{CallEnd, Observer, REQUEST_ID},
    otlp::{ExportError, Exporter},
    stores::RedoLevels,
    trace::{Exemplar, SpanId, Trace, TraceId, Tracer, Value},
};
