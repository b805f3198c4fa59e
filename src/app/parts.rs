//! Opens everything before anything is served: the ledger, where this process has one, the hot
//! store, the catalogue, and the enforcer over them.

use std::{sync::Arc, time::Duration};

use super::{error::StartError, hot, ledger, restore::Restored};
use crate::{
    catalogs::{self, Catalogs},
    clock::Clock,
    config::{Config, LedgerUrl, SettleAck},
    enforcer::{
        Ack, Enforcer, EnforcerOptions,
        acks::Acks,
        changes::Clerk,
        cold::ColdSource,
        source::{LedgerSource, Source},
    },
    hot::HotStore,
    ledger::Ledger,
    telemetry::Metrics,
    workers::{reloader, shares::Shares},
};

/// How often a settlement asks the hot store before it waits for the ledger.
const STEPS_BEFORE_ACK: u64 = 2;

/// Everything that is open.
pub(super) struct Parts {
    pub hot: Arc<dyn HotStore>,
    pub opened_hot: hot::Opened,
    /// `None`: this process knows Redis only.
    pub books: Option<Books>,
    pub catalogs: Arc<Catalogs>,
    pub acks: Arc<Acks>,
    pub shares: Arc<Shares>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub enforcer: Arc<Enforcer>,
    /// What was restored into memory.
    pub restored: Option<Restored>,
}

/// The ledger, and who carries changes out in it.
pub(super) struct Books {
    pub opened: ledger::Opened,
    pub ledger: Arc<dyn Ledger>,
    pub clerk: Arc<Clerk>,
}

/// Opens everything.
pub(super) async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Parts, StartError> {
    let (opened, ledger) = match &config.ledger {
        Some(url) => {
            let (opened, ledger) = open_ledger(url, config, &clock, &metrics).await?;
            (Some(opened), Some(ledger))
        }
        None => (None, None),
    };
    let catalogs = Arc::new(match &ledger {
        Some(ledger) => open_catalogs(config, ledger.as_ref(), clock.as_ref()).await?,
        None => Catalogs::empty(),
    });
    if let Some(current) = catalogs.current() {
        metrics.set_catalog_version(&current.version);
    }
    let (opened_hot, restored) = hot::open(config, &clock, ledger.as_ref()).await?;
    let hot = opened_hot.store(&metrics, &clock)?;
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
        source(config, &clock, &opened_hot, ledger.as_ref())?,
        Arc::clone(&catalogs),
        Arc::clone(&acks),
        options,
    ));
    let shares = match opened_hot.redis() {
        None => Shares::whole(),
        Some(_) => Shares::none(),
    };
    let books = opened.zip(ledger).map(|(opened, ledger)| Books {
        opened,
        clerk: Arc::new(Clerk::new(Arc::clone(&enforcer), Arc::clone(&ledger))),
        ledger,
    });
    Ok(Parts {
        hot,
        opened_hot,
        books,
        catalogs,
        acks,
        shares: Arc::new(shares),
        clock,
        metrics,
        enforcer,
        restored,
    })
}

/// How long a settlement waits for the ledger: not as long as its call may take, so that it still
/// says what it has waited for, and half of that at least.
pub(super) fn ack_timeout(config: &Config) -> Duration {
    let whole = config.grpc.request_timeout_ms;
    let before = STEPS_BEFORE_ACK * config.redis.call_timeout_ms;
    Duration::from_millis(whole.saturating_sub(before).max(whole / 2))
}

async fn open_ledger(
    url: &LedgerUrl,
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<(ledger::Opened, Arc<dyn Ledger>), StartError> {
    let opened = ledger::open(url, config, clock.as_ref()).await?;
    let ledger = opened.ledger(metrics, clock)?;
    let fixed = ledger.fix_shards(config.shards).await?;
    if fixed != config.shards {
        return Err(StartError::Shards {
            fixed,
            wanted: config.shards,
        });
    }
    Ok((opened, ledger))
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

/// Where accounts come from that the hot store does not know.
fn source(
    config: &Config,
    clock: &Arc<dyn Clock>,
    hot: &hot::Opened,
    ledger: Option<&Arc<dyn Ledger>>,
) -> Result<Arc<dyn Source>, StartError> {
    let timeout = Duration::from_millis(config.redis.load_timeout_ms);
    match (ledger, hot.redis()) {
        (Some(ledger), _) => Ok(Arc::new(LedgerSource(Arc::clone(ledger)))),
        (None, Some(redis)) => Ok(Arc::new(ColdSource::new(
            Arc::clone(redis),
            Arc::clone(clock),
            timeout,
        ))),
        (None, None) => Err(hot::memory_needs_a_ledger()),
    }
}
