//! The metrics as text: what Prometheus scrapes. Its own format, and OpenMetrics, which has room
//! for the traces of sampled calls (exemplars).

use std::fmt::Write;

use prometheus::{
    TextEncoder,
    proto::{Metric, MetricFamily, MetricType},
};

use super::{Metrics, names, trace::Exemplar};

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a scraper asks for with its `Accept` header: OpenMetrics where it names it, in the
    /// version that there is.
    pub fn accepted(header: &str) -> Format {
        let wants = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_known = |part: &str| match part.split_once('=') {
                Some(("version", version)) => version == "1.0.0",
                Some(("q", weight)) => weight.parse().is_ok_and(|weight: f32| weight > 0.0),
                Some(_) | None => true,
            };
            parts.next() == Some("application/openmetrics-text") && parts.all(is_known)
        };
        if header.split(',').map(str::trim).any(wants) {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    /// The media type of the text.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// Everything, in Prometheus's own format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        self.render_as(Format::Prometheus)
    }

    /// Everything, as text.
    pub fn render_as(&self, format: Format) -> Result<String, prometheus::Error> {
        let families = self.gather();
        match format {
            Format::Prometheus => TextEncoder::new().encode_to_string(&families),
            Format::OpenMetrics => {
                let mut text = String::new();
                for family in &families {
                    self.family(&mut text, family);
                }
                text.push_str("# EOF\n");
                Ok(text)
            }
        }
    }

    fn family(&self, text: &mut String, family: &MetricFamily) {
        let is_counter = family.get_field_type() == MetricType::COUNTER;
        // The family of a counter is named without what its samples end with.
        let name = match is_counter {
            true => family.name().trim_end_matches("_total"),
            false => family.name(),
        };
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => "gauge",
        };
        line(
            text,
            format_args!("# HELP {name} {}", escaped(family.help())),
        );
        line(text, format_args!("# TYPE {name} {kind}"));
        for metric in family.get_metric() {
            let labels = labels(metric);
            match family.get_field_type() {
                MetricType::COUNTER => {
                    let value = float(metric.get_counter().get_value());
                    line(
                        text,
                        format_args!("{name}_total{} {value}", braced(&labels)),
                    );
                }
                MetricType::HISTOGRAM => self.histogram(text, name, metric, &labels),
                MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                    let value = float(metric.get_gauge().get_value());
                    line(text, format_args!("{name}{} {value}", braced(&labels)));
                }
            }
        }
    }

    fn histogram(&self, text: &mut String, name: &str, metric: &Metric, labels: &str) {
        let exemplars = match name == names::CALLS.name {
            true => self.exemplars_of(metric),
            false => Vec::new(),
        };
        let exemplar = |bucket: usize| exemplars.get(bucket).copied().flatten().map(written);
        let comma = if labels.is_empty() { "" } else { "," };
        let times = metric.get_histogram();
        let bounded = times
            .get_bucket()
            .iter()
            .map(|bucket| (float(bucket.upper_bound()), bucket.cumulative_count()));
        let all = ("+Inf".to_owned(), times.get_sample_count());
        for (index, (bound, count)) in bounded.chain([all]).enumerate() {
            let exemplar = exemplar(index).unwrap_or_default();
            line(
                text,
                format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}{exemplar}"),
            );
        }
        let (sum, count) = (float(times.get_sample_sum()), times.get_sample_count());
        line(text, format_args!("{name}_sum{} {sum}", braced(labels)));
        line(text, format_args!("{name}_count{} {count}", braced(labels)));
    }

    /// The exemplars of a metric of [`names::CALLS`].
    pub(super) fn exemplars_of(&self, metric: &Metric) -> Vec<Option<Exemplar>> {
        let value = |name: &str| {
            let mut pairs = metric.get_label().iter();
            pairs
                .find(|pair| pair.name() == name)
                .map(|pair| pair.value())
        };
        match (value("rpc_method"), value("rpc_response_status_code")) {
            (Some(method), Some(status)) => self.exemplars(method, status),
            (None, _) | (_, None) => Vec::new(),
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{line}");
}

fn labels(metric: &Metric) -> String {
    let pairs: Vec<String> = metric
        .get_label()
        .iter()
        .map(|pair| format!("{}=\"{}\"", pair.name(), escaped(pair.value())))
        .collect();
    pairs.join(",")
}

fn braced(labels: &str) -> String {
    match labels.is_empty() {
        true => String::new(),
        false => format!("{{{labels}}}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

/// A number in OpenMetrics' canonical form: whole ones with `.0`.
fn float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match value.fract() == 0.0 {
        true => format!("{value:.1}"),
        false => value.to_string(),
    }
}

fn written(exemplar: Exemplar) -> String {
    let (trace_id, span_id) = (exemplar.trace_id, exemplar.span_id);
    let at_s = exemplar.at_ns as f64 / 1e9;
    format!(
        " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {} {at_s:.3}",
        float(exemplar.seconds)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_sent_to_whoever_asks_for_it() {
        for (header, expected) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "text/plain, application/openmetrics-text; q=0.5",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0,text/plain",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text;version=2.0.0",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                 version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::accepted(header), expected, "{header}");
        }
    }

    #[test]
    fn numbers_are_canonical() {
        for (value, text) in [
            (0.0, "0.0"),
            (10.0, "10.0"),
            (0.00005, "0.00005"),
            (1.5, "1.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}
