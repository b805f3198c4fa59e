//! The audit log of AdminService: no call is answered before its line is in the ledger. A call
//! whose line can't be written is answered `UNAVAILABLE`, and its retry is safe by its key.
//!
//! A change and its line are one transaction of the ledger, so there is none without the other,
//! whenever the process dies. Where such a call then fails, a second line says how it ended.
//!
//! A call runs to its end here even where its caller is gone, so that what was done has a line.
//! Calls that end before they begin here (kept out at the gate, one too many, not a message) leave
//! lines too, a bounded number of them: strangers must not fill the ledger.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use super::{convert::subject::Subject, gate::Caller, status};
use crate::{
    clock::Clock,
    ledger::{AdminCall, Ledger, LedgerFault},
    pb::{self, admin_service_server::AdminService},
    telemetry::{Metrics, present},
};

/// The most lines that wait to be written: those beyond wait before they get there.
const WAITING_MAX: usize = 1024;
/// The most lines of one transaction.
const BATCH_MAX: usize = 256;
/// The most calls of AdminService in progress, those whose callers are gone included.
const CALLS_MAX: usize = 1024;
/// How many refusals at the gate are written at once, and how long it takes until that many may be
/// again. Those beyond are counted, and not written.
const REFUSALS_MAX: u64 = 100;
const REFUSALS_PERIOD: Duration = Duration::from_secs(60);
/// The longest text of a line, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A line, and whom to tell that it is written; nobody, for a refusal.
type Line = (AdminCall, Option<oneshot::Sender<Result<(), LedgerFault>>>);

/// The line of a call in progress, for whoever can write it together with what the call changes.
#[derive(Clone)]
pub(super) struct ChangeLine {
    /// As it is where the call succeeds.
    call: AdminCall,
    is_written: Arc<AtomicBool>,
}

impl ChangeLine {
    /// The line of this request's call; `None`: it is not audited.
    pub(super) fn of<M>(request: &Request<M>) -> Option<ChangeLine> {
        request.extensions().get().cloned()
    }

    pub(super) fn call(&self) -> AdminCall {
        self.call.clone()
    }

    /// The ledger has it.
    pub(super) fn written(&self) {
        self.is_written.store(true, Ordering::Relaxed);
    }
}

/// A call on its way here: where it ends before it begins, it leaves its line through this.
pub(super) struct Outside {
    log: Arc<AuditLog>,
    caller: Caller,
    has_begun: Begun,
}

/// Whether a call has begun, so that it leaves its line itself.
#[derive(Clone, Default)]
struct Begun(Arc<AtomicBool>);

impl Outside {
    /// One by `caller`.
    pub(super) fn new(log: &Arc<AuditLog>, caller: Caller) -> Self {
        Outside {
            log: Arc::clone(log),
            caller,
            has_begun: Begun::default(),
        }
    }

    /// Has the call, whose request this is, say when it begins.
    pub(super) fn watch<B>(&self, request: &mut http::Request<B>) {
        request.extensions_mut().insert(self.has_begun.clone());
    }

    /// The call ends like this.
    pub(super) fn ends(&self, method: &'static str, request_id: &str, status: &Status) {
        if !self.has_begun.0.load(Ordering::Relaxed) {
            self.log.kept_out(method, &self.caller, request_id, status);
        }
    }
}

/// The log.
pub(super) struct AuditLog {
    lines: mpsc::Sender<Line>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// When the present period of refusals began.
    period: Mutex<Duration>,
    refusals: AtomicU64,
}

impl AuditLog {
    /// Starts the task that writes to a ledger. It ends with the last of this.
    pub(super) fn start(
        ledger: Arc<dyn Ledger>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Arc<AuditLog> {
        let (lines, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(ledger, waiting));
        Arc::new(AuditLog {
            lines,
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            period: Mutex::new(clock.monotonic()),
            refusals: AtomicU64::new(0),
        })
    }

    /// Writes a call that was refused before it began, unless there were too many of late.
    fn kept_out(&self, method: &'static str, caller: &Caller, request_id: &str, status: &Status) {
        let written = self.has_room_for_refusal() && {
            let short = method.rsplit('/').next().unwrap_or(method);
            let mut call = ended(self.line(short, caller, "", ""), Some(status));
            call.request_id = request_id.to_owned();
            self.lines.try_send((call, None)).is_ok()
        };
        self.metrics.admin_refusal(written);
    }

    fn has_room_for_refusal(&self) -> bool {
        let now = self.clock.monotonic();
        let mut period = self.period.lock();
        if now.saturating_sub(*period) >= REFUSALS_PERIOD {
            *period = now;
            self.refusals.store(0, Ordering::Relaxed);
        }
        self.refusals.fetch_add(1, Ordering::Relaxed) < REFUSALS_MAX
    }

    fn line(&self, method: &str, caller: &Caller, account_id: &str, key: &str) -> AdminCall {
        AdminCall {
            at: self.clock.now(),
            principal: caller.name().to_owned(),
            peer: caller.peer(),
            method: method.to_owned(),
            account_id: kept(account_id),
            key: kept(key),
            ..AdminCall::default()
        }
    }

    async fn write(&self, call: AdminCall) -> Result<(), LedgerFault> {
        let gone = || fault("the task that writes the audit log has ended");
        let (tell, told) = oneshot::channel();
        let sent = self.lines.send((call, Some(tell))).await;
        sent.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

fn fault(why: &'static str) -> LedgerFault {
    LedgerFault {
        operation: "log_calls",
        source: why.into(),
    }
}

/// Writes what waits, as much as there is in one transaction.
async fn write(ledger: Arc<dyn Ledger>, mut waiting: mpsc::Receiver<Line>) {
    let mut lines: Vec<Line> = Vec::new();
    while waiting.recv_many(&mut lines, BATCH_MAX).await > 0 {
        let (calls, tell): (Vec<_>, Vec<_>) = lines.drain(..).unzip();
        // A panic must not end the log with it.
        let writing = AssertUnwindSafe(ledger.log_calls(&calls)).catch_unwind();
        let written = writing
            .await
            .unwrap_or_else(|_| Err(fault("it has panicked")));
        if let Err(fault) = &written {
            tracing::error!(error = %fault, lines = calls.len(), "the audit log can't be written");
        }
        for tell in tell.into_iter().flatten() {
            let answer = written.as_ref().map_err(|fault| LedgerFault {
                operation: fault.operation,
                source: fault.source.to_string().into(),
            });
            // Whoever asked may be gone.
            let _ = tell.send(answer.copied());
        }
    }
}

/// A line with how its call ended.
fn ended(mut call: AdminCall, failed: Option<&Status>) -> AdminCall {
    call.outcome = status::code_name(failed.map_or(Code::Ok, Status::code)).to_owned();
    let details = failed.map(StatusExt::get_error_details);
    let reason = details.as_ref().and_then(|details| details.error_info());
    call.reason = reason.map_or_else(String::new, |info| info.reason.clone());
    call
}

/// What a line keeps of a text that may be anything.
fn kept(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let shown = text[..end].chars();
    shown
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// AdminService with an audit log: every call that gets here leaves a line.
pub(super) struct Audited<A> {
    inner: Arc<A>,
    log: Arc<AuditLog>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl<A: AdminService> Audited<A> {
    /// Calls run in `tasks`.
    pub(super) fn new(inner: A, log: Arc<AuditLog>, tasks: TaskTracker) -> Self {
        Audited {
            inner: Arc::new(inner),
            log,
            places: Arc::new(Semaphore::new(CALLS_MAX)),
            tasks,
        }
    }

    async fn audited<M, R, F>(
        &self,
        method: &'static str,
        mut request: Request<M>,
        run: impl FnOnce(Arc<A>, Request<M>) -> F,
    ) -> Result<Response<R>, Status>
    where
        M: Subject,
        R: Send + 'static,
        F: Future<Output = Result<Response<R>, Status>> + Send + 'static,
    {
        let Some(caller) = request.extensions().get::<Caller>() else {
            return Err(status::panicked());
        };
        if let Some(begun) = request.extensions().get::<Begun>() {
            begun.0.store(true, Ordering::Relaxed);
        }
        let message = request.get_ref();
        let (account_id, key) = (message.account_id(), message.key());
        let mut line = self.log.line(method, caller, account_id, key);
        line.request_id = present::request_id().unwrap_or_default();
        let admitted = match message.is_about_accounts() {
            true => Caller::admits(request.extensions(), account_id),
            false => Ok(()),
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let status = status::too_many_calls(CALLS_MAX);
            self.log.kept_out(method, caller, &line.request_id, &status);
            return Err(status);
        };
        let with_change = ChangeLine {
            call: ended(line.clone(), None),
            is_written: Arc::default(),
        };
        request.extensions_mut().insert(with_change.clone());
        let answer = admitted.map(|()| run(Arc::clone(&self.inner), request));
        let log = Arc::clone(&self.log);
        let work = async move {
            let answer = match answer {
                Ok(answer) => caught(method, answer).await,
                Err(status) => Err(status),
            };
            let has_line = answer.is_ok() && with_change.is_written.load(Ordering::Relaxed);
            let written = match has_line {
                true => Ok(()),
                false => log.write(ended(line, answer.as_ref().err())).await,
            };
            drop(place);
            match written {
                Ok(()) => answer,
                Err(fault) => {
                    // One that a store had failed already was counted then.
                    if !answer.is_err_and(|status| status.code() == Code::Unavailable) {
                        log.metrics.degraded(method);
                    }
                    Err(status::not_audited(&fault))
                }
            }
        };
        let tasks = self.tasks.clone();
        ToItsEnd::new(work, tasks).await
    }
}

/// How a call ended, also where it has panicked.
async fn caught<T>(
    method: &'static str,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    // Its line is the same whatever the panic has left undone: it does not touch it.
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_else(|_| {
        tracing::error!(method, "a handler panicked");
        Err(status::panicked())
    })
}

/// Work that goes on in a task of its own where whoever waits for it goes away.
struct ToItsEnd<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: TaskTracker,
}

impl<T: Send + 'static> ToItsEnd<T> {
    fn new(work: impl Future<Output = T> + Send + 'static, tasks: TaskTracker) -> Self {
        ToItsEnd {
            work: Some(Box::pin(work)),
            tasks,
        }
    }
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what panics is not polled again.
        let Some(mut work) = self.work.take() else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and nothing can go on.
        if let (Some(work), Ok(_)) = (self.work.take(), Handle::try_current()) {
            self.tasks.spawn(async move { drop(work.await) });
        }
    }
}

macro_rules! audited {
    ($($method:ident $name:literal: $request:ident -> $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl<A: AdminService> AdminService for Audited<A> {
            $(
                async fn $method(
                    &self,
                    request: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    let run = |inner: Arc<A>, request| async move { inner.$method(request).await };
                    self.audited($name, request, run).await
                }
            )*
        }
    };
}

audited! {
    create_account "CreateAccount": CreateAccountRequest -> CreateAccountResponse,
    get_account "GetAccount": GetAccountRequest -> GetAccountResponse,
    list_accounts "ListAccounts": ListAccountsRequest -> ListAccountsResponse,
    set_account_status "SetAccountStatus": SetAccountStatusRequest -> SetAccountStatusResponse,
    change_plan "ChangePlan": ChangePlanRequest -> ChangePlanResponse,
    grant_credits "GrantCredits": GrantCreditsRequest -> GrantCreditsResponse,
    void_grant "VoidGrant": VoidGrantRequest -> VoidGrantResponse,
    refund "Refund": RefundRequest -> RefundResponse,
    list_entries "ListEntries": ListEntriesRequest -> ListEntriesResponse,
    get_conversation "GetConversation": GetConversationRequest -> GetConversationResponse,
    get_catalog "GetCatalog": GetCatalogRequest -> GetCatalogResponse,
    list_audit "ListAudit": ListAuditRequest -> ListAuditResponse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_has_ended_like_any_other() {
        let ended = caught("X", async { panic!("!") as Result<(), Status> }).await;
        assert_eq!(ended.unwrap_err().code(), Code::Internal);
        assert_eq!(caught("X", async { Ok(7) }).await.unwrap(), 7);
    }
}
