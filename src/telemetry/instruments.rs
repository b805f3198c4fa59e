//! The instruments that [`super::Metrics`] is made of, registered by name with their help.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

use super::labels::CreditsKind;

/// The upper bounds of latencies, in seconds: a decision in memory takes tens of microseconds,
/// the longest deadline is a minute.
const LATENCY_BUCKETS: [f64; 17] = [
    50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6, 1e-3, 2e-3, 3e-3, 5e-3, 10e-3, 25e-3, 50e-3,
    100e-3, 250e-3, 1.0, 10.0,
];

/// How many pairs of method and status are kept at hand.
const SEEN_MAX: usize = 64;

/// A counter for each set of label values. That there are as many values as names is checked by
/// the compiler.
#[derive(Debug)]
pub(super) struct Counters<const LABELS: usize>(IntCounterVec);

impl<const LABELS: usize> Counters<LABELS> {
    pub(super) fn new(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
    ) -> Result<Self, prometheus::Error> {
        Ok(Counters(register(
            registry,
            IntCounterVec::new(Opts::new(name, help), &labels)?,
        )?))
    }

    /// One counter, for repeated use.
    pub(super) fn handle(&self, values: [&str; LABELS]) -> Result<IntCounter, prometheus::Error> {
        self.0.get_metric_with_label_values(&values)
    }

    pub(super) fn add(&self, values: [&str; LABELS], by: u64) {
        if let Ok(counter) = self.handle(values) {
            counter.inc_by(by);
        }
    }
}

/// `tollgate_credits_total`, a counter for each kind.
#[derive(Debug)]
pub(super) struct CreditsCounters {
    held: IntCounter,
    settled: IntCounter,
    returned: IntCounter,
    refunded: IntCounter,
    written_off: IntCounter,
    debt: IntCounter,
}

impl CreditsCounters {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let name = "tollgate_credits_total";
        let credits = Counters::new(
            registry,
            name,
            "Credits that moved, by what moved them.",
            ["kind"],
        )?;
        Ok(CreditsCounters {
            held: credits.handle(["held"])?,
            settled: credits.handle(["settled"])?,
            returned: credits.handle(["returned"])?,
            refunded: credits.handle(["refunded"])?,
            written_off: credits.handle(["written_off"])?,
            debt: credits.handle(["debt"])?,
        })
    }

    pub(super) fn of(&self, kind: CreditsKind) -> &IntCounter {
        match kind {
            CreditsKind::Held => &self.held,
            CreditsKind::Settled => &self.settled,
            CreditsKind::Returned => &self.returned,
            CreditsKind::Refunded => &self.refunded,
            CreditsKind::WrittenOff => &self.written_off,
            CreditsKind::Debt => &self.debt,
        }
    }
}

fn register<T: Collector + Clone + 'static>(
    registry: &Registry,
    metric: T,
) -> Result<T, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

pub(super) fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(name, help)?)
}

pub(super) fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(name, help)?)
}

pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), &[label])?)
}

pub(super) fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
    register(registry, Histogram::with_opts(opts)?)
}

/// The time of calls, by method and status. Both are texts of the program, so that there are few
/// pairs of them; a pair that was seen before is found without hashing it.
#[derive(Debug)]
pub(super) struct Calls {
    vec: HistogramVec,
    seen: ArcSwap<Vec<(&'static str, &'static str, Histogram)>>,
}

impl Calls {
    /// Named by OpenTelemetry's conventions for RPC (`rpc.server.call.duration`), so that
    /// dashboards made for them work.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = HistogramOpts::new("rpc_server_call_duration_seconds", "Time of one call.")
            .const_label("rpc_system_name", "grpc")
            .buckets(LATENCY_BUCKETS.to_vec());
        let labels = ["rpc_method", "rpc_response_status_code"];
        Ok(Calls {
            vec: register(registry, HistogramVec::new(opts, &labels)?)?,
            seen: ArcSwap::default(),
        })
    }

    pub(super) fn observe(&self, method: &'static str, status: &'static str, took: Duration) {
        let seen = self.seen.load();
        let same = |(of, ended, _): &&(&str, &str, _)| {
            std::ptr::eq(*of, method) && std::ptr::eq(*ended, status)
        };
        if let Some((_, _, calls)) = seen.iter().find(same) {
            calls.observe(took.as_secs_f64());
            return;
        }
        let Ok(calls) = self.vec.get_metric_with_label_values(&[method, status]) else {
            return;
        };
        calls.observe(took.as_secs_f64());
        if seen.len() < SEEN_MAX {
            let mut more = Vec::clone(&seen);
            more.push((method, status, calls));
            // Two threads at once may lose one of their pairs, which comes again.
            self.seen.store(Arc::new(more));
        }
    }
}

/// The metrics of the settler.
#[derive(Debug)]
pub(super) struct SettlerMetrics {
    pub(super) batches: IntCounter,
    pub(super) entries: IntCounter,
    pub(super) ledger_write: Histogram,
    pub(super) outbox_entries: IntGauge,
}

impl SettlerMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(SettlerMetrics {
            batches: counter(
                registry,
                "tollgate_settler_batches_total",
                "Transactions that moved entries from the hot store to the ledger.",
            )?,
            entries: counter(
                registry,
                "tollgate_settler_entries_total",
                "Entries moved from the hot store to the ledger.",
            )?,
            ledger_write: histogram(
                registry,
                "tollgate_ledger_write_seconds",
                "Time of one transaction of the settler, its sync to disk included.",
            )?,
            outbox_entries: gauge(
                registry,
                "tollgate_outbox_entries",
                "Settled entries that the ledger does not have yet.",
            )?,
        })
    }
}

/// The metrics of what a Redis server lost.
#[derive(Debug)]
pub(super) struct RecoveryMetrics {
    pub(super) shards: IntCounter,
    pub(super) lost_entries: IntCounter,
    pub(super) dropped_holds: IntCounter,
    pub(super) drifts: IntCounter,
    pub(super) repairs: IntCounter,
}

impl RecoveryMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(RecoveryMetrics {
            shards: counter(
                registry,
                "tollgate_recovered_shards_total",
                "Shards that began anew from the ledger, since their server had lost something.",
            )?,
            lost_entries: counter(
                registry,
                "tollgate_lost_entries_total",
                "Entries of a server that was replaced which never reach the ledger; must stay 0.",
            )?,
            dropped_holds: counter(
                registry,
                "tollgate_dropped_holds_total",
                "Open holds that were dropped since the ledger does not cover them any more.",
            )?,
            drifts: counter(
                registry,
                "tollgate_drift_accounts_total",
                "Times that an account was not as the ledger has it; must stay 0.",
            )?,
            repairs: counter(
                registry,
                "tollgate_repaired_accounts_total",
                "Accounts that differed from the ledger and were put right.",
            )?,
        })
    }
}

/// The metrics of the catalogue.
#[derive(Debug)]
pub(super) struct CatalogMetrics {
    pub(super) loaded: IntCounter,
    pub(super) refused: IntCounter,
    pub(super) info: IntGaugeVec,
}

impl CatalogMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reloads = Counters::new(
            registry,
            "tollgate_catalog_reloads_total",
            "Attempts to read a changed catalogue.",
            ["result"],
        )?;
        let help = "Always 1; the catalogue in force.";
        Ok(CatalogMetrics {
            loaded: reloads.handle(["loaded"])?,
            refused: reloads.handle(["refused"])?,
            info: gauges(registry, "tollgate_catalog_info", help, "version")?,
        })
    }
}
