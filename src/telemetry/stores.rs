//! The metrics of the two stores: how long each operation takes, which fail, and whether the
//! store answers.

use std::time::Duration;

use prometheus::{Histogram, IntGauge, Registry};

use super::{
    instruments::{Counters, Gauges, histogram_each},
    labels::{Ended, HotOperation, LedgerOperation},
    names,
};

/// What the hot store does.
#[derive(Debug)]
pub(super) struct HotMetrics {
    times: Vec<Histogram>,
    faults: Counters<2>,
    up: IntGauge,
}

/// What the ledger does.
#[derive(Debug)]
pub(super) struct LedgerMetrics {
    times: Vec<Histogram>,
    faults: Counters<1>,
    up: IntGauge,
}

/// Both, which share the gauge that says whether they answer.
pub(super) fn stores(
    registry: &Registry,
) -> Result<(HotMetrics, LedgerMetrics), prometheus::Error> {
    let up = Gauges::<1>::new(registry, &names::STORE_UP)?;
    let operations = HotOperation::ALL.iter().map(|operation| operation.name());
    let hot = HotMetrics {
        times: histogram_each(registry, &names::HOT_OPERATIONS, operations)?,
        faults: Counters::new(registry, &names::HOT_FAULTS)?,
        up: up.handle(["hot"])?,
    };
    let operations = LedgerOperation::ALL
        .iter()
        .map(|operation| operation.name());
    let ledger = LedgerMetrics {
        times: histogram_each(registry, &names::LEDGER_OPERATIONS, operations)?,
        faults: Counters::new(registry, &names::LEDGER_FAULTS)?,
        up: up.handle(["ledger"])?,
    };
    Ok((hot, ledger))
}

impl HotMetrics {
    pub(super) fn step(&self, operation: HotOperation, took: Duration, ended: Ended) {
        if let Some(times) = self.times.get(operation as usize) {
            times.observe(took.as_secs_f64());
        }
        if let Ended::Failed(certainty) = ended {
            self.faults.add([operation.name(), certainty], 1);
        }
        set_up(&self.up, ended);
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
        set_up(&self.up, ended);
    }
}

/// Written only where it changes: every thread would wait for the others' writes.
fn set_up(up: &IntGauge, ended: Ended) {
    let value = match ended {
        Ended::Well => 1,
        Ended::Failed(_) => 0,
        // It says nothing about the store.
        Ended::GivenUp => return,
    };
    if up.get() != value {
        up.set(value);
    }
}
