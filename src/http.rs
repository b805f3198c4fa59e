//! The HTTP port: `/healthz`, `/readyz` and `/metrics`. It changes nothing, and shows no account; of
//! the configuration it shows which store does not answer.
//!
//! Whoever reaches it must not keep others from it, nor from gRPC: what a silent client holds is
//! bounded, and the newest connection is always served.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::{Format, Metrics};

/// How long open requests may take to finish after the stop.
const DRAIN: Duration = Duration::from_secs(1);
/// The most connections at once: one more, and the oldest is cut.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may take to ask, the first time and between two requests: longer than it is
/// from one scrape to the next, mostly.
const ASK_TIMEOUT: Duration = Duration::from_secs(75);
/// The pause after a connection that could not be accepted, e.g. for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answered to every other path.
const NO_SUCH_PATH: &str = "no such path; there are /healthz, /readyz and /metrics\n";

/// What one part of the process says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it can do its work.
    pub ok: bool,
    /// Why, in one line.
    pub why: String,
}

/// Whether this process can serve: it can where every part of it can. Shared by those who set
/// it, the HTTP port and the gRPC health service.
#[derive(Debug)]
pub struct Readiness {
    checks: watch::Sender<BTreeMap<&'static str, Check>>,
}

impl Readiness {
    /// Not ready until each of `components` has said that it is.
    pub fn new(components: impl IntoIterator<Item = &'static str>) -> Self {
        let starting = |name| {
            (
                name,
                Check {
                    ok: false,
                    why: "starting".to_owned(),
                },
            )
        };
        let checks = components.into_iter().map(starting).collect();
        Readiness {
            checks: watch::Sender::new(checks),
        }
    }

    /// What a part says about itself now. A part that was not announced is added.
    pub fn set(&self, component: &'static str, ok: bool, why: impl Into<String>) {
        let check = Check {
            ok,
            why: why.into(),
        };
        self.checks.send_if_modified(|checks| {
            if checks.get(component) == Some(&check) {
                return false;
            }
            checks.insert(component, check);
            true
        });
    }

    /// Whether every part can do its work.
    pub fn is_ready(&self) -> bool {
        self.checks.borrow().values().all(|check| check.ok)
    }

    /// Resolves whenever a part says something new.
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<&'static str, Check>> {
        self.checks.subscribe()
    }

    /// A line for each part.
    fn report(&self) -> String {
        let mut text = String::new();
        for (component, check) in self.checks.borrow().iter() {
            let word = if check.ok { "ok" } else { "not ready" };
            // Writing to a string can't fail.
            let _ = writeln!(text, "{component}: {word}: {}", check.why);
        }
        text
    }
}

/// The routes, without a port.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(show_metrics).with_state(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, NO_SUCH_PATH) })
}

/// Tells the metrics what the parts say of themselves, until `stop`.
pub async fn publish(readiness: Arc<Readiness>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut checks = readiness.subscribe();
    loop {
        for (name, check) in checks.borrow_and_update().iter() {
            metrics.set_ready(name, check.ok);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = checks.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Serves until `stop`, and then a second longer at most.
pub async fn serve(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    serve_and_drain(listener, router(readiness, metrics), stop, DRAIN).await;
}

async fn serve_and_drain(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    drain: Duration,
) {
    let tasks = TaskTracker::new();
    // Oldest first.
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the HTTP port could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS_MAX
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let served = serve_one(stream, router.clone(), stop.clone());
        connections.push_back(tasks.spawn(served).abort_handle());
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        connections.iter().for_each(AbortHandle::abort);
    }
}

/// One connection, to its end.
async fn serve_one(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(ASK_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the HTTP port ended early");
    }
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    let status = match readiness.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, readiness.report()).into_response()
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
    let format = Format::accepted(accepted.unwrap_or_default());
    match metrics.render_as(format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.media_type())], text).into_response(),
        Err(error) => {
            let text = format!("the metrics can't be shown: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::ServiceExt;

    use super::*;

    async fn get(readiness: &Arc<Readiness>, path: &str) -> (StatusCode, String) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(readiness.clone(), metrics)
            .oneshot(request)
            .await
            .unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn alive_is_not_ready() {
        let readiness = Arc::new(Readiness::new(["ledger", "hot"]));
        let mut changes = readiness.subscribe();
        assert_eq!(
            get(&readiness, "/healthz").await,
            (StatusCode::OK, "ok\n".to_owned())
        );
        let (status, text) = get(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            text,
            "hot: not ready: starting\nledger: not ready: starting\n"
        );

        readiness.set("hot", true, "memory:");
        assert!(!readiness.is_ready());
        readiness.set("ledger", true, "sqlite");
        assert!(readiness.is_ready());
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        readiness.set("ledger", true, "sqlite");
        assert!(!changes.has_changed().unwrap(), "nothing new was said");
        let (status, text) = get(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(text, "hot: ok: memory:\nledger: ok: sqlite\n");

        readiness.set("drain", false, "stopping");
        assert_eq!(
            get(&readiness, "/readyz").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[tokio::test]
    async fn metrics_are_shown_and_other_paths_name_what_there_is() {
        let readiness = Arc::new(Readiness::new([]));
        let (status, text) = get(&readiness, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("tollgate_build_info{rustc="), "{text}");
        let (status, text) = get(&readiness, "/metric").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(text, NO_SUCH_PATH);
    }

    /// A client that sends half a request and then nothing must not hold up the stop.
    #[tokio::test]
    async fn the_stop_waits_for_nobody_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new().unwrap());
        let readiness = Arc::new(Readiness::new([]));
        let router = router(readiness, metrics);
        let served = serve_and_drain(listener, router, stop.clone(), Duration::ZERO);
        let served = tokio::spawn(served);

        let mut whole = tokio::net::TcpStream::connect(address).await.unwrap();
        whole
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 15];
        whole.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        let mut half = tokio::net::TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET /hea").await.unwrap();

        stop.cancel();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn silent_connections_keep_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new().unwrap());
        let router = router(Arc::new(Readiness::new([])), metrics);
        tokio::spawn(serve_and_drain(listener, router, stop, Duration::ZERO));

        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            let mut half = TcpStream::connect(address).await.unwrap();
            half.write_all(b"GET /hea").await.unwrap();
            silent.push(half);
        }
        let mut asks = TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        asks.write_all(request).await.unwrap();
        let mut answer = String::new();
        asks.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        // The oldest one is cut, the newest one is not.
        let _ = silent[0].read_to_end(&mut Vec::new()).await;
        let newest = silent[2 * CONNECTIONS_MAX - 1].try_read(&mut [0]);
        assert_eq!(newest.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
