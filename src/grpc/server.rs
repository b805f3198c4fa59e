//! Serves what is bound: accepts connections, and at the end lets them finish.
//!
//! Every connection is a task of its own and every call on it another, so that none that fails
//! takes others along. Connections are HTTP/2 from their first byte; whatever else arrives is
//! closed.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    Services,
    admin_service::AdminApi,
    call::Traffic,
    convert::Limits,
    core::Core,
    health::Health,
    listen::Sockets,
    quota_service::QuotaApi,
    router::{Endpoint, Router},
};
use crate::{
    config::GrpcConfig,
    pb::{admin_service_server::AdminService, quota_service_server::QuotaService},
    telemetry::{Metrics, Observer},
};

/// The most connections at once; those beyond wait until one is closed.
const CONNECTIONS_MAX: usize = 16_384;
/// The pause after a connection that could not be accepted, e.g. for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a silent connection is asked whether it is still there, and how long it may take.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The largest header list of a request, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// A server that runs. Dropping it cuts every connection that is still open.
#[derive(Debug)]
pub struct Server {
    health: Health,
    tasks: TaskTracker,
    _cut: DropGuard,
}

impl Server {
    /// Serves until `stop`; then it says so to whoever asks for its health, stops accepting, and
    /// lets the calls in progress finish.
    pub fn start(
        sockets: Sockets,
        services: Services,
        config: &GrpcConfig,
        stop: CancellationToken,
    ) -> Server {
        let limits = Limits {
            ttl_min_ms: services.reserve.ttl_min_ms,
            ttl_max_ms: services.reserve.ttl_max_ms,
        };
        let observer = services.observer;
        let core = Core {
            enforcer: services.enforcer,
            metrics: Arc::clone(&observer.metrics),
            account_ids: observer.account_ids,
            limits,
        };
        let quota = services.gateway.then(|| QuotaApi::new(core.clone()));
        let admin = services.admin.then(|| AdminApi::new(core));
        Server::start_with(sockets, (quota, admin), observer, config, stop)
    }

    /// The same over any implementation of the services, so that a benchmark can serve one that
    /// does nothing.
    pub fn start_with<Q: QuotaService, A: AdminService>(
        sockets: Sockets,
        (quota, admin): (Option<Q>, Option<A>),
        observer: Observer,
        config: &GrpcConfig,
        stop: CancellationToken,
    ) -> Server {
        let health = Health::default();
        let metrics = Arc::clone(&observer.metrics);
        let traffic = Arc::new(Traffic::new(config, observer));
        let cut = CancellationToken::new();
        let tasks = TaskTracker::new();
        let acceptor = Acceptor {
            router: Arc::new(Router::new(quota, admin, health.clone(), traffic)),
            http2: http2_settings(config),
            metrics,
            tasks: tasks.clone(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            stop: stop.clone(),
            cut: cut.clone(),
        };
        let Sockets { tcp, unix, .. } = sockets;
        if let Some(socket) = unix {
            let acceptor = acceptor.clone();
            tasks.spawn(async move {
                acceptor.accept(socket.listener).await;
                drop(socket.file);
            });
        }
        tasks.spawn(async move { acceptor.accept(tcp).await });
        let stopped = health.clone();
        tasks.spawn(async move {
            stop.cancelled().await;
            stopped.stop();
        });
        tasks.close();
        health.set_serving(true);
        Server {
            health,
            tasks,
            _cut: cut.drop_guard(),
        }
    }

    /// What the health service says; serving from the start.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Returns once the server was told to stop and its last call is finished. Whoever does not
    /// want to wait that long drops this, which cuts what is left.
    pub async fn stopped(self) {
        self.tasks.wait().await;
    }
}

fn http2_settings(config: &GrpcConfig) -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.calls_per_connection_max)
        // Callers that give up before their call is looked at are impatient, not hostile.
        .max_pending_accept_reset_streams(usize::try_from(config.calls_per_connection_max).ok())
        .max_header_list_size(HEADER_BYTES_MAX)
        .auto_date_header(false)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    settings
}

/// Makes connections of what arrives.
struct Acceptor<Q, A> {
    router: Arc<Router<Q, A>>,
    http2: http2::Builder<TokioExecutor>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    /// Stops accepting, and asks every connection to finish.
    stop: CancellationToken,
    /// Ends every connection.
    cut: CancellationToken,
}

impl<Q, A> Clone for Acceptor<Q, A> {
    fn clone(&self) -> Self {
        Acceptor {
            router: Arc::clone(&self.router),
            http2: self.http2.clone(),
            metrics: Arc::clone(&self.metrics),
            tasks: self.tasks.clone(),
            places: Arc::clone(&self.places),
            stop: self.stop.clone(),
            cut: self.cut.clone(),
        }
    }
}

impl<Q: QuotaService, A: AdminService> Acceptor<Q, A> {
    /// Accepts connections until the stop, and then closes the listener.
    async fn accept<L: Listener>(&self, listener: L) {
        loop {
            let next = async {
                // The semaphore is never closed.
                let place = Arc::clone(&self.places).acquire_owned().await.ok();
                (place, listener.next().await)
            };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            match accepted {
                Ok(io) => {
                    let connection = self.connection(io);
                    let counted = self.metrics.connected(L::NAME);
                    self.tasks.spawn(async move {
                        connection.await;
                        drop((place, counted));
                    });
                }
                Err(error) => {
                    self.metrics.accept_error(L::NAME);
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// One connection, to its end.
    fn connection<I>(&self, io: I) -> impl Future<Output = ()> + Send + use<I, Q, A>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let endpoint = Endpoint(Arc::clone(&self.router));
        let connection = self.http2.serve_connection(TokioIo::new(io), endpoint);
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = cut.cancelled() => return,
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

/// What connections come from.
trait Listener: Send + Sync + 'static {
    /// As the metrics call it.
    const NAME: &'static str;
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Listener for TcpListener {
    const NAME: &'static str = "tcp";
    type Io = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Otherwise an answer may wait tens of milliseconds for the packet before it.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for UnixListener {
    const NAME: &'static str = "unix";
    type Io = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}
