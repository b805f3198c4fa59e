//! Opens a ledger on a Postgres server: makes sure that the schema is ours and of a version that
//! we know, and brings it up to date where that is allowed.
//!
//! Nothing is changed in a database that is not a ledger, or that a newer version has migrated.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use sqlx::{ConnectOptions, Connection, PgConnection, Row, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

use super::{PostgresLedger, PostgresOptions, partitions, sessions::Sessions};
use crate::domain::timestamp::Timestamp;

/// Every migration, oldest first; its place in this list is its version.
const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/postgres/1_ledger.sql"),
    include_str!("../migrations/postgres/2_admin_calls.sql"),
    include_str!("../migrations/postgres/3_epochs.sql"),
    include_str!("../migrations/postgres/4_first_settlements.sql"),
    include_str!("../migrations/postgres/5_identity.sql"),
    include_str!("../migrations/postgres/6_months.sql"),
];
/// The key under which migrations keep each other out: "tollgate" in ASCII.
const MIGRATION_LOCK: i64 = 0x746f_6c6c_6761_7465;
/// The oldest server that has everything that is asked of it: Postgres 13.
const SERVER_VERSION_MIN: i32 = 130_000;

/// Why a ledger can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL can't be used.
    #[error("the ledger's URL {detail}; e.g. postgres://tollgate@db.internal:5432/tollgate")]
    Url {
        /// Why, without the URL.
        detail: String,
    },
    /// No connection to the server.
    #[error("{place}: no connection: {source}")]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is older than anything that this was tried with.
    #[error("{place}: Postgres 13 or newer is needed, and this is {found}")]
    Server {
        /// Host, port and database.
        place: String,
        /// Its version.
        found: String,
    },
    /// The server follows another one, and takes nothing itself.
    #[error("{place}: is a standby, where nothing can be written: name the primary")]
    Standby {
        /// Host, port and database.
        place: String,
    },
    /// The database has tables of these names, but another program's.
    #[error("{place}: has tables of another program; give the ledger a database of its own")]
    NotALedger {
        /// Host, port and database.
        place: String,
    },
    /// A newer Tollgate has migrated it.
    #[error(
        "{place}: has ledger version {found}, and this Tollgate knows up to {known}: upgrade it"
    )]
    Newer {
        /// Host, port and database.
        place: String,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The schema is not up to date, and it may not be changed.
    #[error("{place}: has ledger version {found}, not {known}: run `tollgate migrate` first")]
    Older {
        /// Host, port and database.
        place: String,
        /// Its version; 0 where there is none.
        found: i64,
        /// The version that is known here.
        known: i64,
    },
    /// Anything else.
    #[error("{place}: {source}")]
    Other {
        /// Host, port and database.
        place: String,
        /// What Postgres says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 where there was no ledger.
    pub from: i64,
    /// The version now.
    pub to: i64,
    /// How many partitions were made ahead.
    pub partitions: usize,
}

impl PostgresLedger {
    /// Opens the ledger: the server must be there and the schema up to date, or allowed to be
    /// brought up to date. Makes the partitions of the months from `now` on.
    pub async fn open(options: &PostgresOptions, now: Timestamp) -> Result<Self, OpenError> {
        let ledger = PostgresLedger::connect_lazy(options);
        check(options, options.migrate).await?;
        // It is checked: no call has to do it again.
        let _ = ledger.checked.set(());
        if options.migrate {
            ledger.make_ahead(options, now).await?;
        }
        Ok(ledger)
    }

    /// A ledger whose server may be away. The first call that reaches it checks the schema as
    /// [`PostgresLedger::open`] does; until then every call fails.
    pub fn connect_lazy(options: &PostgresOptions) -> Self {
        PostgresLedger {
            sessions: Sessions::new(options),
            options: options.clone(),
            checked: OnceCell::new(),
            partitions: Mutex::new(BTreeSet::new()),
            claimed: Mutex::new(None),
        }
    }

    /// Brings the schema up to date, whatever the options allow a start to do, and makes the
    /// partitions of the months from `now` on. Any number of processes may do so at once.
    pub async fn migrate(options: &PostgresOptions, now: Timestamp) -> Result<Migrated, OpenError> {
        let (from, to) = check(options, true).await?;
        let ledger = PostgresLedger::connect_lazy(options);
        let _ = ledger.checked.set(());
        let made = ledger.make_ahead(options, now).await;
        ledger.close().await;
        Ok(Migrated {
            from,
            to,
            partitions: made?,
        })
    }

    async fn make_ahead(
        &self,
        options: &PostgresOptions,
        now: Timestamp,
    ) -> Result<usize, OpenError> {
        partitions::ahead(
            &self.sessions.pool(),
            &self.partitions,
            now,
            options.months_ahead,
        )
        .await
        .map_err(|fault| OpenError::Other {
            place: options.place(),
            source: Box::new(fault),
        })
    }
}

/// Checks server and schema on a connection of its own; answers the version before and after.
pub(super) async fn check(
    options: &PostgresOptions,
    migrate: bool,
) -> Result<(i64, i64), OpenError> {
    let mut connection = connect(options).await?;
    let checked = check_on(&mut connection, options, migrate).await;
    // Whatever closing says, everything that counts is committed.
    let _ = connection.close().await;
    checked
}

pub(super) async fn connect(options: &PostgresOptions) -> Result<PgConnection, OpenError> {
    let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Unreachable {
        place: options.place(),
        source,
    };
    let session: PgConnectOptions = options.session();
    match tokio::time::timeout(options.acquire_timeout, session.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(unreachable(Box::new(error))),
        Err(elapsed) => Err(unreachable(Box::new(elapsed))),
    }
}

async fn check_on(
    connection: &mut PgConnection,
    options: &PostgresOptions,
    migrate: bool,
) -> Result<(i64, i64), OpenError> {
    let other = |source: sqlx::Error| OpenError::Other {
        place: options.place(),
        source: Box::new(source),
    };
    check_server(connection, options).await?;
    if !options.may_be_standby && is_standby(connection).await.map_err(other)? {
        let place = options.place();
        return Err(OpenError::Standby { place });
    }
    let known = MIGRATIONS.len() as i64;
    let found = version(connection, options).await?;
    if found < known && migrate {
        run(connection).await.map_err(other)?;
        // Another process may have been faster, and newer.
        let reached = version(connection, options).await?;
        return Ok((found, reached));
    }
    if found < known {
        return Err(OpenError::Older {
            place: options.place(),
            found,
            known,
        });
    }
    Ok((found, found))
}

async fn check_server(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<(), OpenError> {
    let (number, version, fsync, commit): (i32, String, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                current_setting('fsync'), current_setting('synchronous_commit')",
    )
    .fetch_one(connection)
    .await
    .map_err(|source| OpenError::Other {
        place: options.place(),
        source: Box::new(source),
    })?;
    if number < SERVER_VERSION_MIN {
        return Err(OpenError::Server {
            place: options.place(),
            found: version,
        });
    }
    if fsync == "off" || commit == "off" {
        tracing::warn!(
            fsync,
            synchronous_commit = commit,
            "the ledger's server may lose what it has acknowledged: set both to on"
        );
    }
    Ok(())
}

/// Whether a session is on a server that follows another one. Asked in the simple protocol, which
/// prepares nothing: one message there and one back.
pub(super) async fn is_standby(session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::raw_sql("SELECT pg_is_in_recovery()");
    asked.fetch_one(session).await?.try_get(0)
}

/// The schema's version, 0 for a database without any of our tables.
async fn version(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<i64, OpenError> {
    let other = |source: sqlx::Error| OpenError::Other {
        place: options.place(),
        source: Box::new(source),
    };
    let (ours, theirs): (bool, bool) = sqlx::query_as(
        "SELECT to_regclass('tollgate_schema') IS NOT NULL,
                coalesce(to_regclass('accounts'), to_regclass('entries')) IS NOT NULL",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(other)?;
    match (ours, theirs) {
        (false, false) => return Ok(0),
        (false, true) => {
            return Err(OpenError::NotALedger {
                place: options.place(),
            });
        }
        (true, _) => {}
    }
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM tollgate_schema")
        .fetch_one(connection)
        .await
        .map_err(other)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(OpenError::Newer {
            place: options.place(),
            found,
            known,
        });
    }
    Ok(found)
}

/// Runs every migration that the database lacks, all in one transaction, one process at a time.
async fn run(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS tollgate_schema (
             version BIGINT PRIMARY KEY,
             migrated_at TIMESTAMPTZ NOT NULL DEFAULT now())",
    )
    .execute(&mut *transaction)
    .await?;
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM tollgate_schema")
        .fetch_one(&mut *transaction)
        .await?;
    let done = usize::try_from(found).unwrap_or(0);
    for (index, sql) in MIGRATIONS.into_iter().enumerate().skip(done) {
        sqlx::raw_sql(sql).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO tollgate_schema (version) VALUES ($1)")
            .bind(index as i64 + 1)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}
