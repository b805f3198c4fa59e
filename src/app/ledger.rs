//! Opens the configured ledger.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{CHECK_LEDGER, error::StartError};
use crate::{
    clock::Clock,
    config::{Config, HotUrl, LedgerUrl, Migrate, SecretUrl},
    domain::timestamp::Timestamp,
    http::Readiness,
    ledger::{
        Ledger, LedgerFault,
        postgres::{OpenError, PostgresLedger, PostgresOptions},
        redo::{Depth, RedoLedger},
        sqlite::SqliteLedger,
    },
    observed::ObservedLedger,
    telemetry::{Metrics, RedoLevels},
    workers::{Progress, StepError, Worker},
};

/// The ledger, by kind: each kind needs something else besides what every ledger does.
#[derive(Clone)]
pub(super) enum Opened {
    /// SQLite, behind its log.
    Sqlite(Arc<RedoLedger>),
    /// Postgres, whose months are made ahead by a worker.
    Postgres(Arc<PostgresLedger>),
}

impl Opened {
    /// The ledger as everybody uses it: timed and counted.
    pub(super) fn ledger(
        &self,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Ledger>, StartError> {
        let ledger: Arc<dyn Ledger> = match self {
            Opened::Sqlite(redo) => {
                let (watched, clock) = (Arc::clone(redo), Arc::clone(clock));
                metrics
                    .watch_redo(move || levels(watched.depth(), clock.now()))
                    .map_err(|error| StartError::Internal(error.into()))?;
                Arc::clone(redo) as _
            }
            Opened::Postgres(ledger) => Arc::clone(ledger) as _,
        };
        Ok(Arc::new(ObservedLedger::new(
            ledger,
            Arc::clone(metrics),
            Arc::clone(clock),
        )))
    }

    /// Waits for the thread to end that writes what was settled to the ledger behind the log, by a
    /// panic too. Where there is none it waits for ever.
    pub(super) async fn writer_ended(&self) {
        match self {
            Opened::Sqlite(redo) => redo.writer_ended().await,
            Opened::Postgres(_) => std::future::pending().await,
        }
    }

    /// Leaves nothing behind that a next start would have to put right.
    pub(super) async fn close(&self) -> Result<(), LedgerFault> {
        match self {
            Opened::Sqlite(redo) => redo.close().await,
            Opened::Postgres(ledger) => {
                ledger.close().await;
                Ok(())
            }
        }
    }
}

fn levels(depth: Depth, now: Timestamp) -> RedoLevels {
    let waited = |oldest: Timestamp| now.millis().saturating_sub(oldest.millis());
    RedoLevels {
        age_ms: depth.oldest.map_or(0, waited).max(0),
        records: depth.records,
        bytes: depth.bytes,
        commits: depth.commits,
    }
}

/// Opens it; brings its schema up to date where the configuration lets it.
pub(super) async fn open(
    url: &LedgerUrl,
    config: &Config,
    clock: &dyn Clock,
) -> Result<Opened, StartError> {
    match url {
        LedgerUrl::Sqlite(path) => {
            let sqlite = Arc::new(SqliteLedger::open(path).await?);
            let redo = RedoLedger::open(sqlite, path.clone()).await?;
            Ok(Opened::Sqlite(Arc::new(redo)))
        }
        LedgerUrl::Postgres(url) => {
            let options = postgres_options(url, config)?;
            let ledger = PostgresLedger::open(&options, clock.now()).await?;
            let is_free = match &config.hot {
                HotUrl::Memory => ledger.claim().await?,
                // Cursors decide between the settlers of one Redis.
                HotUrl::Redis(_) => true,
            };
            if !is_free {
                let ledger = url.to_string();
                return Err(StartError::LedgerInUse { ledger });
            }
            Ok(Opened::Postgres(Arc::new(ledger)))
        }
    }
}

/// Says what is wrong with the URL before anything is bound or opened.
pub(super) fn check_url(config: &Config) -> Result<(), StartError> {
    match &config.ledger {
        Some(LedgerUrl::Sqlite(_)) | None => {}
        Some(LedgerUrl::Postgres(url)) => {
            postgres_options(url, config)?;
        }
    }
    Ok(())
}

/// How the configuration wants a Postgres ledger to be used.
pub fn postgres_options(url: &SecretUrl, config: &Config) -> Result<PostgresOptions, OpenError> {
    let bounds = &config.postgres;
    let mut options = PostgresOptions::new(url.expose())?;
    options.connections_max = bounds.connections_max;
    options.acquire_timeout = Duration::from_millis(bounds.acquire_timeout_ms);
    options.statement_timeout = Duration::from_millis(bounds.statement_timeout_ms);
    options.lock_timeout = Duration::from_millis(bounds.lock_timeout_ms);
    options.idle_in_transaction_timeout =
        Duration::from_millis(bounds.idle_in_transaction_timeout_ms);
    options.migrate = bounds.migrate == Migrate::Auto;
    options.months_ahead = bounds.months_ahead;
    Ok(options)
}

/// Looks whether the ledger answers, and says so. One that does not is no failed step: it is
/// looked at as often as one that does.
pub(super) struct Probe {
    ledger: Arc<dyn Ledger>,
    readiness: Arc<Readiness>,
}

impl Probe {
    pub fn new(ledger: Arc<dyn Ledger>, readiness: Arc<Readiness>) -> Self {
        Probe { ledger, readiness }
    }
}

#[async_trait]
impl Worker for Probe {
    fn name(&self) -> &'static str {
        "ledger_probe"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        match self.ledger.cursors().await {
            Ok(_) => self.readiness.set(CHECK_LEDGER, true, "open"),
            Err(fault) => self
                .readiness
                .set(CHECK_LEDGER, false, fault.source.to_string()),
        }
        Ok(Progress::Done)
    }
}
