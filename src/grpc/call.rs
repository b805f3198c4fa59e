//! One call: its deadline, its place among those in progress, what is seen of it; and what the
//! transport says when no handler was reached.
//!
//! A handler that panics costs its caller the answer and nobody else anything.

use std::{
    convert::Infallible,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Response};
use tokio::time::Sleep;
use tonic::{Code, Status, body::Body};

use super::{audit::Outside, deadline, status};
use crate::{
    config::GrpcConfig,
    telemetry::{
        CallEnd, Observer, REQUEST_ID,
        present::{self, Present},
    },
};

/// What a handler answers with.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What all calls have in common.
pub(super) struct Traffic {
    observer: Observer,
    request_timeout: Duration,
    /// The largest request that is read.
    pub(super) message_bytes_max: usize,
    calls_max: usize,
}

impl Traffic {
    pub(super) fn new(config: &GrpcConfig, observer: Observer) -> Self {
        // A platform of less than 32 bits has no such sizes to keep.
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        Traffic {
            observer,
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            message_bytes_max: size(config.max_message_bytes),
            calls_max: size(config.calls_max),
        }
    }

    /// How long a call may take: what its caller says, but no longer than the server does.
    pub(super) fn limit(&self, headers: &HeaderMap) -> Duration {
        deadline::wanted(headers)
            .unwrap_or(Duration::MAX)
            .min(self.request_timeout)
    }

    /// What is seen of a call that is not a check or a stream.
    pub(super) fn begin(&self, headers: &HeaderMap) -> Present {
        self.observer.begin(headers)
    }

    /// A call to a service of the contract, which has a deadline and counts as in progress.
    pub(super) fn bounded(
        self: &Arc<Self>,
        method: &'static str,
        limit: Duration,
        present: Present,
        answer: impl FnOnce() -> Answer,
    ) -> Call {
        let metrics = &self.observer.metrics;
        let work = if metrics.call_began() < self.calls_max {
            Work::Running(answer())
        } else {
            metrics.too_many_calls();
            Work::Refused(Some(status::too_many_calls(self.calls_max)))
        };
        self.call(method, work, Some(limit), present)
    }

    /// A call to one of the other services: a check, or a stream that lasts.
    pub(super) fn unbounded(self: &Arc<Self>, method: &'static str, answer: Answer) -> Call {
        self.call(method, Work::Running(answer), None, Present::default())
    }

    /// A call that nothing here answers.
    pub(super) fn refused(
        self: &Arc<Self>,
        method: &'static str,
        present: Present,
        status: Status,
    ) -> Call {
        self.call(method, Work::Refused(Some(status)), None, present)
    }

    fn call(
        self: &Arc<Self>,
        method: &'static str,
        work: Work,
        limit: Option<Duration>,
        mut present: Present,
    ) -> Call {
        let started = self.observer.clock.monotonic();
        if let Some(limit) = limit {
            present.ends_at(started.saturating_add(limit));
        }
        Call {
            work,
            method,
            present,
            started,
            queued: None,
            limit,
            sleep: None,
            code: None,
            outside: None,
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
    present: Present,
    started: Duration,
    /// How long it waited for a thread; absent: it still does.
    queued: Option<Duration>,
    /// How long it may take; absent: as long as it wants, and it does not count.
    limit: Option<Duration>,
    /// Set up once the call has to wait for something: most calls never do.
    sleep: Option<Pin<Box<Sleep>>>,
    /// How it was answered; absent: it was not, the caller is gone.
    code: Option<Code>,
    /// For one to AdminService, where that has an audit log.
    outside: Option<Box<Outside>>,
    traffic: Arc<Traffic>,
}

impl Call {
    /// The same, of which there is a line in the audit log also where it does not reach its handler.
    pub(super) fn audited(mut self, outside: Option<Outside>) -> Call {
        self.outside = outside.map(Box::new);
        self
    }

    fn answered(&mut self, response: Response<Body>) -> Response<Body> {
        // Only a call without an answer has its status in the headers.
        let Some(status) = Status::from_header_map(response.headers()) else {
            self.code = Some(Code::Ok);
            return response;
        };
        if status.code() == Code::Ok {
            self.code = Some(Code::Ok);
            return response;
        }
        if status.details().is_empty() && self.limit.is_some() {
            let max = self.traffic.message_bytes_max;
            return self.failed(&status::of_transport(&status, max));
        }
        self.failed(&status)
    }

    /// An answer that is a status only: it says which call it was, for whoever reads the log.
    fn failed(&mut self, status: &Status) -> Response<Body> {
        self.code = Some(status.code());
        let request_id = self.present.request_id();
        if let Some(outside) = &self.outside {
            outside.ends(self.method, request_id, status);
        }
        let mut response = status::with_request(status, request_id).into_http();
        if let Ok(id) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if status::is_of_the_request(status.code()) && tracing::enabled!(tracing::Level::INFO) {
            let (reason, fields) = status::refusal(status);
            let (method, status) = (self.method, status::code_name(status.code()));
            present::within(&mut self.present, || {
                tracing::info!(method, status, reason, fields, "refused a bad request");
            });
        }
        response
    }

    /// The first time that the call is worked on, how long it waited for that is noted.
    fn note_queue(&mut self) {
        if self.queued.is_none() {
            let now = self.traffic.observer.clock.monotonic();
            self.queued = Some(now.saturating_sub(self.started));
        }
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
        call.note_queue();
        let polled = match &mut call.work {
            Work::Running(answer) => present::within(&mut call.present, || {
                catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)))
            }),
            Work::Refused(status) => {
                let status = status.take().unwrap_or_else(status::panicked);
                return Poll::Ready(Ok(call.failed(&status)));
            }
        };
        match polled {
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(call.answered(response))),
            Ok(Poll::Pending) => {
                let up = call.poll_deadline(cx);
                up.map(|limit| Ok(call.failed(&status::deadline_exceeded(limit))))
            }
            Err(_) => {
                tracing::error!(method = call.method, "a handler panicked");
                call.work = Work::Refused(None);
                Poll::Ready(Ok(call.failed(&status::panicked())))
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let observer = &self.traffic.observer;
        if self.limit.is_some() {
            observer.metrics.call_ended();
        }
        // What is given up is part of the call: its steps say so while it is still there.
        let work = mem::replace(&mut self.work, Work::Refused(None));
        present::within(&mut self.present, || drop(work));
        let took = observer.clock.monotonic().saturating_sub(self.started);
        let end = CallEnd {
            method: self.method,
            status: status::code_name(self.code.unwrap_or(Code::Cancelled)),
            took,
            queued: self.queued.unwrap_or(took),
        };
        observer.end(&mut self.present, end);
    }
}
