//! The metrics as OTLP has them: the same instruments, cumulative since the start.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, Sum, exemplar, metric::Data, number_data_point,
    },
};
use prometheus::proto;

use super::client::{attribute, text};
use crate::telemetry::{
    Metrics,
    names::{self, Kind, Spec},
    trace,
};

/// From when to when, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    now: u64,
}

/// Everything.
pub(super) fn of(metrics: &Metrics, start_ns: u64, now_ns: u64) -> Vec<Metric> {
    let span = Span {
        start: start_ns,
        now: now_ns,
    };
    let families = metrics.gather();
    let named = families.iter().filter_map(|family| {
        let spec = names::ALL.iter().find(|spec| spec.name == family.name());
        Some((spec?, family))
    });
    named
        .map(|(spec, family)| metric(metrics, spec, family, span))
        .collect()
}

fn metric(metrics: &Metrics, spec: &Spec, family: &proto::MetricFamily, span: Span) -> Metric {
    let data_points = |value: fn(&proto::Metric) -> f64| -> Vec<NumberDataPoint> {
        let points = family.get_metric().iter();
        points.map(|one| number(one, value(one), span)).collect()
    };
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let data = match spec.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: data_points(|one| one.get_counter().get_value()),
            aggregation_temporality,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: data_points(|one| one.get_gauge().get_value()),
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: family
                .get_metric()
                .iter()
                .map(|one| {
                    let exemplars = match *spec == names::CALLS {
                        true => metrics.exemplars_of(one),
                        false => Vec::new(),
                    };
                    histogram(one, exemplars, span)
                })
                .collect(),
            aggregation_temporality,
        }),
    };
    Metric {
        name: spec.otlp.to_owned(),
        description: spec.help.to_owned(),
        unit: spec.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn number(metric: &proto::Metric, value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// Prometheus counts what is at most each bound, OTLP what is between two.
fn histogram(
    metric: &proto::Metric,
    exemplars: Vec<Option<trace::Exemplar>>,
    span: Span,
) -> HistogramDataPoint {
    let times = metric.get_histogram();
    let up_to: Vec<u64> = times
        .get_bucket()
        .iter()
        .map(|bucket| bucket.cumulative_count())
        .chain([times.get_sample_count()])
        .collect();
    let below = [0].into_iter().chain(up_to.iter().copied());
    let between = up_to.iter().zip(below);
    HistogramDataPoint {
        attributes: attributes(metric),
        start_time_unix_nano: span.start,
        time_unix_nano: span.now,
        count: times.get_sample_count(),
        sum: Some(times.get_sample_sum()),
        bucket_counts: between.map(|(to, from)| to.saturating_sub(from)).collect(),
        explicit_bounds: times
            .get_bucket()
            .iter()
            .map(|bucket| bucket.upper_bound())
            .collect(),
        exemplars: exemplars.into_iter().flatten().map(exemplar).collect(),
        ..HistogramDataPoint::default()
    }
}

fn exemplar(exemplar: trace::Exemplar) -> Exemplar {
    Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: exemplar.at_ns,
        span_id: exemplar.span_id.to_bytes(),
        trace_id: exemplar.trace_id.to_bytes(),
        value: Some(exemplar::Value::AsDouble(exemplar.seconds)),
    }
}

fn attributes(metric: &proto::Metric) -> Vec<KeyValue> {
    let pairs = metric.get_label().iter();
    pairs
        .map(|pair| attribute(conventional(pair.name()), text(pair.value())))
        .collect()
}

/// A label as OpenTelemetry's conventions call it, where they do.
fn conventional(label: &str) -> &str {
    match label {
        "rpc_method" => "rpc.method",
        "rpc_response_status_code" => "rpc.response.status_code",
        "rpc_system_name" => "rpc.system.name",
        ours => ours,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_histogram_is_counted_between_its_bounds() {
        let metrics = Metrics::new().unwrap();
        for micros in [40, 40, 70, 40_000_000] {
            let took = Duration::from_micros(micros);
            metrics.call("tollgate.v1.QuotaService/Reserve", "OK", took, None);
        }
        let pushed = of(&metrics, 1, 2);
        let found = pushed
            .iter()
            .find(|metric| metric.name == "rpc.server.call.duration");
        let Some(Data::Histogram(histogram)) = found.unwrap().data.clone() else {
            panic!("no histogram");
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        assert_eq!(point.count, 4);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts[..3], [2, 1, 0]);
        assert_eq!(point.bucket_counts.last(), Some(&1));
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), 4);
    }

    #[test]
    fn every_metric_that_is_shown_is_pushed() {
        let metrics = Metrics::new().unwrap();
        let shown = metrics.gather();
        let pushed = of(&metrics, 1, 2);
        assert_eq!(shown.len(), pushed.len());
    }
}
