//! A ledger that a command reads by itself, while a server may be using it.

use super::{exit::Exit, output::Failure};
use crate::{
    clock::{Clock, SystemClock},
    config::{self, Config, Flags, LedgerUrl},
    ledger::{
        Ledger,
        postgres::{PostgresLedger, PostgresOptions},
        sqlite::SqliteLedger,
    },
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

    /// Where the ledger is, by the same rules as those of `serve`: what no flag says a variable or
    /// the file that TOLLGATE_CONFIG names does, so that beside a server nothing need be said.
    pub(crate) fn url(&self) -> Result<LedgerUrl, Failure> {
        let flags = Flags {
            data_dir: self.data_dir.clone(),
            ledger: self.ledger.clone(),
            ..Flags::default()
        };
        ledger_of(&Config::load(&flags, config::environment())?)
    }

    /// Opens it for reading.
    pub(crate) async fn open(&self) -> Result<Box<dyn Ledger>, Failure> {
        let url = self.url()?;
        match &url {
            LedgerUrl::Sqlite(path) => {
                let opened = SqliteLedger::open_read_only(path).await;
                let ledger = opened.map_err(|error| unreadable(&url, &error))?;
                Ok(Box::new(ledger))
            }
            LedgerUrl::Postgres(secret) => {
                let mut options = PostgresOptions::new(secret.expose())?;
                options.migrate = false;
                options.may_be_standby = true;
                let ledger = PostgresLedger::open(&options, SystemClock::new().now()).await?;
                Ok(Box::new(ledger))
            }
        }
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
