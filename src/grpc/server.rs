//! Serves what is bound: accepts connections, and at the end lets them finish.
//!
//! Every connection is a task of its own and every call on it another, so that none that fails
//! takes others along. Connections are HTTP/2 from their first byte, within TLS where there is
//! any; whatever else arrives is closed. How long one lives is bounded, so that callers spread
//! over the processes that there are and old certificates do not stay for ever.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, oneshot},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    Services,
    admin_service::AdminApi,
    audit::{AuditLog, Audited},
    call::Traffic,
    connection::{Bounds, PREFACE_WAIT, PREFACE_WAIT_AT_STOP, Wire, over},
    convert::Limits,
    core::Core,
    gate::Gate,
    health::Health,
    listen::{AdminSockets, Sockets, UnixSocket},
    peer::Peer,
    quota_service::QuotaApi,
    router::{Endpoint, Router},
    security::{Handshakes, Security, Turned},
};
use crate::{
    config::GrpcConfig,
    gathered::Gathered,
    pb::{admin_service_server::AdminService, quota_service_server::QuotaService},
    telemetry::{Metrics, Observer},
};

/// The pause after a connection that could not be accepted, e.g. for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a silent connection is asked whether it is still there, and how long it may take.
const KEEPALIVE: Duration = Duration::from_secs(20);
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
        let tasks = TaskTracker::new();
        let quota = services.gateway.then(|| QuotaApi::new(core.clone()));
        let log = services.admin.as_ref().map(|clerk| {
            let ledger = Arc::clone(clerk.ledger());
            AuditLog::start(ledger, &observer.clock, &observer.metrics)
        });
        let admin = services
            .admin
            .zip(log.clone())
            .map(|(clerk, log)| Audited::new(AdminApi::new(core, clerk), log, tasks.clone()));
        let parts = Parts {
            quota,
            admin,
            log,
            security: services.security,
            observer,
            tasks,
        };
        parts.serve(sockets, config, stop)
    }

    /// The same over any implementation of the services, so that a benchmark can serve one that
    /// does nothing. Nobody is kept out, and nothing is written to an audit log.
    pub fn start_with<Q: QuotaService, A: AdminService>(
        sockets: Sockets,
        (quota, admin): (Option<Q>, Option<A>),
        observer: Observer,
        config: &GrpcConfig,
        stop: CancellationToken,
    ) -> Server {
        let parts = Parts {
            quota,
            admin,
            log: None,
            security: Security::default(),
            observer,
            tasks: TaskTracker::new(),
        };
        parts.serve(sockets, config, stop)
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

/// Everything that a server is made of.
struct Parts<Q, A> {
    quota: Option<Q>,
    admin: Option<A>,
    log: Option<Arc<AuditLog>>,
    security: Security,
    observer: Observer,
    tasks: TaskTracker,
}

impl<Q: QuotaService, A: AdminService> Parts<Q, A> {
    fn serve(self, sockets: Sockets, config: &GrpcConfig, stop: CancellationToken) -> Server {
        let health = Health::default();
        let (cut, tasks) = (CancellationToken::new(), self.tasks);
        let metrics = Arc::clone(&self.observer.metrics);
        let traffic = Traffic::new(config, self.observer);
        let gate = Arc::new(Gate::new(self.security.access));
        let shared = (Arc::new(traffic), gate, self.log);
        let acceptor = |quota, admin| Acceptor {
            router: Arc::new(Router::new(quota, admin, health.clone(), shared.clone())),
            http2: http2_settings(config),
            tls: self.security.tls.clone(),
            bounds: Bounds::new(config),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            stop: stop.clone(),
            cut: cut.clone(),
        };
        let Sockets {
            tcp, unix, admin, ..
        } = sockets;
        let main = match admin {
            None => acceptor(self.quota, self.admin),
            Some(AdminSockets { tcp, unix }) => {
                let apart = acceptor(None, self.admin);
                apart.listen(tcp.map(|(listener, _)| listener), unix);
                acceptor(self.quota, None)
            }
        };
        main.listen(Some(tcp), unix);
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
}

fn http2_settings(config: &GrpcConfig) -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.calls_per_connection_max)
        // Callers that give up before their call is looked at are impatient, not hostile.
        .max_pending_accept_reset_streams(usize::try_from(config.calls_per_connection_max).ok())
        .max_header_list_size(config.max_header_bytes)
        .auto_date_header(false)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    settings
}

/// Makes connections of what arrives.
struct Acceptor<Q, A> {
    router: Arc<Router<Q, A>>,
    http2: http2::Builder<TokioExecutor>,
    /// For TCP.
    tls: Option<Handshakes>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
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
            tls: self.tls.clone(),
            bounds: self.bounds.clone(),
            metrics: Arc::clone(&self.metrics),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
            cut: self.cut.clone(),
        }
    }
}

impl<Q: QuotaService, A: AdminService> Acceptor<Q, A> {
    /// Serves listeners, in tasks of their own.
    fn listen(self, tcp: Option<TcpListener>, unix: Option<UnixSocket>) {
        if let Some(socket) = unix {
            let acceptor = self.clone();
            self.tasks.spawn(async move {
                acceptor.accept(socket.listener).await;
                drop(socket.file);
            });
        }
        if let Some(listener) = tcp {
            let tasks = self.tasks.clone();
            tasks.spawn(async move { self.accept(listener).await });
        }
    }

    /// Accepts connections until the stop, and then closes the listener.
    async fn accept<L: Listener>(&self, listener: L) {
        let places = Arc::new(Semaphore::new(self.bounds.connections_max));
        loop {
            let next = async {
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (place, listener.next().await)
            };
            let (place, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            match accepted {
                Ok(io) => {
                    let acceptor = self.clone();
                    let counted = self.metrics.connected(L::NAME);
                    self.tasks.spawn(async move {
                        let ended = L::connect(&acceptor, io).await;
                        if let Err(turned) = ended {
                            acceptor.metrics.connection_refused(turned.reason());
                        }
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
    async fn serve<I>(&self, io: I, peer: Peer) -> Result<(), Turned>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let endpoint = Endpoint(Arc::clone(&self.router), Arc::new(peer));
        let (tell, begun) = oneshot::channel();
        let io = TokioIo::new(Wire::new(io, tell));
        let connection = self.http2.serve_connection(io, endpoint);
        let mut connection = pin!(connection);
        let calls = || self.metrics.calls_in_progress();
        tokio::select! {
            ended = connection.as_mut() => {
                over(ended);
                return Ok(());
            }
            _ = begun => {}
            () = self.cut.cancelled() => return Ok(()),
            () = self.stopped_waiting() => return Ok(()),
            () = tokio::time::sleep(PREFACE_WAIT) => return Err(Turned::PrefaceTimeout),
        }
        let grace = tokio::select! {
            ended = Gathered::new(connection.as_mut(), calls) => {
                over(ended);
                return Ok(());
            }
            () = self.cut.cancelled() => return Ok(()),
            () = self.stop.cancelled() => None,
            () = self.bounds.old() => Some(self.bounds.age_grace),
        };
        connection.as_mut().graceful_shutdown();
        let too_late = async {
            match grace {
                Some(grace) => tokio::time::sleep(grace).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = Gathered::new(connection, calls) => over(ended),
            () = self.cut.cancelled() => {}
            () = too_late => tracing::debug!("an old connection was cut"),
        }
        Ok(())
    }

    /// Returns where the server stops and nothing more can come of a connection that has not begun.
    async fn stopped_waiting(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(PREFACE_WAIT_AT_STOP).await;
    }
}

/// What connections come from.
trait Listener: Send + Sync + 'static {
    /// As the metrics call it.
    const NAME: &'static str;
    type Io: Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Serves one connection to its end, or says why it is not taken.
    fn connect<Q: QuotaService, A: AdminService>(
        acceptor: &Acceptor<Q, A>,
        io: Self::Io,
    ) -> impl Future<Output = Result<(), Turned>> + Send;
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

    async fn connect<Q: QuotaService, A: AdminService>(
        acceptor: &Acceptor<Q, A>,
        io: TcpStream,
    ) -> Result<(), Turned> {
        let peer = Peer::of_tcp(&io);
        let Some(handshakes) = &acceptor.tls else {
            return acceptor.serve(io, peer).await;
        };
        let (stream, peer) = tokio::select! {
            shaken = handshakes.shake(io, peer) => shaken?,
            () = acceptor.stop.cancelled() => return Ok(()),
        };
        acceptor.serve(stream, peer).await
    }
}

impl Listener for UnixListener {
    const NAME: &'static str = "unix";
    type Io = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }

    async fn connect<Q: QuotaService, A: AdminService>(
        acceptor: &Acceptor<Q, A>,
        io: UnixStream,
    ) -> Result<(), Turned> {
        let peer = Peer::of_unix(&io);
        let (uid, gid) = peer.credentials.unix.ok_or(Turned::Peer)?;
        if !acceptor.bounds.unix_peers.admit(uid, gid) {
            tracing::debug!(%peer, "a process that may not connect");
            return Err(Turned::Peer);
        }
        acceptor.serve(io, peer).await
    }
}
