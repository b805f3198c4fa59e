//! A ledger that a command reads by itself, while a server may be using it.

use super::{exit::Exit, output::Failure};
use crate::{
    app,
    clock::{Clock, SystemClock},
    config::{self, Config, Flags, LedgerUrl},
    ledger::{Ledger, postgres::PostgresLedger, sqlite::SqliteLedger},
};

/// Which ledger. It is only read, and may be in use.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LedgerArgs {
    /// The ledger in this data folder
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,

    /// This ledger, sqlite://PATH or postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
}

impl LedgerArgs {
    /// Whether any ledger was named.
    pub(crate) fn is_given(&self) -> bool {
        self.data_dir.is_some() || self.ledger.is_some()
    }

    /// What is configured, by the same rules as for `serve`: what no flag says a variable or the
    /// file that TOLLGATE_CONFIG names does, so that beside a server nothing need be said. `more`
    /// is what the command's other flags say.
    pub(crate) fn config(&self, more: Flags) -> Result<Config, Failure> {
        let flags = Flags {
            data_dir: self.data_dir.clone(),
            ledger: self.ledger.clone(),
            ..more
        };
        Ok(Config::load(&flags, config::environment())?)
    }
}

/// A ledger that is open for reading.
pub(crate) struct Opened {
    /// Where it is.
    pub(crate) url: LedgerUrl,
    /// The ledger.
    pub(crate) ledger: Box<dyn Ledger>,
}

impl Opened {
    /// Opens the ledger that is configured.
    pub(crate) async fn new(config: &Config) -> Result<Self, Failure> {
        let url = ledger_of(config)?;
        let ledger: Box<dyn Ledger> = match &url {
            LedgerUrl::Sqlite(path) => {
                let opened = SqliteLedger::open_read_only(path).await;
                Box::new(opened.map_err(|error| unreadable(&url, &error))?)
            }
            LedgerUrl::Postgres(secret) => {
                let mut options = app::postgres_options(secret, config)?;
                options.migrate = false;
                options.may_be_standby = true;
                Box::new(PostgresLedger::open(&options, SystemClock::new().now()).await?)
            }
        };
        Ok(Opened { url, ledger })
    }
}

/// The ledger of a process that has one.
pub(crate) fn ledger_of(config: &Config) -> Result<LedgerUrl, Failure> {
    let none = "roles = [\"gateway\"]: a process with this role only has no ledger";
    let ledger = config.ledger.clone();
    ledger.ok_or_else(|| Failure::new(Exit::Usage, none))
}

/// A ledger that can't be read.
pub(crate) fn unreadable(url: &LedgerUrl, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::CantCreate,
        format!("reading the ledger {url}: {error}"),
    )
    .hint("--data-dir or --ledger says where the ledger is")
}
