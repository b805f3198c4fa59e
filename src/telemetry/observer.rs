//! What is seen of every call from its first header to its end: counted, timed, traced where it
//! is sampled, and logged where it was slow.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;

use super::{
    Metrics,
    present::Present,
    trace::{Finished, Parent, Tracer},
};
use crate::clock::Clock;

/// The metadata that a caller names its request with, and that an error answers.
pub const REQUEST_ID: &str = "x-request-id";
/// The longest id of a request that is taken over, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Sees calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer {
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// What they are timed by.
    pub clock: Arc<dyn Clock>,
    /// Where sampled ones go; absent: none is sampled.
    pub tracer: Option<Tracer>,
    /// From how long on a call is logged as slow; absent: none is.
    pub slow_call: Option<Duration>,
    /// Whether spans name the account.
    pub account_ids: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd {
    /// Its method, fully qualified, or `_OTHER`.
    pub method: &'static str,
    /// The name of its status.
    pub status: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How much of that had passed before it was worked on.
    pub queued: Duration,
}

impl Observer {
    /// Counts and times, and neither traces nor logs.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Observer {
            metrics,
            clock,
            tracer: None,
            slow_call: None,
            account_ids: false,
        }
    }

    /// A call begins.
    pub fn begin(&self, headers: &HeaderMap) -> Present {
        let parent = Parent::of(headers);
        let now = || (self.clock.unix_nanos(), self.clock.monotonic());
        let tracer = self.tracer.as_ref();
        let trace = tracer.and_then(|tracer| tracer.sample(parent, headers, now));
        let of_trace = trace.as_ref().map(|trace| trace.trace_id);
        Present {
            in_call: true,
            request_id: request_id(headers),
            trace_id: of_trace.or(parent.map(|parent| parent.trace_id)),
            trace,
            ..Present::default()
        }
    }

    /// It has ended.
    pub fn end(&self, call: &mut Present, end: CallEnd) {
        let CallEnd {
            method,
            status,
            took,
            ..
        } = end;
        let trace = call.trace.take();
        let exemplar = trace.as_ref().map(|trace| trace.exemplar(took));
        self.metrics.call(method, status, took, exemplar);
        let is_slow = call.in_call && self.slow_call.is_some_and(|slow| took >= slow);
        if is_slow {
            log_slow(call, end);
        }
        if let (Some(mut trace), Some(tracer)) = (trace, &self.tracer) {
            // The span begins before the call is timed, and ends after its last step.
            let took = self.clock.monotonic().saturating_sub(trace.started);
            if let Some(request_id) = &call.request_id {
                trace.set("tollgate.request_id", &**request_id);
            }
            tracer.finish(Finished {
                trace,
                method,
                status,
                took,
            });
        }
    }
}

fn log_slow(call: &mut Present, end: CallEnd) {
    let CallEnd {
        method,
        status,
        took,
        queued,
    } = end;
    let spent = call.spent;
    let stores = spent.hot + spent.ledger + spent.ledger_wait;
    let own = took.saturating_sub(queued + stores);
    super::present::within(call, || {
        tracing::warn!(
            method,
            status,
            took_ms = millis(took),
            queue_ms = millis(queued),
            hot_ms = millis(spent.hot),
            hot_steps = spent.hot_steps,
            ledger_ms = millis(spent.ledger),
            ledger_wait_ms = millis(spent.ledger_wait),
            own_ms = millis(own),
            "slow call"
        );
    });
}

/// To a thousandth.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// The caller's id of its request, where it is one that can stand in a log line.
fn request_id(headers: &HeaderMap) -> Option<Box<str>> {
    let id = headers.get(REQUEST_ID)?.as_bytes();
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/@+=-".contains(byte);
    if id.is_empty() || id.len() > REQUEST_ID_BYTES_MAX || !id.iter().all(is_fine) {
        return None;
    }
    std::str::from_utf8(id).ok().map(Box::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_request_id_is_taken_over() {
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for (given, taken) in [
            ("req-1", true),
            ("a.b_c:d/e@f+g=h", true),
            (&long[1..], true),
            ("", false),
            ("two words", false),
            ("quote\"", false),
            (&long, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, given.parse().unwrap());
            let expected = taken.then_some(given);
            assert_eq!(request_id(&headers).as_deref(), expected, "{given}");
        }
        assert_eq!(request_id(&HeaderMap::new()), None);
    }
}
