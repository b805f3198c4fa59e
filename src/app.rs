//! The composition root: opens the stores, restores the state, starts the workers, serves, drains.
//! It is the one place that knows every part; no part knows it.

mod data_dir;
mod error;
mod hot;
mod ledger;
pub mod restore;
mod security;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::data_dir::DataDir;
pub use self::{error::StartError, hot::redis_options, ledger::postgres_options};
use crate::{
    catalogs::{self, Catalogs, watch::WatchGuard},
    clock::Clock,
    config::{Config, LedgerUrl, RepairWhen, Role, SettleAck},
    enforcer::{Ack, Enforcer, EnforcerOptions, acks::Acks},
    grpc,
    hot::HotStore,
    http::{self, Readiness},
    ledger::Ledger,
    telemetry::{Exporter, Metrics, Observer},
    workers::{
        self, Worker,
        applier::Applier,
        partitioner::Partitioner,
        reconciler::Reconciler,
        reloader::{self, Reloader},
        renewer::Renewer,
        settler::Settler,
        sweeper::Sweeper,
    },
};

/// How often the applier looks for changes that nobody finished.
const APPLY_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether the next months' entries have a partition.
const PARTITION_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the catalogue's file is looked at without a sign that it changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(3600);
/// How often what is left in the outbox is tried again while shutting down.
const FLUSH_RETRY: Duration = Duration::from_millis(50);

/// How often a settlement asks the hot store before it waits for the ledger.
const STEPS_BEFORE_ACK: u64 = 2;
/// How long the last spans and metrics may take to reach the collector while shutting down.
const EXPORT_DRAIN: Duration = Duration::from_secs(3);

/// The name of the readiness check for the stores.
const CHECK_STORES: &str = "stores";
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
    settler: Arc<Settler>,
    opened: ledger::Opened,
    is_shared: bool,
    readiness: Arc<Readiness>,
    server: grpc::Server,
    serving: CancellationToken,
    working: CancellationToken,
    tasks: TaskTracker,
    drain_timeout: Duration,
    exporter: Option<Exporter>,
    _watch: Option<WatchGuard>,
    _data_dir: Option<DataDir>,
}

/// Everything that is open before anything is served.
struct Parts {
    hot: Arc<dyn HotStore>,
    ledger: Arc<dyn Ledger>,
    catalogs: Arc<Catalogs>,
    acks: Arc<Acks>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    enforcer: Arc<Enforcer>,
    opened: ledger::Opened,
    opened_hot: hot::Opened,
}

/// Starts a sidecar. When this returns it answers; when it fails nothing is left behind.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    hot::check_url(&config)?;
    ledger::check_url(&config)?;
    let data_dir = match &config.ledger {
        LedgerUrl::Sqlite(_) => Some(DataDir::lock(&config.data_dir)?),
        LedgerUrl::Postgres(_) => None,
    };
    let security = security::open(&config)?;
    let sockets = bind_grpc(&config).await?;
    let http_listener = bind_http(&config).await?;
    let internal = |error: prometheus::Error| StartError::Internal(error.into());
    let metrics = Arc::new(Metrics::with_clock(Arc::clone(&clock)).map_err(internal)?);
    let exporter = Exporter::start(&config.telemetry, &metrics, &clock)?;
    let (parts, restored) = open(&config, clock, metrics).await?;
    let changed = Arc::new(tokio::sync::Notify::new());
    let watch = watch_catalog(&config, &changed)?;
    let working = CancellationToken::new();
    let tasks = TaskTracker::new();
    let settler = Arc::new(settler(&parts, &config));
    if config.roles.has(Role::Settler) {
        for (worker, interval) in roster(&parts, &config, &settler, changed) {
            let metrics = Arc::clone(&parts.metrics);
            tasks.spawn(workers::run(worker, interval, metrics, working.clone()));
        }
    }
    let readiness = Arc::new(Readiness::new([CHECK_STORES, CHECK_SERVING]));
    let serving = CancellationToken::new();
    let (grpc_addr, admin_addr) = (sockets.tcp_addr(), sockets.admin_addr());
    let http_addr = http_listener
        .local_addr()
        .map_err(|error| StartError::Internal(error.into()))?;
    let unix_socket = config.grpc.unix_socket.clone();
    let observer = observer(&parts, &config, exporter.as_ref());
    let guard = security.of_server(&config);
    let server = serve_grpc(sockets, &parts, (observer, guard), &config, &serving);
    let metrics = &parts.metrics;
    spawn_http(&tasks, http_listener, &readiness, metrics, &working);
    for (worker, interval) in security.workers(&config, metrics) {
        tasks.spawn(workers::run(
            worker,
            interval,
            Arc::clone(metrics),
            working.clone(),
        ));
    }
    if let Some(probe) = parts.opened_hot.probe(&parts.hot, &readiness) {
        let metrics = Arc::clone(&parts.metrics);
        let (interval, stop) = (hot::PROBE_INTERVAL, working.clone());
        tasks.spawn(workers::run(probe, interval, metrics, stop));
    }
    readiness.set(CHECK_SERVING, true, "yes");
    Ok(Running {
        grpc_addr,
        admin_addr,
        http_addr,
        unix_socket,
        restored,
        enforcer: parts.enforcer,
        settler,
        opened: parts.opened,
        is_shared: parts.opened_hot.is_shared(),
        readiness,
        server,
        serving,
        working,
        tasks,
        drain_timeout: Duration::from_millis(config.drain_timeout_ms),
        exporter,
        _watch: watch,
        _data_dir: data_dir,
    })
}

fn spawn_http(
    tasks: &TaskTracker,
    listener: TcpListener,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) {
    let parts = || (Arc::clone(readiness), Arc::clone(metrics), stop.clone());
    let (shown, counted, stopped) = parts();
    tasks.spawn(http::publish(shown, counted, stopped));
    let (shown, counted, stopped) = parts();
    tasks.spawn(http::serve(listener, shown, counted, stopped));
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

fn watch_catalog(
    config: &Config,
    changed: &Arc<tokio::sync::Notify>,
) -> Result<Option<WatchGuard>, StartError> {
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
    let services = grpc::Services {
        enforcer: Arc::clone(&parts.enforcer),
        observer,
        reserve: config.reserve.clone(),
        security,
        gateway: config.roles.has(Role::Gateway),
        admin: config.roles.has(Role::Admin),
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

async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<(Parts, Option<restore::Restored>), StartError> {
    let opened = ledger::open(config, clock.as_ref()).await?;
    let ledger = opened.ledger(&metrics, &clock)?;
    let fixed = ledger.fix_shards(config.shards).await?;
    if fixed != config.shards {
        return Err(StartError::Shards {
            fixed,
            wanted: config.shards,
        });
    }
    let catalogs = Arc::new(open_catalogs(config, ledger.as_ref(), clock.as_ref()).await?);
    metrics.set_catalog_version(&catalogs.current().version);
    let (opened_hot, restored) = hot::open(config, &clock, &ledger).await?;
    let hot = opened_hot.store(&metrics, &clock);
    let acks = Arc::new(Acks::new(hot.shards()).timed_by(Arc::clone(&clock)));
    let options = EnforcerOptions {
        ack: match config.settle.ack {
            SettleAck::Hot => Ack::Hot,
            SettleAck::Ledger => Ack::Ledger,
        },
        ack_timeout: ack_timeout(config),
        default_ttl_ms: config.reserve.default_ttl_ms,
    };
    let enforcer = Arc::new(Enforcer::new(
        Arc::clone(&hot),
        Arc::clone(&ledger),
        Arc::clone(&catalogs),
        Arc::clone(&acks),
        options,
    ));
    let parts = Parts {
        hot,
        ledger,
        catalogs,
        acks,
        clock,
        metrics,
        enforcer,
        opened,
        opened_hot,
    };
    Ok((parts, restored))
}

/// How long a settlement waits for the ledger: not as long as its call may take, so that it still
/// says what it has waited for, and half of that at least.
fn ack_timeout(config: &Config) -> Duration {
    let whole = config.grpc.request_timeout_ms;
    let before = STEPS_BEFORE_ACK * config.redis.call_timeout_ms;
    Duration::from_millis(whole.saturating_sub(before).max(whole / 2))
}

/// The configured catalogue, and every version that ever priced anything.
async fn open_catalogs(
    config: &Config,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
) -> Result<Catalogs, StartError> {
    let current = match &config.catalog {
        Some(path) => reloader::load(path, ledger).await?,
        None => catalogs::builtin(),
    };
    reloader::keep(&current, ledger, clock).await?;
    let mut known = Vec::new();
    for stored in ledger.catalogs().await? {
        let version = stored.version;
        let catalog = catalogs::parse(&stored.yaml)
            .map_err(|problems| StartError::StoredCatalog { version, problems })?;
        known.push(catalog);
    }
    let reused = |error: catalogs::VersionReused| StartError::Internal(error.into());
    Catalogs::new(current, known).map_err(reused)
}

fn settler(parts: &Parts, config: &Config) -> Settler {
    Settler {
        hot: Arc::clone(&parts.hot),
        ledger: Arc::clone(&parts.ledger),
        enforcer: Arc::clone(&parts.enforcer),
        acks: Arc::clone(&parts.acks),
        clock: Arc::clone(&parts.clock),
        metrics: Arc::clone(&parts.metrics),
        batch_max: config.settle.batch_max,
    }
}

fn roster(
    parts: &Parts,
    config: &Config,
    settler: &Arc<Settler>,
    changed: Arc<tokio::sync::Notify>,
) -> Vec<(Arc<dyn Worker>, Duration)> {
    let sweeper = Sweeper {
        hot: Arc::clone(&parts.hot),
        metrics: Arc::clone(&parts.metrics),
        batch_max: config.sweep.batch_max,
        violations: AtomicU64::new(0),
        recovered: Default::default(),
    };
    let renewer = Renewer {
        ledger: Arc::clone(&parts.ledger),
        enforcer: Arc::clone(&parts.enforcer),
        clock: Arc::clone(&parts.clock),
        batch_max: config.renew.batch_max,
    };
    let applier = Applier {
        ledger: Arc::clone(&parts.ledger),
        enforcer: Arc::clone(&parts.enforcer),
    };
    let reconciler = Reconciler {
        hot: Arc::clone(&parts.hot),
        ledger: Arc::clone(&parts.ledger),
        metrics: Arc::clone(&parts.metrics),
        batch_max: config.reconcile.rounds.batch_max,
        repair: config.reconcile.repair == RepairWhen::Auto,
        place: Default::default(),
    };
    let mut roster: Vec<(Arc<dyn Worker>, Duration)> = vec![
        (
            Arc::clone(settler) as _,
            Duration::from_millis(config.settle.flush_interval_ms),
        ),
        (
            Arc::new(sweeper),
            Duration::from_millis(config.sweep.interval_ms),
        ),
        (
            Arc::new(renewer),
            Duration::from_millis(config.renew.interval_ms),
        ),
        (Arc::new(applier), APPLY_INTERVAL),
        (
            Arc::new(reconciler),
            Duration::from_millis(config.reconcile.rounds.interval_ms),
        ),
    ];
    if let ledger::Opened::Postgres(ledger) = &parts.opened {
        let partitioner = Partitioner {
            ledger: Arc::clone(ledger),
            clock: Arc::clone(&parts.clock),
        };
        roster.push((Arc::new(partitioner), PARTITION_INTERVAL));
    }
    if let Some(path) = &config.catalog {
        let reloader = Reloader {
            path: path.clone(),
            changed,
            catalogs: Arc::clone(&parts.catalogs),
            ledger: Arc::clone(&parts.ledger),
            clock: Arc::clone(&parts.clock),
            metrics: Arc::clone(&parts.metrics),
        };
        roster.push((Arc::new(reloader), RELOAD_INTERVAL));
    }
    roster
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
    /// Stops: not serving, no new calls, open calls finish, everything is flushed. Each of the
    /// two takes at most the drain's time: a peer that hangs must not cost the flush.
    pub async fn stop(self) -> Stopped {
        self.readiness.set(CHECK_SERVING, false, "shutting down");
        self.serving.cancel();
        let calls = tokio::time::timeout(self.drain_timeout, self.server.stopped());
        let drained = calls.await.is_ok();
        let flush = async {
            loop {
                match self.settler.step().await {
                    Ok(workers::Progress::Done) => break,
                    Ok(workers::Progress::More) => {}
                    // What a shared store keeps any other process settles, or the next one.
                    Err(_) if self.is_shared => break,
                    Err(_) => tokio::time::sleep(FLUSH_RETRY).await,
                }
            }
            self.opened.close().await
        };
        let flushed = tokio::time::timeout(self.drain_timeout, flush)
            .await
            .is_ok_and(|closed| closed.is_ok());
        self.working.cancel();
        self.tasks.close();
        // What is left are loops between two steps; none of them holds anything.
        let _ = tokio::time::timeout(self.drain_timeout, self.tasks.wait()).await;
        // A collector that is not there must not hold up the end.
        if let Some(exporter) = self.exporter
            && !exporter.stop(EXPORT_DRAIN.min(self.drain_timeout)).await
        {
            tracing::warn!("the collector did not take the last spans and metrics in time");
        }
        Stopped { drained, flushed }
    }
}
