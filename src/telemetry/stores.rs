//! The metrics of the two stores: how long each operation takes, which fail, and whether the
//! store answers.

use std::{collections::BTreeSet, sync::OnceLock, time::Duration};

use prometheus::{
    Histogram, IntGauge, Registry,
    proto::{Metric, MetricFamily},
};

use super::{
    instruments::{Counters, Gauges, histogram_each},
    labels::{Ended, HotOperation, LedgerOperation},
    names,
};
/// What is known of a step that failed, as the hot store says it.
const CERTAINTIES: [&str; 2] = ["did_not_happen", "may_have_happened"];
/// The label that says which operation of a store it was.
const OPERATION: &str = "operation";

/// Whether a store answers: nothing until it was asked for the first time, since a process need
/// not have both.
#[derive(Debug)]
struct Up {
    store: &'static str,
    gauges: Gauges<1>,
    gauge: OnceLock<IntGauge>,
}

/// How much a redo log has on its hands.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedoLevels {
    /// Entries and reservations that the ledger behind has not.
    pub records: usize,
    /// What they take on disk.
    pub bytes: usize,
    /// Commits that were written to it since the start.
    pub commits: usize,
    /// How long the oldest of its records has waited, in milliseconds.
    pub age_ms: i64,
}

/// What the hot store does.
#[derive(Debug)]
pub(super) struct HotMetrics {
    times: Vec<Histogram>,
    faults: Counters<2>,
    up: Up,
}

/// What the ledger does.
#[derive(Debug)]
pub(super) struct LedgerMetrics {
    times: Vec<Histogram>,
    faults: Counters<1>,
    up: Up,
}

/// Both, which share the gauge that says whether they answer.
pub(super) fn stores(
    registry: &Registry,
) -> Result<(HotMetrics, LedgerMetrics), prometheus::Error> {
    let gauges = Gauges::<1>::new(registry, &names::STORE_UP)?;
    let up = |store| Up {
        store,
        gauges: gauges.clone(),
        gauge: OnceLock::new(),
    };
    let operations = HotOperation::ALL.iter().map(|operation| operation.name());
    let hot = HotMetrics {
        times: histogram_each(registry, &names::HOT_OPERATIONS, operations.clone())?,
        faults: Counters::new(registry, &names::HOT_FAULTS)?,
        up: up("hot"),
    };
    for operation in operations {
        for certainty in CERTAINTIES {
            hot.faults.handle([operation, certainty])?;
        }
    }
    let operations = LedgerOperation::ALL
        .iter()
        .map(|operation| operation.name());
    let ledger = LedgerMetrics {
        times: histogram_each(registry, &names::LEDGER_OPERATIONS, operations.clone())?,
        faults: Counters::new(registry, &names::LEDGER_FAULTS)?,
        up: up("ledger"),
    };
    for operation in operations {
        ledger.faults.handle([operation])?;
    }
    Ok((hot, ledger))
}

/// Leaves out the operations that the stores were never asked for. The others have their faults too,
/// so that the first one of a process counts in a rate: what begins above zero does not.
pub(super) fn retain_asked(families: &mut [MetricFamily]) {
    for (times, faults) in [
        (names::HOT_OPERATIONS, names::HOT_FAULTS),
        (names::LEDGER_OPERATIONS, names::LEDGER_FAULTS),
    ] {
        let mut asked = BTreeSet::new();
        for family in families.iter_mut().filter(|of| of.name() == times.name) {
            let metrics = family.mut_metric();
            metrics.retain(|metric| metric.get_histogram().get_sample_count() > 0);
            asked.extend(metrics.iter().map(operation));
        }
        for family in families.iter_mut().filter(|of| of.name() == faults.name) {
            let metrics = family.mut_metric();
            metrics.retain(|metric| asked.contains(&operation(metric)));
        }
    }
}

fn operation(metric: &Metric) -> Option<String> {
    let labels = metric.get_label().iter();
    let mut named = labels.filter(|label| label.name() == OPERATION);
    named.next().map(|label| label.value().to_owned())
}

impl HotMetrics {
    pub(super) fn step(&self, operation: HotOperation, took: Duration, ended: Ended) {
        if let Some(times) = self.times.get(operation as usize) {
            times.observe(took.as_secs_f64());
        }
        if let Ended::Failed(certainty) = ended {
            self.faults.add([operation.name(), certainty], 1);
        }
        self.up.note(ended);
    }
}

impl LedgerMetrics {
    pub(super) fn operation(&self, operation: LedgerOperation, took: Duration, ended: Ended) {
        if let Some(times) = self.times.get(operation as usize) {
            times.observe(took.as_secs_f64());
        }
        if let Ended::Failed(_) = ended {
            self.faults.add([operation.name()], 1);
        }
        self.up.note(ended);
    }
}

impl Up {
    /// Written only where it changes: every thread would wait for the others' writes.
    fn note(&self, ended: Ended) {
        let value = match ended {
            Ended::Well => 1,
            Ended::Failed(_) => 0,
            // It says nothing about the store.
            Ended::GivenUp => return,
        };
        if let Some(gauge) = self.gauge()
            && gauge.get() != value
        {
            gauge.set(value);
        }
    }

    fn gauge(&self) -> Option<&IntGauge> {
        if self.gauge.get().is_none() {
            let gauge = self.gauges.handle([self.store]).ok()?;
            return Some(self.gauge.get_or_init(|| gauge));
        }
        self.gauge.get()
    }
}
