//! `[telemetry]`: where traces and metrics are pushed to.

use std::path::PathBuf;

use super::reader::Reader;

/// The longest that one request to the collector may take, in milliseconds: one minute.
const EXPORT_MS_MAX: u64 = 60_000;
/// The longest pause between two pushes, in milliseconds: one hour.
const PUSH_MS_MAX: u64 = 3_600_000;

/// `[telemetry]`: an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// Its URL; `None`: nothing is pushed.
    pub otlp_endpoint: Option<String>,
    /// The root certificates for `https:`, a PEM file; `None`: the machine's.
    pub otlp_ca: Option<PathBuf>,
    /// A file with a header a line, e.g. a token.
    pub otlp_headers_file: Option<PathBuf>,
    /// What is said of this process, besides its version.
    pub resource_attributes: Vec<(String, String)>,
    /// Of the calls that come without a trace, how many begin one.
    pub trace_ratio: f64,
    /// The pause between two pushes of the metrics, in milliseconds; zero: they are not pushed.
    pub metrics_push_interval_ms: u64,
    /// The longest that one request to the collector may take, in milliseconds.
    pub export_timeout_ms: u64,
}

impl TelemetryConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let accepted = "http://HOST:PORT or https://HOST:PORT, without user or path; or empty";
        let otlp_endpoint = reader.text("telemetry.otlp_endpoint", accepted, endpoint);
        let otlp_ca = reader.optional_path("telemetry.otlp_ca");
        let otlp_headers_file = reader.optional_path("telemetry.otlp_headers_file");
        let accepted = "NAME=VALUE pairs parted by commas, no name twice; or empty";
        let resource_attributes = reader.text("telemetry.resource_attributes", accepted, pairs);
        let trace_ratio = reader.ratio("telemetry.trace_ratio");
        let metrics_push_interval_ms =
            reader.int("telemetry.metrics_push_interval_ms", 0..=PUSH_MS_MAX);
        let export_timeout_ms = reader.int("telemetry.export_timeout_ms", 1..=EXPORT_MS_MAX);
        Some(TelemetryConfig {
            otlp_endpoint: otlp_endpoint?,
            otlp_ca: otlp_ca?,
            otlp_headers_file: otlp_headers_file?,
            resource_attributes: resource_attributes?,
            trace_ratio: trace_ratio?,
            metrics_push_interval_ms: metrics_push_interval_ms?,
            export_timeout_ms: export_timeout_ms?,
        })
    }
}

/// The URL, or `Some(None)` where it is empty. Secrets belong into the headers' file.
fn endpoint(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let address = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))?;
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = address.rsplit_once(':')?;
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_host && is_port).then(|| Some(text.to_owned()))
}

fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || pairs.iter().any(|(known, _)| known == name) {
            return None;
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Some(pairs)
}
