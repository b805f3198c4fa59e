//! `tollgate migrate`: brings the ledger's schema up to date, for those who do not let a start do
//! it. Any number of processes may run it at once, and as often as they like.

use std::fs;

use serde::Serialize;

use super::{
    exit::Exit,
    offline::{ledger_of, unreadable},
    output::{Failure, Output},
};
use crate::{
    app,
    clock::{Clock, SystemClock},
    config::{self, Config, Flags, LedgerUrl},
    ledger::{
        postgres::{OpenError, PostgresLedger},
        sqlite::SqliteLedger,
    },
};

/// Bring the ledger's schema up to date; makes the ledger where there is none
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Takes the same file, variables and flags as serve. Running it again changes nothing. With
postgres.migrate = \"never\" this is the only command that changes a schema.")]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    flags: Flags,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    ledger: String,
    /// The version before; absent for a SQLite file, which is migrated whenever it is opened.
    from: Option<i64>,
    to: Option<i64>,
    /// How many months of entries were made ahead.
    partitions: usize,
}

/// Migrates.
pub(crate) async fn run(args: MigrateArgs, output: Output) -> Result<Exit, Failure> {
    let config = Config::load(&args.flags, config::environment())?;
    let url = ledger_of(&config)?;
    let mut report = Report {
        ledger: url.to_string(),
        from: None,
        to: None,
        partitions: 0,
    };
    match &url {
        LedgerUrl::Sqlite(path) => {
            let folder = path.parent().unwrap_or(path);
            fs::create_dir_all(folder).map_err(|error| {
                let message = format!("making the folder {}: {error}", folder.display());
                Failure::new(Exit::CantCreate, message)
            })?;
            let ledger = SqliteLedger::open(path).await;
            let ledger = ledger.map_err(|error| unreadable(&url, &error))?;
            ledger.close().await;
        }
        LedgerUrl::Postgres(url) => {
            let options = app::postgres_options(url, &config)?;
            let migrated = PostgresLedger::migrate(&options, SystemClock::new().now()).await?;
            report.from = Some(migrated.from);
            report.to = Some(migrated.to);
            report.partitions = migrated.partitions;
        }
    }
    output.result(&report, Report::text)?;
    Ok(Exit::Ok)
}

impl Report {
    fn text(&self) -> String {
        let version = match (self.from, self.to) {
            (Some(from), Some(to)) if from < to => format!("migrated from version {from} to {to}"),
            (_, Some(to)) => format!("at version {to} already"),
            (_, None) => "up to date".to_owned(),
        };
        match self.partitions {
            0 => format!("{}: {version}", self.ledger),
            months => format!("{}: {version}, {months} months made ahead", self.ledger),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Url { .. } => Exit::Usage,
            OpenError::Unreachable { .. } | OpenError::Standby { .. } => Exit::Unavailable,
            OpenError::Server { .. }
            | OpenError::NotALedger { .. }
            | OpenError::Newer { .. }
            | OpenError::Older { .. } => Exit::CantCreate,
            OpenError::Other { .. } => Exit::Internal,
        };
        Failure::new(exit, error.to_string())
    }
}
