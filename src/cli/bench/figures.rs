//! What was measured, as figures, and as ratios to the limit's. Nothing is measured here.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{load::Measured, pace::Pace, plan::Operation, record::Record};
use crate::cli::output::Failure;

/// One run's figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) seconds: f64,
    /// All operations as one.
    pub(super) all: OperationFigures,
    /// Those that were called.
    pub(super) operations: Vec<OperationFigures>,
    /// Calls of an open loop that were due and never begun: the server was too slow for the rate.
    pub(super) unsent: u64,
    /// How late the load generator itself was.
    pub(super) lag: Latency,
    /// Processor time for each second of time.
    pub(super) server_cores: Option<f64>,
    pub(super) client_cores: Option<f64>,
    /// Processor time for each answer.
    pub(super) server_us_per_call: Option<f64>,
    pub(super) client_us_per_call: Option<f64>,
    /// Of the Redis behind the server, or under the scripts.
    pub(super) store_us_per_call: Option<f64>,
    /// The first error, in words.
    pub(super) first_error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct OperationFigures {
    pub(super) operation: &'static str,
    /// Answers, denials apart.
    pub(super) per_second: f64,
    /// Denials.
    pub(super) denials_per_second: f64,
    /// Of all answers.
    pub(super) latency: Latency,
    pub(super) answers: u64,
    pub(super) denials: u64,
    pub(super) errors: BTreeMap<String, u64>,
}

/// In microseconds, from the intended start.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p99_9_us: f64,
    pub(super) max_us: f64,
}

/// Tollgate's figure over the limit's: throughput is better the higher, latency the lower.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) operation: &'static str,
    /// Of what is answered in a second; absent in an open loop, where that is the rate that was set.
    pub(super) throughput: Option<f64>,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    /// Of the processor time for each answer; for all operations only.
    pub(super) server_us_per_call: Option<f64>,
}

impl Figures {
    /// The figures of a run.
    pub(super) fn new(measured: &Measured) -> Result<Self, Failure> {
        let seconds = measured.window.as_secs_f64();
        let record = measured.records.all()?;
        let all = OperationFigures::new("all", &record, seconds);
        let called = Operation::ALL.into_iter().filter_map(|operation| {
            let record = measured.records.of(operation)?;
            let figures = OperationFigures::new(operation.name(), record, seconds);
            (figures.answers > 0 || !figures.errors.is_empty()).then_some(figures)
        });
        let cores = |cpu: Option<Duration>| quotient(cpu?.as_secs_f64(), seconds);
        // A denial takes its time too.
        let answered = float(record.answered);
        let us_per_call = |cpu: Option<Duration>| quotient(cpu?.as_secs_f64() * 1e6, answered);
        Ok(Figures {
            seconds,
            operations: called.collect(),
            unsent: measured.unsent,
            lag: Latency::new(&measured.records.lag),
            server_cores: cores(measured.server_cpu),
            client_cores: cores(measured.client_cpu),
            server_us_per_call: us_per_call(measured.server_cpu),
            client_us_per_call: us_per_call(measured.client_cpu),
            store_us_per_call: us_per_call(measured.store_cpu),
            first_error: measured.records.first_error.clone(),
            all,
        })
    }
}

impl OperationFigures {
    fn new(operation: &'static str, record: &Record, seconds: f64) -> Self {
        let a_second = |number| quotient(float(number), seconds).unwrap_or(0.0);
        OperationFigures {
            operation,
            per_second: a_second(record.answered.saturating_sub(record.denied_in_time)),
            denials_per_second: a_second(record.denied_in_time),
            latency: Latency::new(&record.latency),
            answers: record.latency.len(),
            denials: record.denied,
            errors: record.errors().collect(),
        }
    }
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| float(histogram.value_at_quantile(quantile)) / 1_000.0;
        Latency {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: float(histogram.max()) / 1_000.0,
        }
    }
}

/// Each of Tollgate's operations over the limit's, all as one last.
pub(super) fn ratios(limit: &Figures, tollgate: &Figures, pace: Pace) -> Vec<Ratio> {
    let ratio = |of: &OperationFigures, to: &OperationFigures| Ratio {
        operation: of.operation,
        throughput: match pace {
            Pace::Closed { .. } => quotient(of.per_second, to.per_second),
            Pace::Open { .. } => None,
        },
        p50: quotient(of.latency.p50_us, to.latency.p50_us),
        p99: quotient(of.latency.p99_us, to.latency.p99_us),
        server_us_per_call: None,
    };
    let pairs = tollgate.operations.iter().filter_map(|of| {
        let to = limit
            .operations
            .iter()
            .find(|to| to.operation == of.operation)?;
        Some(ratio(of, to))
    });
    let cpu = tollgate.server_us_per_call.zip(limit.server_us_per_call);
    let all = Ratio {
        server_us_per_call: cpu.and_then(|(of, to)| quotient(of, to)),
        ..ratio(&tollgate.all, &limit.all)
    };
    pairs.chain([all]).collect()
}

fn quotient(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "figures are shown to a few digits"
)]
fn float(number: u64) -> f64 {
    number as f64
}
