//! The composition root: opens the stores, restores the state, starts the workers, serves, drains.
//! It is the one place that knows every part; no part knows it.

mod data_dir;
mod error;
mod hot;
mod ledger;
mod parts;
pub mod restore;
mod roster;
mod security;
mod settling;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{
    data_dir::DataDir,
    parts::Parts,
    settling::{CHECK_SETTLING, Settling},
};
pub use self::{error::StartError, hot::redis_options, ledger::postgres_options};
use crate::{
    catalogs::{self, watch::WatchGuard},
    clock::Clock,
    config::{Config, LedgerUrl, Role},
    enforcer::Enforcer,
    grpc,
    http::{self, Readiness},
    ledger::{Ledger, LedgerFault, redo},
    telemetry::{Exporter, Metrics, Observer},
    workers::{self, Caught, Worker, reloader, settler::Settler, shares::Sharer},
};

/// How often it is looked whether what this process depends on is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How often what is left in the outbox is tried again while shutting down.
const FLUSH_RETRY: Duration = Duration::from_millis(50);

/// How long the last spans and metrics may take to reach the collector while shutting down.
const EXPORT_DRAIN: Duration = Duration::from_secs(3);

/// The name of the readiness check for the stores.
const CHECK_STORES: &str = "stores";
/// The name of the readiness check for the catalogue, where that is published by others.
const CHECK_CATALOG: &str = "catalog";
/// The name of the readiness check for the ledger, where nothing can be done without it.
const CHECK_LEDGER: &str = "ledger";
/// The name of the readiness check for serving.
const CHECK_SERVING: &str = "serving";

/// A sidecar that runs.
pub struct Running {
    /// Where gRPC listens.
    pub grpc_addr: SocketAddr,
    /// Where AdminService listens, where it has an address of its own.
    pub admin_addr: Option<SocketAddr>,
    /// Where HTTP listens.
    pub http_addr: SocketAddr,
    /// Where the Unix socket is.
    pub unix_socket: Option<PathBuf>,
    /// What was restored into memory; `None`: the hot store keeps its own.
    pub restored: Option<restore::Restored>,
    /// The parts, for whoever runs in the same process.
    pub enforcer: Arc<Enforcer>,
    /// The ledger; `None`: this process has none.
    pub ledger: Option<Arc<dyn Ledger>>,
    settler: Option<Arc<Settler>>,
    /// Cancelled when the settler's thread ends, where it has one.
    settler_ended: CancellationToken,
    sharer: Option<Arc<Sharer>>,
    opened: Option<ledger::Opened>,
    is_shared: bool,
    readiness: Arc<Readiness>,
    server: grpc::Server,
    serving: CancellationToken,
    working: CancellationToken,
    tasks: TaskTracker,
    drain_timeout: Duration,
    exporter: Option<Exporter>,
    _watch: Option<WatchGuard>,
    /// Ends the workers with this.
    _works: DropGuard,
    _data_dir: Option<DataDir>,
}

/// Starts a sidecar. When this returns it answers; when it fails nothing is left behind.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    hot::check_url(&config)?;
    ledger::check_url(&config)?;
    if let (Some(_), Some(path)) = (&config.ledger, &config.catalog) {
        reloader::read(path).await?;
    }
    let security = security::open(&config)?;
    let sockets = bind_grpc(&config).await?;
    let http_listener = bind_http(&config).await?;
    // After all that can be wrong without it: a folder that is made stays.
    let data_dir = lock_data_dir(&config)?;
    let internal = |error: prometheus::Error| StartError::Internal(error.into());
    let metrics = Arc::new(Metrics::with_clock(Arc::clone(&clock)).map_err(internal)?);
    let exporter = Exporter::start(&config.telemetry, &metrics, &clock)?;
    let readiness = Arc::new(Readiness::new(checks(&config)));
    let tasks = TaskTracker::new();
    let (serving, working) = (CancellationToken::new(), CancellationToken::new());
    let works = working.clone().drop_guard();
    // From now on: what is opened may take minutes, and whoever watches must not take it for dead.
    let http_addr = spawn_http(&tasks, http_listener, &readiness, &metrics, &working)?;
    let parts = parts::open(&config, clock, metrics).await?;
    let changed = Arc::new(Notify::new());
    let watch = watch_catalog(&config, &changed)?;
    let mut roster = roster::roster(&parts, &config, changed);
    roster.workers.extend(probes(&parts, &config, &readiness));
    roster
        .workers
        .extend(security.workers(&config, &parts.metrics));
    let (grpc_addr, admin_addr) = (sockets.tcp_addr(), sockets.admin_addr());
    let observer = observer(&parts, &config, exporter.as_ref());
    let guard = security.of_server(&config);
    let server = serve_grpc(sockets, &parts, (observer, guard), &config, &serving);
    for (worker, interval) in roster.workers {
        let metrics = Arc::clone(&parts.metrics);
        let worker = Arc::new(Caught(worker));
        tasks.spawn(workers::run(worker, interval, metrics, working.clone()));
    }
    let settler_ended = match &roster.settler {
        Some(settler) => run_settler(settler, (&parts, &config), &readiness, &tasks, &working)?,
        None => CancellationToken::new(),
    };
    readiness.set(CHECK_SERVING, true, "yes");
    let health = server.health().clone();
    health.set_serving(readiness.is_ready());
    tasks.spawn(tell_health(Arc::clone(&readiness), health, working.clone()));
    Ok(Running {
        grpc_addr,
        admin_addr,
        http_addr,
        unix_socket: config.grpc.unix_socket.clone(),
        restored: parts.restored,
        enforcer: parts.enforcer,
        ledger: parts.books.as_ref().map(|books| Arc::clone(&books.ledger)),
        settler: roster.settler,
        settler_ended,
        sharer: roster.sharer,
        opened: parts.books.map(|books| books.opened),
        is_shared: parts.opened_hot.is_shared(),
        readiness,
        server,
        serving,
        _works: works,
        working,
        tasks,
        drain_timeout: Duration::from_millis(config.drain_timeout_ms),
        exporter,
        _watch: watch,
        _data_dir: data_dir,
    })
}

/// The data folder, for this process alone, where its ledger is a file.
fn lock_data_dir(config: &Config) -> Result<Option<DataDir>, StartError> {
    match &config.ledger {
        Some(LedgerUrl::Sqlite(_)) => DataDir::lock(&config.data_dir).map(Some),
        Some(LedgerUrl::Postgres(_)) | None => Ok(None),
    }
}

/// Runs the settler, watched where answers wait for it. What is answered is cancelled when its
/// thread ends, where it has one.
fn run_settler(
    settler: &Arc<Settler>,
    (parts, config): (&Parts, &Config),
    readiness: &Arc<Readiness>,
    tasks: &TaskTracker,
    working: &CancellationToken,
) -> Result<CancellationToken, StartError> {
    let mut worker = Arc::clone(settler) as Arc<dyn Worker>;
    if settling::is_waited_for(config) {
        let (clock, readiness) = (Arc::clone(&parts.clock), Arc::clone(readiness));
        // Answers may wait for less than a second try takes.
        let patience = parts::ack_timeout(config).max(PROBE_INTERVAL);
        let watched = Arc::new(Settling::new(worker, clock, readiness, patience));
        let probe = Arc::new(settling::Probe(Arc::clone(&watched)));
        let metrics = Arc::clone(&parts.metrics);
        tasks.spawn(workers::run(
            probe,
            PROBE_INTERVAL,
            metrics,
            working.clone(),
        ));
        worker = watched;
    }
    settling::run(worker, config, &parts.metrics, tasks, working)
}

/// What must be well for this process to be ready. A gateway does not depend on the ledger, which
/// it answers without, unless its answers wait for what this very process settles.
fn checks(config: &Config) -> Vec<&'static str> {
    let mut checks = vec![CHECK_STORES, CHECK_SERVING];
    if config.ledger.is_none() {
        checks.push(CHECK_CATALOG);
    }
    if !config.roles.has(Role::Gateway) {
        checks.push(CHECK_LEDGER);
    }
    if settling::is_waited_for(config) {
        checks.push(CHECK_SETTLING);
    }
    checks
}

/// Who looks whether it is well.
fn probes(
    parts: &Parts,
    config: &Config,
    readiness: &Arc<Readiness>,
) -> Vec<(Arc<dyn Worker>, Duration)> {
    let tally = hot::Tally::new(parts.opened_hot.clone(), Arc::clone(&parts.metrics));
    let mut probes: Vec<(Arc<dyn Worker>, Duration)> = vec![(Arc::new(tally), PROBE_INTERVAL)];
    if let Some(probe) = parts.opened_hot.probe(&parts.hot, readiness) {
        probes.push((probe, PROBE_INTERVAL));
    }
    if config.ledger.is_none() {
        let catalogs = Arc::clone(&parts.catalogs);
        let probe = hot::CatalogProbe::new(catalogs, Arc::clone(readiness));
        probes.push((Arc::new(probe) as _, PROBE_INTERVAL));
    }
    if let Some(books) = &parts.books
        && !config.roles.has(Role::Gateway)
    {
        let ledger = Arc::clone(&books.ledger);
        let probe = ledger::Probe::new(ledger, Arc::clone(readiness));
        probes.push((Arc::new(probe) as _, PROBE_INTERVAL));
    }
    probes
}

fn spawn_http(
    tasks: &TaskTracker,
    listener: TcpListener,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<SocketAddr, StartError> {
    let address = listener.local_addr();
    let parts = || (Arc::clone(readiness), Arc::clone(metrics), stop.clone());
    let (shown, counted, stopped) = parts();
    tasks.spawn(http::publish(shown, counted, stopped));
    let (shown, counted, stopped) = parts();
    tasks.spawn(http::serve(listener, shown, counted, stopped));
    address.map_err(|error| StartError::Internal(error.into()))
}

/// Who sees the calls, as the configuration wants it.
fn observer(parts: &Parts, config: &Config, exporter: Option<&Exporter>) -> Observer {
    let slow_call_ms = config.log.slow_call_ms;
    Observer {
        tracer: exporter.map(|exporter| exporter.tracer.clone()),
        slow_call: (slow_call_ms > 0).then(|| Duration::from_millis(slow_call_ms)),
        account_ids: config.log.account_ids,
        ..Observer::new(Arc::clone(&parts.metrics), Arc::clone(&parts.clock))
    }
}

/// Says over gRPC what `/readyz` says over HTTP.
async fn tell_health(readiness: Arc<Readiness>, health: grpc::Health, stop: CancellationToken) {
    let mut checks = readiness.subscribe();
    loop {
        health.set_serving(readiness.is_ready());
        tokio::select! {
            () = stop.cancelled() => return,
            changed = checks.changed() => if changed.is_err() { return },
        }
    }
}

fn watch_catalog(config: &Config, changed: &Arc<Notify>) -> Result<Option<WatchGuard>, StartError> {
    let watch = |path| catalogs::watch::watch(path, Arc::clone(changed));
    let watched = config.catalog.as_deref().map(watch).transpose();
    watched.map_err(|error| StartError::Internal(error.into()))
}

fn serve_grpc(
    sockets: grpc::Sockets,
    parts: &Parts,
    (observer, security): (Observer, grpc::Security),
    config: &Config,
    serving: &CancellationToken,
) -> grpc::Server {
    let clerk = parts.books.as_ref().map(|books| Arc::clone(&books.clerk));
    let services = grpc::Services {
        enforcer: Arc::clone(&parts.enforcer),
        observer,
        reserve: config.reserve.clone(),
        security,
        gateway: config.roles.has(Role::Gateway),
        admin: clerk.filter(|_| config.roles.has(Role::Admin)),
    };
    grpc::Server::start(sockets, services, &config.grpc, serving.clone())
}

async fn bind_grpc(config: &Config) -> Result<grpc::Sockets, StartError> {
    let sockets = grpc::Sockets::bind(&config.grpc).await;
    let sockets = sockets.map_err(StartError::Bind)?;
    let sockets = sockets.and_admin(&config.grpc, &config.admin).await;
    sockets.map_err(StartError::Bind)
}

async fn bind_http(config: &Config) -> Result<TcpListener, StartError> {
    let address = config.http.listen;
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::BindHttp { address, source })
}

/// How a sidecar stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Every call was finished; otherwise the last ones were cut at the deadline.
    pub drained: bool,
    /// The ledger has everything; otherwise what was not answered yet is lost with the process.
    pub flushed: bool,
}

impl Running {
    /// Waits for a thread to end without which nothing is settled, and answers its name. They run
    /// until [`Running::stop`], so it has panicked: what is left to do is to stop, and to start anew.
    pub async fn broken(&self) -> &'static str {
        let writer_ended = async {
            match &self.opened {
                Some(opened) => opened.writer_ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.settler_ended.cancelled() => settling::THREAD,
            () = writer_ended => redo::WRITER_THREAD,
        }
    }

    /// Stops: not serving, no new calls, open calls finish or are cut once `cut` is cancelled,
    /// everything is flushed. Each of the two takes at most the drain's time: a peer that hangs must
    /// not cost the flush.
    pub async fn stop(self, cut: &CancellationToken) -> Stopped {
        self.readiness.set(CHECK_SERVING, false, "shutting down");
        self.serving.cancel();
        let calls = tokio::time::timeout(self.drain_timeout, self.server.stopped());
        let drained = tokio::select! {
            finished = calls => finished.is_ok(),
            () = cut.cancelled() => false,
        };
        let flush = flush(self.settler, self.opened, self.is_shared);
        let flushed = tokio::time::timeout(self.drain_timeout, flush);
        let flushed = flushed.await.is_ok_and(|closed| closed.is_ok());
        self.working.cancel();
        self.tasks.close();
        // What is left are loops between two steps; none of them holds anything.
        let _ = tokio::time::timeout(self.drain_timeout, self.tasks.wait()).await;
        if let Some(sharer) = &self.sharer {
            sharer.leave().await;
        }
        // A collector that is not there must not hold up the end.
        if let Some(exporter) = self.exporter
            && !exporter.stop(EXPORT_DRAIN.min(self.drain_timeout)).await
        {
            tracing::warn!("the collector did not take the last spans and metrics in time");
        }
        Stopped { drained, flushed }
    }
}

/// Writes what is left, and closes the ledger.
async fn flush(
    settler: Option<Arc<Settler>>,
    opened: Option<ledger::Opened>,
    is_shared: bool,
) -> Result<(), LedgerFault> {
    if let Some(settler) = settler {
        let settler = Caught(settler);
        loop {
            match settler.step().await {
                Ok(workers::Progress::Done | workers::Progress::Resting) => break,
                Ok(workers::Progress::More) => {}
                // What a shared store keeps any other process settles, or the next one.
                Err(_) if is_shared => break,
                Err(_) => tokio::time::sleep(FLUSH_RETRY).await,
            }
        }
    }
    match opened {
        Some(opened) => opened.close().await,
        None => Ok(()),
    }
}
