//! Opens the configured hot store. A Redis need not be there: calls answer a fault until it is,
//! and the probe says so to whoever asks whether this process is ready.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{CHECK_CATALOG, CHECK_STORES, error::StartError, restore};
use crate::{
    catalogs::Catalogs,
    clock::Clock,
    config::{Config, HotUrl, SecretUrl},
    hot::{
        HotFault, HotStore, Recovered,
        memory::{MemoryHot, MemoryOptions},
        redis::{RedisAddress, RedisHot, RedisOptions},
    },
    http::Readiness,
    ledger::{Ledger, access::Access},
    observed::ObservedHot,
    telemetry::Metrics,
    workers::{Progress, StepError, Worker},
};

/// How long one look waits for a shard to be verified.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// The hot store, by kind.
#[derive(Clone)]
pub(super) enum Opened {
    /// In this process, restored from the ledger.
    Memory(Arc<MemoryHot>),
    /// In Redis, which keeps its own.
    Redis(Arc<RedisHot>),
}

impl Opened {
    /// The store as everybody uses it: timed and counted.
    pub(super) fn store(
        &self,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn HotStore>, StartError> {
        let store: Arc<dyn HotStore> = match self {
            Opened::Memory(memory) => Arc::clone(memory) as _,
            Opened::Redis(redis) => {
                let watched = Arc::clone(redis);
                metrics
                    .watch_breaker(move || watched.breaker_is_open())
                    .map_err(|error| StartError::Internal(error.into()))?;
                Arc::clone(redis) as _
            }
        };
        Ok(Arc::new(ObservedHot::new(
            store,
            Arc::clone(metrics),
            Arc::clone(clock),
        )))
    }

    /// Whether what it holds outlives this process, and other processes use it too.
    pub(super) fn is_shared(&self) -> bool {
        match self {
            Opened::Memory(_) => false,
            Opened::Redis(_) => true,
        }
    }

    /// The store in Redis, where it is one.
    pub(super) fn redis(&self) -> Option<&Arc<RedisHot>> {
        match self {
            Opened::Memory(_) => None,
            Opened::Redis(redis) => Some(redis),
        }
    }

    /// What tells whether it answers; `None` where it is always there, and has been said to be.
    pub(super) fn probe(
        &self,
        store: &Arc<dyn HotStore>,
        readiness: &Arc<Readiness>,
    ) -> Option<Arc<dyn Worker>> {
        match self {
            Opened::Memory(_) => {
                readiness.set(CHECK_STORES, true, "open");
                None
            }
            Opened::Redis(redis) => Some(Arc::new(Probe {
                store: Arc::clone(store),
                redis: Arc::clone(redis),
                readiness: Arc::clone(readiness),
                is_verified: AtomicBool::new(false),
                is_examined: AtomicBool::new(false),
            })),
        }
    }
}

/// Says what is wrong with the URL before anything is bound or opened.
pub(super) fn check_url(config: &Config) -> Result<(), StartError> {
    match &config.hot {
        HotUrl::Memory => Ok(()),
        HotUrl::Redis(url) => redis_options(url, config).map(|_| ()),
    }
}

/// Opens it; puts back into memory what the ledger has, and tells how much that was.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    ledger: Option<&Arc<dyn Ledger>>,
) -> Result<(Opened, Option<restore::Restored>), StartError> {
    match &config.hot {
        HotUrl::Memory => {
            let ledger = ledger.ok_or_else(memory_needs_a_ledger)?;
            let options = MemoryOptions {
                shards: config.shards,
                replay_window_ms: config.reserve.replay_window_ms,
                ..MemoryOptions::default()
            };
            let memory = MemoryHot::new(options, Arc::clone(clock));
            let restored = restore::restore(&memory, ledger.as_ref(), clock.as_ref()).await?;
            Ok((Opened::Memory(Arc::new(memory)), Some(restored)))
        }
        HotUrl::Redis(url) => {
            let mut options = redis_options(url, config)?;
            // A process without a ledger does not know what an empty server must begin with.
            options.fixes_shards = ledger.is_some();
            options.ledger_id = match ledger {
                Some(ledger) => Some(ledger.id().await?),
                None => None,
            };
            options.ledger = ledger.map(|ledger| Arc::new(Access(Arc::clone(ledger))) as _);
            let redis = RedisHot::connect(options).map_err(|source| refused(url, source))?;
            Ok((Opened::Redis(Arc::new(redis)), None))
        }
    }
}

/// The configuration rules it out.
pub(super) fn memory_needs_a_ledger() -> StartError {
    StartError::Internal("hot = \"memory:\" without a ledger".into())
}

/// How a Redis store is reached, by its URL and the bounds in the configuration.
pub fn redis_options(url: &SecretUrl, config: &Config) -> Result<RedisOptions, StartError> {
    let address: RedisAddress = url
        .expose()
        .parse()
        .map_err(|source| refused(url, source))?;
    let bounds = &config.redis;
    Ok(RedisOptions {
        tls_ca: bounds.tls_ca.as_deref().map(read_ca).transpose()?,
        connections: bounds.connections,
        deadline: Duration::from_millis(bounds.call_timeout_ms),
        connect_timeout: Duration::from_millis(bounds.connect_timeout_ms),
        shards: config.shards,
        replay_window_ms: config.reserve.replay_window_ms,
        outbox_max: bounds.outbox_max,
        unload_idle_ms: bounds.unload_idle_ms,
        ..RedisOptions::new(address)
    })
}

fn refused(url: &SecretUrl, source: crate::hot::redis::AddressError) -> StartError {
    StartError::RedisUrl {
        url: url.to_string(),
        source,
    }
}

fn read_ca(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::RedisCa {
        path: path.to_owned(),
        source,
    })
}

/// Looks whether Redis answers, and says so. A Redis that does not is no failed step: it is
/// looked at as often as one that does.
struct Probe {
    /// The same, observed: whether it answers is counted too.
    store: Arc<dyn HotStore>,
    redis: Arc<RedisHot>,
    readiness: Arc<Readiness>,
    /// Whether all of its shards were seen to be verified.
    is_verified: AtomicBool,
    /// Whether its settings were looked at.
    is_examined: AtomicBool,
}

#[async_trait]
impl Worker for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        match self.look().await {
            Ok(()) => {
                self.readiness.set(CHECK_STORES, true, "open");
                if !self.is_examined.load(Ordering::Relaxed) {
                    self.examine().await;
                }
            }
            Err(fault) => self
                .readiness
                .set(CHECK_STORES, false, fault.source.to_string()),
        }
        Ok(Progress::Done)
    }
}

impl Probe {
    /// Whether Redis answers, and whether steps may run on it: that is asked until it is so once.
    async fn look(&self) -> Result<(), HotFault> {
        self.store.now().await?;
        if !self.is_verified.load(Ordering::Relaxed) {
            self.redis.verified(VERIFY_TIMEOUT).await?;
            self.is_verified.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Logs what of the server's settings may lose something, once.
    async fn examine(&self) {
        // A fault: the next round asks again.
        let Ok(warnings) = self.redis.durability_warnings().await else {
            return;
        };
        self.is_examined.store(true, Ordering::Relaxed);
        for warning in warnings {
            tracing::warn!(warning, "the Redis server is not set up to lose nothing");
        }
    }
}

/// Counts what the store itself has found broken, and what it has put right: in every process, since
/// each of them sees its own.
pub(super) struct Tally {
    opened: Opened,
    metrics: Arc<Metrics>,
    counted: Mutex<(u64, Recovered)>,
}

impl Tally {
    pub fn new(opened: Opened, metrics: Arc<Metrics>) -> Self {
        Tally {
            opened,
            metrics,
            counted: Mutex::default(),
        }
    }
}

#[async_trait]
impl Worker for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let found = match &self.opened {
            Opened::Memory(memory) => {
                let stats = memory.stats().await?;
                (stats.violations, stats.recovered)
            }
            Opened::Redis(redis) => redis.found(),
        };
        let before = std::mem::replace(&mut *self.counted.lock(), found);
        (before.0..found.0).for_each(|_| self.metrics.invariant_violation());
        let (before, now) = (before.1, found.1);
        self.metrics.recovered(
            now.shards - before.shards,
            now.lost - before.lost,
            now.holds - before.holds,
        );
        Ok(Progress::Done)
    }
}

/// Looks whether a catalogue was published, and says so.
pub(super) struct CatalogProbe {
    catalogs: Arc<Catalogs>,
    readiness: Arc<Readiness>,
}

impl CatalogProbe {
    pub fn new(catalogs: Arc<Catalogs>, readiness: Arc<Readiness>) -> Self {
        CatalogProbe {
            catalogs,
            readiness,
        }
    }
}

#[async_trait]
impl Worker for CatalogProbe {
    fn name(&self) -> &'static str {
        "catalog_probe"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let (is_there, why) = match self.catalogs.current() {
            Some(current) => (true, format!("version {}", current.version)),
            None => (false, "no control plane has published one yet".to_owned()),
        };
        self.readiness.set(CHECK_CATALOG, is_there, why);
        Ok(Progress::Done)
    }
}
