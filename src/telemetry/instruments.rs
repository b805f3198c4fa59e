//! The instruments that [`super::Metrics`] is made of, each registered by its line in
//! [`super::names`].

use std::{collections::HashMap, fmt};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
    core::{Collector, Desc},
    proto,
};

use super::names::{Kind, Spec};

/// The upper bounds of latencies, in seconds: a decision in memory takes tens of microseconds, a call
/// ends after two seconds by default, a statement of Postgres after fifteen.
pub(super) const LATENCY_BUCKETS: [f64; 21] = [
    50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6, 1e-3, 2e-3, 3e-3, 5e-3, 10e-3, 25e-3, 50e-3,
    100e-3, 250e-3, 500e-3, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// A counter for each set of label values. That there are as many values as names is checked by
/// the compiler.
#[derive(Debug)]
pub(super) struct Counters<const LABELS: usize>(IntCounterVec);

impl<const LABELS: usize> Counters<LABELS> {
    pub(super) fn new(registry: &Registry, spec: &Spec) -> Result<Self, prometheus::Error> {
        let counters = IntCounterVec::new(opts(spec), spec.labels)?;
        Ok(Counters(register(registry, counters)?))
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

/// A gauge for each set of label values.
#[derive(Clone, Debug)]
pub(super) struct Gauges<const LABELS: usize>(IntGaugeVec);

impl<const LABELS: usize> Gauges<LABELS> {
    pub(super) fn new(registry: &Registry, spec: &Spec) -> Result<Self, prometheus::Error> {
        let gauges = IntGaugeVec::new(opts(spec), spec.labels)?;
        Ok(Gauges(register(registry, gauges)?))
    }

    /// One gauge, for repeated use.
    pub(super) fn handle(&self, values: [&str; LABELS]) -> Result<IntGauge, prometheus::Error> {
        self.0.get_metric_with_label_values(&values)
    }

    pub(super) fn set(&self, values: [&str; LABELS], to: i64) {
        if let Ok(gauge) = self.handle(values) {
            gauge.set(to);
        }
    }

    /// Forgets every set of label values.
    pub(super) fn reset(&self) {
        self.0.reset();
    }
}

/// A value that is asked for when the metrics are looked at.
pub(super) struct Pulled<F> {
    spec: Spec,
    desc: Desc,
    labels: Vec<proto::LabelPair>,
    value: F,
}

impl<F: Fn() -> f64 + Send + Sync + 'static> Pulled<F> {
    pub(super) fn register(
        registry: &Registry,
        spec: &Spec,
        value: F,
    ) -> Result<(), prometheus::Error> {
        Pulled::register_of(registry, spec, [], value)
    }

    /// The same for one set of label values.
    pub(super) fn register_of<const LABELS: usize>(
        registry: &Registry,
        spec: &Spec,
        values: [&'static str; LABELS],
        value: F,
    ) -> Result<(), prometheus::Error> {
        let (name, help) = (spec.name.to_owned(), spec.help.to_owned());
        let labels = spec.labels.iter().zip(values);
        let pairs = labels.clone().map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let owned = labels
            .clone()
            .map(|(name, value)| ((*name).to_owned(), value.to_owned()));
        registry.register(Box::new(Pulled {
            spec: *spec,
            desc: Desc::new(name, help, Vec::new(), owned.collect::<HashMap<_, _>>())?,
            labels: pairs.collect(),
            value,
        }))
    }
}

impl<F: Fn() -> f64 + Send + Sync> Collector for Pulled<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let value = (self.value)();
        let mut metric = proto::Metric::default();
        metric.set_label(self.labels.clone());
        let mut family = proto::MetricFamily::default();
        if self.spec.kind == Kind::Counter {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
            family.set_field_type(proto::MetricType::COUNTER);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
            family.set_field_type(proto::MetricType::GAUGE);
        }
        family.set_name(self.spec.name.to_owned());
        family.set_help(self.spec.help.to_owned());
        family.set_metric(vec![metric]);
        vec![family]
    }
}

impl<F> fmt::Debug for Pulled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec.name)
    }
}

fn opts(spec: &Spec) -> Opts {
    Opts::new(spec.name, spec.help)
}

fn register<T: Collector + Clone + 'static>(
    registry: &Registry,
    metric: T,
) -> Result<T, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

pub(super) fn counter(registry: &Registry, spec: &Spec) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::with_opts(opts(spec))?)
}

pub(super) fn gauge(registry: &Registry, spec: &Spec) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::with_opts(opts(spec))?)
}

pub(super) fn histograms(
    registry: &Registry,
    spec: &Spec,
) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(spec.name, spec.help).buckets(LATENCY_BUCKETS.to_vec());
    register(registry, HistogramVec::new(opts, spec.labels)?)
}

/// A histogram for each of a few known values of the one label.
pub(super) fn histogram_each(
    registry: &Registry,
    spec: &Spec,
    values: impl IntoIterator<Item = &'static str>,
) -> Result<Vec<Histogram>, prometheus::Error> {
    let all = histograms(registry, spec)?;
    let one = |value| all.get_metric_with_label_values(&[value]);
    values.into_iter().map(one).collect()
}
