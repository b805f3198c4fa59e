//! Traces: whether a call is sampled, and what is remembered of one that is.
//!
//! A call that is not sampled costs a look for its `traceparent` and, where it has none, a random
//! number; nothing is kept of it. A sampled one is handed to the exporter at its end, which never
//! makes it wait: a full queue drops it and counts that.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::sync::mpsc;

use super::Metrics;

/// The most children of one call that are remembered.
const CHILDREN_MAX: usize = 64;
/// The longest `tracestate` that is passed on, in bytes: what the W3C asks for at least.
const STATE_BYTES_MAX: usize = 512;

/// The id of a trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// The id of a span; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

impl TraceId {
    #[cfg(test)]
    pub(super) fn of(id: u128) -> Self {
        TraceId(id)
    }

    /// As OTLP has it.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl SpanId {
    #[cfg(test)]
    pub(super) fn of(id: u64) -> Self {
        SpanId(id)
    }

    /// As OTLP has it.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    pub(super) fn random() -> Self {
        SpanId(rand::random::<u64>().max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A measurement that belongs to a trace.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: TraceId,
    /// The span in it.
    pub span_id: SpanId,
    /// What was measured, in seconds.
    pub seconds: f64,
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
}

/// The caller's span: the `traceparent` header of the W3C's Trace Context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) is_sampled: bool,
}

impl Parent {
    /// Of a call; one that is malformed counts as absent, as the W3C says.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        Parent::parse(headers.get("traceparent")?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id) = (parts.next()?, parts.next()?);
        let (span_id, flags) = (parts.next()?, parts.next()?);
        let lengths = [version.len(), trace_id.len(), span_id.len(), flags.len()];
        // A later version may say more after the flags.
        let is_over = version == "00" && parts.next().is_some();
        if lengths != [2, 32, 16, 2] || version == "ff" || is_over {
            return None;
        }
        hex(version)?;
        Some(Parent {
            trace_id: TraceId(hex(trace_id).filter(|id| *id != 0)?),
            span_id: SpanId(u64::try_from(hex(span_id)?).ok().filter(|id| *id != 0)?),
            is_sampled: hex(flags)? & 1 == 1,
        })
    }
}

/// Lower case only, and no sign.
fn hex(text: &str) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.bytes().all(is_digit).then_some(())?;
    u128::from_str_radix(text, 16).ok()
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

/// What a call did meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) name: &'static str,
    /// By the monotonic clock.
    pub(super) started: Duration,
    pub(super) ended: Duration,
    /// Why it failed.
    pub(super) error: Option<&'static str>,
}

/// A sampled call in progress.
#[derive(Debug)]
pub struct Trace {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) state: String,
    /// In nanoseconds since 1970.
    pub(super) started_ns: u64,
    /// The same instant by the monotonic clock.
    pub(super) started: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) children: Vec<Child>,
}

impl Trace {
    /// Says something about the call; the last word on a name counts.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.retain(|(known, _)| *known != name);
        self.attributes.push((name, value.into()));
    }

    pub(super) fn child(&mut self, child: Child) {
        if self.children.len() < CHILDREN_MAX {
            self.children.push(child);
        }
    }

    pub(super) fn exemplar(&self, took: Duration) -> Exemplar {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Exemplar {
            trace_id: self.trace_id,
            span_id: self.span_id,
            seconds: took.as_secs_f64(),
            at_ns: self.started_ns.saturating_add(took_ns),
        }
    }
}

/// A sampled call that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) trace: Box<Trace>,
    pub(super) method: &'static str,
    pub(super) status: &'static str,
    pub(super) took: Duration,
}

impl Finished {
    /// How many spans it is.
    pub(super) fn spans(&self) -> u64 {
        self.trace.children.len() as u64 + 1
    }
}

/// Decides which calls are sampled, and takes those that were.
#[derive(Clone, Debug)]
pub struct Tracer {
    /// A trace that the caller did not begin is sampled where the low half of its id is below.
    below: u64,
    queue: mpsc::Sender<Finished>,
    metrics: Arc<Metrics>,
}

impl Tracer {
    /// `ratio`: of the calls that come without a trace, how many begin one.
    pub(super) fn new(ratio: f64, queue: mpsc::Sender<Finished>, metrics: Arc<Metrics>) -> Self {
        // A float becomes an integer by saturating: 1.0 is every id but one in 2^64.
        let below = (ratio * u64::MAX as f64) as u64;
        Tracer {
            below,
            queue,
            metrics,
        }
    }

    /// A trace for a call that is sampled. `now`: in nanoseconds since 1970, and monotonic.
    pub(super) fn sample(
        &self,
        parent: Option<Parent>,
        headers: &HeaderMap,
        now: impl FnOnce() -> (u64, Duration),
    ) -> Option<Box<Trace>> {
        let trace_id = match parent {
            Some(parent) if parent.is_sampled => parent.trace_id,
            Some(_) => return None,
            None => self.begin()?,
        };
        let (started_ns, started) = now();
        Some(Box::new(Trace {
            trace_id,
            span_id: SpanId::random(),
            parent: parent.map(|parent| parent.span_id),
            state: parent.map(|_| state(headers)).unwrap_or_default(),
            started_ns,
            started,
            attributes: Vec::with_capacity(16),
            children: Vec::with_capacity(4),
        }))
    }

    fn begin(&self) -> Option<TraceId> {
        if self.below == 0 {
            return None;
        }
        let id = rand::random::<u128>().max(1);
        // The low half, as OpenTelemetry's samplers by ratio have it.
        let low = id as u64;
        (low < self.below).then_some(TraceId(id))
    }

    pub(super) fn finish(&self, finished: Finished) {
        if let Err(refused) = self.queue.try_send(finished) {
            let (mpsc::error::TrySendError::Full(finished)
            | mpsc::error::TrySendError::Closed(finished)) = refused;
            self.metrics.spans_dropped("queue_full", finished.spans());
        }
    }
}

/// What other tracing systems want passed on.
fn state(headers: &HeaderMap) -> String {
    let values = headers.get_all("tracestate").into_iter();
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let state = texts.join(",");
    match state.len() <= STATE_BYTES_MAX {
        true => state,
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_traceparent_is_read_as_the_w3c_writes_it() {
        let read = Parent::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(read.trace_id.to_string(), TRACE);
        assert_eq!(read.span_id.to_string(), SPAN);
        assert!(read.is_sampled);
        assert!(
            !Parent::parse(&format!("00-{TRACE}-{SPAN}-00"))
                .unwrap()
                .is_sampled
        );
        assert!(Parent::parse(&format!("cc-{TRACE}-{SPAN}-03-what-else")).is_some());
        let zeros = "0".repeat(32);
        for wrong in [
            "".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0x"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("+0-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(Parent::parse(&wrong), None, "{wrong}");
        }
    }

    fn tracer(ratio: f64, places: usize) -> (Tracer, mpsc::Receiver<Finished>) {
        let (queue, received) = mpsc::channel(places);
        let metrics = Arc::new(Metrics::new().unwrap());
        (Tracer::new(ratio, queue, metrics), received)
    }

    fn sampled(tracer: &Tracer, headers: &[(&'static str, String)]) -> Option<Box<Trace>> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        tracer.sample(Parent::of(&map), &map, || (7, Duration::ZERO))
    }

    #[test]
    fn the_caller_decides_and_else_the_ratio() {
        let parent = |flags| vec![("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))];
        let (never, _kept) = tracer(0.0, 1);
        let (always, _kept) = tracer(1.0, 1);
        assert!(sampled(&never, &[]).is_none());
        assert!(sampled(&always, &[]).unwrap().parent.is_none());
        assert!(sampled(&always, &parent("00")).is_none());
        let mut headers = parent("01");
        headers.push(("tracestate", "a=1".to_owned()));
        headers.push(("tracestate", "b=2".to_owned()));
        let child = sampled(&never, &headers).unwrap();
        assert_eq!(child.trace_id.to_string(), TRACE);
        assert_eq!(child.parent.unwrap().to_string(), SPAN);
        assert_eq!(child.state, "a=1,b=2");

        let (half, _kept) = tracer(0.5, 1);
        let begun = (0..4000).filter(|_| sampled(&half, &[]).is_some()).count();
        // Ten standard deviations to either side.
        assert!((1680..=2320).contains(&begun), "{begun} of 4000");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (tracer, mut received) = tracer(1.0, 1);
        for _ in 0..3 {
            tracer.finish(Finished {
                trace: sampled(&tracer, &[]).unwrap(),
                method: "a",
                status: "OK",
                took: Duration::ZERO,
            });
        }
        assert!(received.try_recv().is_ok() && received.try_recv().is_err());
        let text = tracer.metrics.render().unwrap();
        let line = "tollgate_spans_dropped_total{reason=\"queue_full\"} 2\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_last_word_on_an_attribute_counts() {
        let (tracer, _received) = tracer(1.0, 1);
        let mut trace = sampled(&tracer, &[]).unwrap();
        trace.set("a", 1u64);
        trace.set("b", true);
        trace.set("a", "x");
        assert_eq!(
            trace.attributes,
            [("b", Value::Flag(true)), ("a", Value::Text("x".to_owned()))]
        );
    }
}
