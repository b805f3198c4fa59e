//! The connection to the collector, and who we say we are.

use std::{path::PathBuf, sync::Arc, time::Duration};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
        trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tonic::{
    Request,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::families;
use crate::{clock::Clock, config::TelemetryConfig, telemetry::Metrics};

/// Why the export can't start.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint can't be used.
    #[error("telemetry.otlp_endpoint = {endpoint:?}: {source}")]
    Endpoint {
        /// As it is configured.
        endpoint: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// A file can't be read.
    #[error("{key} = {path:?}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line of the headers' file is no header. It may be a secret, so it is not shown.
    #[error(
        "telemetry.otlp_headers_file, line {line}: must be NAME=VALUE or NAME: VALUE, in ASCII"
    )]
    Header {
        /// Its number.
        line: usize,
    },
}

/// A connection that is made when it is needed. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    traces: TraceServiceClient<Channel>,
    metrics: MetricsServiceClient<Channel>,
    headers: MetadataMap,
    resource: Resource,
    clock: Arc<dyn Clock>,
    /// In nanoseconds since 1970: where every counter was zero.
    started_ns: u64,
}

impl Client {
    /// `None`: no collector is configured.
    pub(super) fn new(
        config: &TelemetryConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, ExportError> {
        let Some(url) = &config.otlp_endpoint else {
            return Ok(None);
        };
        let channel = endpoint(url, config)?.connect_lazy();
        let headers = match &config.otlp_headers_file {
            Some(path) => headers(&read("telemetry.otlp_headers_file", path)?)?,
            None => MetadataMap::new(),
        };
        Ok(Some(Client {
            traces: TraceServiceClient::new(channel.clone()),
            metrics: MetricsServiceClient::new(channel),
            headers,
            resource: resource(&config.resource_attributes),
            clock: Arc::clone(clock),
            started_ns: clock.unix_nanos(),
        }))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    pub(super) fn spans_request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope()),
                    spans,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        }
    }

    /// Answers how many spans were rejected for ever.
    pub(super) async fn send_spans(
        &mut self,
        request: ExportTraceServiceRequest,
    ) -> Result<u64, String> {
        let request = self.request(request);
        let answer = self.traces.export(request).await;
        // Without the metadata of the answer: there is no knowing what it repeats.
        let answer =
            answer.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
        let partial = answer.into_inner().partial_success.unwrap_or_default();
        Ok(u64::try_from(partial.rejected_spans).unwrap_or(0))
    }

    pub(super) async fn send_metrics(&mut self, metrics: &Metrics) -> Result<(), String> {
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics: families::of(metrics, self.started_ns, self.clock.unix_nanos()),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        let request = self.request(request);
        let answer = self.metrics.export(request).await;
        let answer =
            answer.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
        let partial = answer.into_inner().partial_success.unwrap_or_default();
        match partial.rejected_data_points {
            0 => Ok(()),
            rejected => Err(format!(
                "{rejected} points were rejected: {}",
                partial.error_message
            )),
        }
    }
}

fn endpoint(url: &str, config: &TelemetryConfig) -> Result<Endpoint, ExportError> {
    let unusable = |source| ExportError::Endpoint {
        endpoint: url.to_owned(),
        source,
    };
    let timeout = Duration::from_millis(config.export_timeout_ms);
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(unusable)?
        .connect_timeout(timeout)
        .timeout(timeout);
    if !url.starts_with("https:") {
        return Ok(endpoint);
    }
    let tls = match &config.otlp_ca {
        Some(path) => {
            let pem = read("telemetry.otlp_ca", path)?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(unusable)
}

fn read(key: &'static str, path: &PathBuf) -> Result<String, ExportError> {
    std::fs::read_to_string(path).map_err(|source| ExportError::File {
        key,
        path: path.clone(),
        source,
    })
}

/// A header a line; empty lines and comments count for nothing.
fn headers(text: &str) -> Result<MetadataMap, ExportError> {
    let mut headers = MetadataMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || ExportError::Header { line: index + 1 };
        let (name, value) = line.split_once(['=', ':']).ok_or_else(wrong)?;
        let name: AsciiMetadataKey = name.trim().to_lowercase().parse().map_err(|_| wrong())?;
        let mut value: AsciiMetadataValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Who we are; what is configured wins.
fn resource(configured: &[(String, String)]) -> Resource {
    let instance = format!("{:032x}", rand::random::<u128>());
    let own = [
        ("service.name", "tollgate"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &instance),
    ];
    let mut attributes: Vec<KeyValue> = configured
        .iter()
        .map(|(name, value)| attribute(name, text(value)))
        .collect();
    for (name, value) in own {
        if !configured.iter().any(|(known, _)| known == name) {
            attributes.push(attribute(name, text(value)));
        }
    }
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "tollgate".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

pub(super) fn text(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.to_owned())
}

pub(super) fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line_and_never_shown() {
        let read = headers("# a comment\n\nAuthorization: Bearer a=b\nx-team = quota \n").unwrap();
        assert_eq!(read.get("authorization").unwrap(), "Bearer a=b");
        assert_eq!(read.get("x-team").unwrap(), "quota");
        assert!(!format!("{read:?}").contains("Bearer"));
        let refused = headers("x-team=quota\nsecret").unwrap_err().to_string();
        assert_eq!(
            refused,
            "telemetry.otlp_headers_file, line 2: must be NAME=VALUE or NAME: VALUE, in ASCII"
        );
    }

    #[test]
    fn what_is_configured_of_the_resource_wins() {
        let configured = [("service.name".to_owned(), "gate".to_owned())];
        let resource = resource(&configured);
        let names: Vec<&str> = resource
            .attributes
            .iter()
            .map(|pair| pair.key.as_str())
            .collect();
        assert_eq!(
            names,
            ["service.name", "service.version", "service.instance.id"]
        );
        let name = resource.attributes[0].value.clone().unwrap().value;
        assert_eq!(name, Some(text("gate")));
    }
}
