//! Opens the configured ledger.

use std::{sync::Arc, time::Duration};

use super::error::StartError;
use crate::{
    clock::Clock,
    config::{Config, HotUrl, LedgerUrl, Migrate, SecretUrl},
    ledger::{
        Ledger, LedgerFault,
        postgres::{OpenError, PostgresLedger, PostgresOptions},
        redo::RedoLedger,
        sqlite::SqliteLedger,
    },
    observed::ObservedLedger,
    telemetry::Metrics,
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
                let watched = Arc::clone(redo);
                metrics
                    .watch_redo_backlog(move || watched.backlog() as u64)
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

/// Opens it; brings its schema up to date where the configuration lets it.
pub(super) async fn open(config: &Config, clock: &dyn Clock) -> Result<Opened, StartError> {
    match &config.ledger {
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
        LedgerUrl::Sqlite(_) => {}
        LedgerUrl::Postgres(url) => {
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
