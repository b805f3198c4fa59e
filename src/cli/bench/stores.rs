//! The stores that the own server is told to use. They belong to the run: it fills them, and
//! leaves what it wrote.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use super::args::BenchArgs;
use crate::{
    app,
    cli::{exit::Exit, output::Failure},
    config::{Config, Flags, HotUrl, LedgerUrl},
    domain::timestamp::Timestamp,
    hot::redis::{BareScripts, RedisOptions},
    ledger::{
        Ledger,
        postgres::{PostgresLedger, PostgresOptions},
        sqlite::SqliteLedger,
    },
    telemetry::procfs::Process,
};

/// Stands for the folder of the own server, which is not made yet: new, and so empty.
const OWN_FOLDER: &str = "own-folder";

/// What else than its memory and its folder the own server uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Stores {
    /// A Redis for the hot balances.
    pub(super) redis: Option<RedisOptions>,
    /// A Postgres for the ledger.
    pub(super) postgres: Option<PostgresOptions>,
    /// A SQLite file for the ledger, elsewhere than in the server's folder.
    sqlite: Option<PathBuf>,
    /// How many entries one of the server's transactions takes.
    pub(super) batch_max: usize,
}

impl Stores {
    /// By the flags that the server will get. Nothing is connected to.
    pub(super) fn new(args: &BenchArgs) -> Result<Self, Failure> {
        let flags = Flags {
            hot: args.hot.clone(),
            ledger: args.ledger.clone(),
            data_dir: Some(OWN_FOLDER.to_owned()),
            set: args.set.clone(),
            ..Flags::default()
        };
        let config = Config::load(&flags, std::iter::empty())?;
        let redis = match &config.hot {
            HotUrl::Memory => None,
            HotUrl::Redis(url) => Some(app::redis_options(url, &config)?),
        };
        let (sqlite, postgres) = match &config.ledger {
            Some(LedgerUrl::Sqlite(path)) if path.starts_with(OWN_FOLDER) => (None, None),
            Some(LedgerUrl::Sqlite(path)) => (Some(path.clone()), None),
            Some(LedgerUrl::Postgres(url)) => (None, Some(app::postgres_options(url, &config)?)),
            None => (None, None),
        };
        Ok(Stores {
            redis,
            postgres,
            sqlite,
            batch_max: config.settle.batch_max,
        })
    }

    /// Refuses stores that somebody has put something into.
    pub(super) async fn check_empty(&self, run: &str, now: Timestamp) -> Result<(), Failure> {
        if let Some(options) = &self.redis {
            let keys = self.scripts(options, run)?.keys().await;
            let keys = keys.map_err(|fault| Failure::new(Exit::Unavailable, fault))?;
            if keys > 0 {
                let message = format!("{}: has {keys} keys", options.address);
                return Err(not_empty(&message));
            }
        }
        if let Some(options) = &self.postgres
            && !PostgresLedger::is_blank(options).await?
        {
            return Err(not_empty("the ledger has accounts"));
        }
        if let Some(path) = &self.sqlite
            && !is_blank(path, now).await?
        {
            return Err(not_empty("the ledger has accounts"));
        }
        Ok(())
    }

    fn scripts(&self, options: &RedisOptions, run: &str) -> Result<BareScripts, Failure> {
        BareScripts::connect(options.clone(), run).map_err(|error| Failure::new(Exit::Usage, error))
    }

    /// How many records wait for the ledger; `None` where there is no Redis.
    pub(super) async fn waiting(&self, run: &str) -> Result<Option<u64>, Failure> {
        let Some(options) = &self.redis else {
            return Ok(None);
        };
        let waiting = self.scripts(options, run)?.waiting().await;
        waiting
            .map(Some)
            .map_err(|fault| Failure::new(Exit::Unavailable, fault))
    }

    /// The memory that Redis has given out, in bytes.
    pub(super) async fn redis_memory(&self, run: &str) -> Option<u64> {
        let options = self.redis.as_ref()?;
        self.scripts(options, run).ok()?.memory().await.ok()
    }

    /// The process of that Redis, where it runs on this machine.
    pub(super) async fn redis_process(&self, run: &str) -> Option<u32> {
        let options = self.redis.as_ref()?;
        let pid = self.scripts(options, run).ok()?.process_id().await.ok()?;
        Process::Other(pid)
            .is_called(&["redis", "valkey"])
            .then_some(pid)
    }
}

/// Whether a SQLite file has no account, or no ledger yet that could have one.
async fn is_blank(path: &Path, now: Timestamp) -> Result<bool, Failure> {
    if fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return Ok(true);
    }
    let unreadable = |error: &dyn Display| {
        let message = format!("reading the ledger {}: {error}", path.display());
        Failure::new(Exit::CantCreate, message)
    };
    let ledger = SqliteLedger::open_read_only(path).await;
    let ledger = ledger.map_err(|error| unreadable(&error))?;
    let accounts = ledger.accounts(None, 1, now).await;
    let accounts = accounts.map_err(|fault| unreadable(&fault))?;
    ledger.close().await;
    Ok(accounts.is_empty())
}

fn not_empty(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
        .hint("bench fills its stores; --fill-anyway adds to what is there")
}
