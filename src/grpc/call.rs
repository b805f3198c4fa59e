//! One call: its deadline, its place among those in progress, its line in the metrics; and what
//! the transport says when no handler was reached.
//!
//! A handler that panics costs its caller the answer and nobody else anything.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Response};
use tokio::time::Sleep;
use tonic::{Code, Status, body::Body};

use super::{deadline, status};
use crate::{clock::Clock, config::GrpcConfig, telemetry::Metrics};

/// What a handler answers with.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What all calls have in common.
pub(super) struct Traffic {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    request_timeout: Duration,
    /// The largest request that is read.
    pub(super) message_bytes_max: usize,
    calls_max: usize,
    in_progress: AtomicUsize,
}

impl Traffic {
    pub(super) fn new(config: &GrpcConfig, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        // A platform of less than 32 bits has no such sizes to keep.
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        Traffic {
            metrics,
            clock,
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            message_bytes_max: size(config.max_message_bytes),
            calls_max: size(config.calls_max),
            in_progress: AtomicUsize::new(0),
        }
    }

    /// How long a call may take: what its caller says, but no longer than the server does.
    pub(super) fn limit(&self, headers: &HeaderMap) -> Duration {
        deadline::wanted(headers)
            .unwrap_or(Duration::MAX)
            .min(self.request_timeout)
    }

    /// A call to a service of the contract, which has a deadline and counts as in progress.
    pub(super) fn bounded(
        self: &Arc<Self>,
        method: &'static str,
        limit: Duration,
        answer: impl FnOnce() -> Answer,
    ) -> Call {
        let before = self.in_progress.fetch_add(1, Ordering::Relaxed);
        let work = if before < self.calls_max {
            Work::Running(answer())
        } else {
            Work::Refused(Some(status::too_many_calls(self.calls_max)))
        };
        self.call(method, work, Some(limit))
    }

    /// A call to one of the other services: a check, or a stream that lasts.
    pub(super) fn unbounded(self: &Arc<Self>, method: &'static str, answer: Answer) -> Call {
        self.call(method, Work::Running(answer), None)
    }

    /// A call that nothing here answers.
    pub(super) fn refused(self: &Arc<Self>, method: &'static str, status: Status) -> Call {
        self.call(method, Work::Refused(Some(status)), None)
    }

    fn call(self: &Arc<Self>, method: &'static str, work: Work, limit: Option<Duration>) -> Call {
        let started = self.clock.monotonic();
        Call {
            work,
            method,
            started,
            limit,
            sleep: None,
            code: None,
            traffic: Arc::clone(self),
        }
    }
}

enum Work {
    Running(Answer),
    /// Until the answer is taken.
    Refused(Option<Status>),
}

/// A call in progress.
pub(super) struct Call {
    work: Work,
    method: &'static str,
    started: Duration,
    /// How long it may take; absent: as long as it wants, and it does not count.
    limit: Option<Duration>,
    /// Set up once the call has to wait for something: most calls never do.
    sleep: Option<Pin<Box<Sleep>>>,
    /// How it was answered; absent: it was not, the caller is gone.
    code: Option<Code>,
    traffic: Arc<Traffic>,
}

impl Call {
    fn answered(&mut self, response: Response<Body>) -> Response<Body> {
        // Only a call without an answer has its status in the headers.
        let Some(status) = Status::from_header_map(response.headers()) else {
            self.code = Some(Code::Ok);
            return response;
        };
        let bare = status.code() != Code::Ok && status.details().is_empty();
        if bare && self.limit.is_some() {
            return self.failed(status::of_transport(
                &status,
                self.traffic.message_bytes_max,
            ));
        }
        self.code = Some(status.code());
        response
    }

    fn failed(&mut self, status: Status) -> Response<Body> {
        self.code = Some(status.code());
        status.into_http()
    }

    /// Whether the call's time is up.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(cx).map(|()| limit)
    }
}

impl Future for Call {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &mut *self;
        let polled = match &mut call.work {
            Work::Running(answer) => catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))),
            Work::Refused(status) => {
                let status = status.take().unwrap_or_else(status::panicked);
                return Poll::Ready(Ok(call.failed(status)));
            }
        };
        match polled {
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(call.answered(response))),
            Ok(Poll::Pending) => {
                let up = call.poll_deadline(cx);
                up.map(|limit| Ok(call.failed(status::deadline_exceeded(limit))))
            }
            Err(_) => {
                tracing::error!(method = call.method, "a handler panicked");
                call.work = Work::Refused(None);
                Poll::Ready(Ok(call.failed(status::panicked())))
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.limit.is_some() {
            self.traffic.in_progress.fetch_sub(1, Ordering::Relaxed);
        }
        let took = self.traffic.clock.monotonic().saturating_sub(self.started);
        let code = status::code_name(self.code.unwrap_or(Code::Cancelled));
        self.traffic.metrics.call(self.method, code, took);
    }
}
