//! Sampled calls as OTLP has them, by OpenTelemetry's conventions for RPC.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};

use super::client::{attribute, text};
use crate::telemetry::{
    series::RPC_SYSTEM,
    trace::{Child, Finished, SpanId, Trace, Value},
};

/// The statuses that are a server's own failure, by the conventions for gRPC.
const FAILURES: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];
/// The flags of a span that is sampled; and that its parent is known to be of another process.
const SAMPLED: u32 = 0x01;
const PARENT_IS_REMOTE: u32 = 0x300;

/// The call's span, and one for each thing that it did.
pub(super) fn of(finished: Finished) -> Vec<Span> {
    let trace = &finished.trace;
    let mut spans = vec![call(&finished)];
    spans.extend(trace.children.iter().map(|child| of_child(trace, child)));
    spans
}

fn call(finished: &Finished) -> Span {
    let Finished {
        trace,
        method,
        status,
        took,
    } = finished;
    let mut attributes = vec![
        attribute("rpc.system.name", text(RPC_SYSTEM)),
        attribute("rpc.method", text(method)),
        attribute("rpc.response.status_code", text(status)),
    ];
    let is_failure = FAILURES.contains(status);
    if is_failure {
        attributes.push(attribute("error.type", text(status)));
    }
    let said = trace.attributes.iter();
    attributes.extend(said.map(|(name, value)| attribute(name, written(value))));
    let remote = trace.parent.map_or(0, |_| PARENT_IS_REMOTE);
    Span {
        trace_id: trace.trace_id.to_bytes(),
        span_id: trace.span_id.to_bytes(),
        trace_state: trace.state.clone(),
        parent_span_id: trace.parent.map(SpanId::to_bytes).unwrap_or_default(),
        flags: SAMPLED | remote,
        name: (*method).to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: trace.started_ns,
        end_time_unix_nano: trace.started_ns.saturating_add(nanos(*took)),
        attributes,
        status: Some(ended(is_failure)),
        ..Span::default()
    }
}

fn of_child(trace: &Trace, child: &Child) -> Span {
    let at = |instant: Duration| {
        let after = instant.saturating_sub(trace.started);
        trace.started_ns.saturating_add(nanos(after))
    };
    let mut attributes: Vec<KeyValue> = Vec::new();
    if let Some(error) = child.error {
        attributes.push(attribute("error.type", text(error)));
    }
    Span {
        trace_id: trace.trace_id.to_bytes(),
        span_id: SpanId::random().to_bytes(),
        parent_span_id: trace.span_id.to_bytes(),
        flags: SAMPLED,
        name: child.name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: at(child.started),
        end_time_unix_nano: at(child.ended),
        attributes,
        status: Some(ended(child.error.is_some())),
        ..Span::default()
    }
}

fn ended(is_failure: bool) -> Status {
    let code = match is_failure {
        true => StatusCode::Error,
        // A server leaves it to whoever reads to call it a success.
        false => StatusCode::Unset,
    };
    Status {
        message: String::new(),
        code: code.into(),
    }
}

fn written(value: &Value) -> any_value::Value {
    match value {
        Value::Text(said) => text(said),
        Value::Number(number) => any_value::Value::IntValue(*number),
        Value::Flag(flag) => any_value::Value::BoolValue(*flag),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
