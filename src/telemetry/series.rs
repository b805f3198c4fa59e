//! Metrics of the hot path whose label values are seen again and again: each set that was seen is
//! kept at hand, so that a call hashes no label.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec, IntCounter, Registry};

use super::{
    instruments::{Counters, LATENCY_BUCKETS, histograms},
    labels::{Decision, Verdict},
    names,
    trace::Exemplar,
};

/// How many sets of label values are kept at hand; those beyond are looked up each time.
const SEEN_MAX: usize = 256;

/// What was seen, the oldest first: what comes often came early.
#[derive(Debug)]
struct Seen<T>(ArcSwap<Vec<T>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen(ArcSwap::default())
    }
}

impl<T: Clone> Seen<T> {
    /// Two threads at once may lose one of theirs, which comes again.
    fn add(&self, one: T) {
        let seen = self.0.load();
        if seen.len() < SEEN_MAX {
            let mut more = Vec::clone(&seen);
            more.push(one);
            self.0.store(Arc::new(more));
        }
    }
}

/// The system of every call, by OpenTelemetry's conventions.
pub(super) const RPC_SYSTEM: &str = "grpc";

/// The calls of one method that ended with one status.
#[derive(Debug)]
struct Ended {
    method: &'static str,
    status: &'static str,
    times: Histogram,
    /// The last sampled call of each bucket; the last one is above every bound.
    exemplars: Mutex<[Option<Exemplar>; LATENCY_BUCKETS.len() + 1]>,
}

/// The time of calls, by method and status: both texts of the program, so that a pair that was
/// seen before is known by its addresses.
#[derive(Debug)]
pub(super) struct Calls {
    all: HistogramVec,
    seen: Seen<Arc<Ended>>,
}

impl Calls {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Calls {
            all: histograms(registry, &names::CALLS)?,
            seen: Seen::default(),
        })
    }

    pub(super) fn observe(
        &self,
        method: &'static str,
        status: &'static str,
        took: Duration,
        exemplar: Option<Exemplar>,
    ) {
        let seen = self.seen.0.load();
        let same = |ended: &&Arc<Ended>| {
            std::ptr::eq(ended.method, method) && std::ptr::eq(ended.status, status)
        };
        if let Some(ended) = seen.iter().find(same) {
            return ended.observe(took, exemplar);
        }
        let labels = [method, status, RPC_SYSTEM];
        let Ok(times) = self.all.get_metric_with_label_values(&labels) else {
            return;
        };
        let ended = Arc::new(Ended {
            method,
            status,
            times,
            exemplars: Mutex::default(),
        });
        ended.observe(took, exemplar);
        self.seen.add(ended);
    }

    /// The exemplars of one method and status, one for each bucket.
    pub(super) fn exemplars(&self, method: &str, status: &str) -> Vec<Option<Exemplar>> {
        let seen = self.seen.0.load();
        let mut found = seen
            .iter()
            .filter(|ended| ended.method == method && ended.status == status);
        found
            .next()
            .map(|ended| ended.exemplars.lock().to_vec())
            .unwrap_or_default()
    }
}

impl Ended {
    fn observe(&self, took: Duration, exemplar: Option<Exemplar>) {
        let seconds = took.as_secs_f64();
        self.times.observe(seconds);
        if let Some(exemplar) = exemplar {
            let bucket = LATENCY_BUCKETS.partition_point(|bound| *bound < seconds);
            self.exemplars.lock()[bucket] = Some(exemplar);
        }
    }
}

/// Decisions of one kind.
#[derive(Clone, Debug)]
struct Made {
    rpc: &'static str,
    verdict: Verdict,
    reason: &'static str,
    mode: Arc<str>,
    tier: Arc<str>,
    count: IntCounter,
}

/// The decisions; modes and tiers are the catalogue's texts, and few.
#[derive(Debug)]
pub(super) struct Decisions {
    all: Counters<5>,
    seen: Seen<Made>,
}

impl Decisions {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Decisions {
            all: Counters::new(registry, &names::DECISIONS)?,
            seen: Seen::default(),
        })
    }

    pub(super) fn count(&self, decision: Decision<'_>) {
        let Decision {
            rpc,
            verdict,
            reason,
            mode,
            tier,
        } = decision;
        let seen = self.seen.0.load();
        let same = |made: &&Made| {
            made.verdict == verdict
                && std::ptr::eq(made.rpc, rpc)
                && std::ptr::eq(made.reason, reason)
                && *made.mode == *mode
                && *made.tier == *tier
        };
        if let Some(made) = seen.iter().find(same) {
            return made.count.inc();
        }
        let Ok(count) = self.all.handle([rpc, mode, verdict.name(), tier, reason]) else {
            return;
        };
        count.inc();
        self.seen.add(Made {
            rpc,
            verdict,
            reason,
            mode: mode.into(),
            tier: tier.into(),
            count,
        });
    }
}
