//! Metrics of calls and what was decided in them.

use super::{Spec, counter, gauge, seconds};

/// Named by OpenTelemetry's conventions for RPC, so that dashboards made for them work.
pub const CALLS: Spec = seconds(
    "rpc_server_call_duration_seconds",
    "rpc.server.call.duration",
    &["rpc_method", "rpc_response_status_code", "rpc_system_name"],
    "Time from a call's headers to its answer; sampled calls leave their trace as an exemplar.",
);
/// Calls in progress.
pub const CALLS_IN_FLIGHT: Spec = gauge(
    "tollgate_calls_in_flight",
    "tollgate.calls.in_flight",
    "{call}",
    &[],
    "Calls to the two services that are in progress.",
);
/// Calls refused before a handler saw them.
pub const CALLS_REFUSED: Spec = counter(
    "tollgate_calls_refused_total",
    "tollgate.calls.refused",
    "{call}",
    &["reason"],
    "Calls refused before they were looked at: too_many_calls is overload.",
);
/// Calls for which a store failed.
pub const DEGRADED: Spec = counter(
    "tollgate_degraded_answers_total",
    "tollgate.degraded_answers",
    "{call}",
    &["rpc", "answer"],
    "Calls answered by the failure policy, since a store failed or did not answer in time; the only \
     policy is closed, which answers unavailable.",
);
/// Open connections.
pub const CONNECTIONS: Spec = gauge(
    "tollgate_connections",
    "tollgate.connections",
    "{connection}",
    &["listener"],
    "Open gRPC connections, by where they came in: tcp or unix.",
);
/// Connections ever.
pub const CONNECTIONS_ACCEPTED: Spec = counter(
    "tollgate_connections_accepted_total",
    "tollgate.connections.accepted",
    "{connection}",
    &["listener"],
    "gRPC connections that were accepted.",
);
/// Connections that could not be had.
pub const ACCEPT_ERRORS: Spec = counter(
    "tollgate_accept_errors_total",
    "tollgate.accept_errors",
    "{error}",
    &["listener"],
    "Connections that could not be accepted, e.g. for want of file descriptors.",
);

/// What was decided.
pub const DECISIONS: Spec = counter(
    "tollgate_decisions_total",
    "tollgate.decisions",
    "{decision}",
    &["rpc", "mode", "result", "tier", "reason"],
    "Decisions about credits of Reserve, Extend, Charge and Commit's next hold: granted, reduced or \
     denied, and why; replays are counted apart.",
);
/// What moved.
pub const CREDITS: Spec = counter(
    "tollgate_credits_total",
    "tollgate.credits",
    "{credit}",
    &["kind"],
    "Credits that moved: held, settled, returned, refunded, written_off, or debt (owed anew).",
);
/// Repetitions.
pub const REPLAYS: Spec = counter(
    "tollgate_replays_total",
    "tollgate.replays",
    "{request}",
    &["rpc"],
    "Repeated requests that got the stored answer.",
);
/// Ids used twice.
pub const ID_CONFLICTS: Spec = counter(
    "tollgate_id_conflicts_total",
    "tollgate.id_conflicts",
    "{request}",
    &["rpc"],
    "Requests whose id was taken by another payload.",
);
/// Commits after the deadline.
pub const LATE_COMMITS: Spec = counter(
    "tollgate_late_commits_total",
    "tollgate.late_commits",
    "{commit}",
    &[],
    "Commits to reservations that had expired or are not known; charged all the same.",
);
/// Holds that nobody came for.
pub const EXPIRED: Spec = counter(
    "tollgate_reservations_expired_total",
    "tollgate.reservations.expired",
    "{reservation}",
    &[],
    "Holds that the sweeper returned, since they passed their deadline.",
);
/// Holds now.
pub const OPEN_HOLDS: Spec = gauge(
    "tollgate_open_holds",
    "tollgate.open_holds",
    "{reservation}",
    &[],
    "Reservations that are open; processes that share a Redis all see the same ones.",
);
/// Whether a hold is stuck.
pub const OLDEST_HOLD: Spec = gauge(
    "tollgate_oldest_hold_age_seconds",
    "tollgate.oldest_hold_age",
    "s",
    &[],
    "How long the oldest open hold that the reconciler has met stands, from its Reserve or from what \
     prolonged it last; 0 where it knows of none.",
);
/// How late expiry is.
pub const EXPIRY_LAG: Spec = gauge(
    "tollgate_expiry_lag_seconds",
    "tollgate.expiry_lag",
    "s",
    &[],
    "How long the oldest hold past its deadline has waited to be returned; 0 where none waits.",
);
