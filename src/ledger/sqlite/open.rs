//! Opens a ledger file: makes sure that it is ours and of a version that we know, brings it up to
//! date, and takes the one lock that keeps a second writing process out.
//!
//! Nothing is changed in a file that is not a ledger, or that a newer version has written.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{SqliteLedger, desk::Desk, kept::Kept, writer::Writer};

/// "tolg" in the file's header, as the first migration sets it.
const APPLICATION_ID: i64 = 0x746f_6c67;
/// Every migration, oldest first; each one sets `user_version` to its place in this list.
const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/sqlite/1_ledger.sql"),
    include_str!("../migrations/sqlite/2_admin_calls.sql"),
    include_str!("../migrations/sqlite/3_epochs.sql"),
    include_str!("../migrations/sqlite/4_packed_entries.sql"),
    include_str!("../migrations/sqlite/5_slim_balances.sql"),
    include_str!("../migrations/sqlite/6_identity.sql"),
];
/// How many connections read at the same time.
const READERS_MAX: u32 = 4;
/// How long a statement waits for a lock of another process, e.g. a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many pages the write-ahead log gets before it is copied into the file: the same pages change
/// again and again, and are copied once.
const WAL_PAGES: &str = "8192";
/// What the write-ahead log is cut down to once it was larger.
const WAL_BYTES_MAX: &str = "268435456";
/// Memory for pages, for the writer alone, in KiB (negative by SQLite's convention).
const WRITER_CACHE: &str = "-131072";

/// Why a ledger file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file.
    #[error("{path}: there is no ledger")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is no SQLite database.
    #[error("{path}: not a SQLite database")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database, but another program's.
    #[error("{path}: a SQLite database, but not a Tollgate ledger")]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// A newer Tollgate has written it.
    #[error("{path}: has ledger version {found}, and this Tollgate knows 1 to {known}: upgrade it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// An older Tollgate has written it, and it was to be read only.
    #[error("{path}: has ledger version {found}, not {known}: start the server once to migrate it")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that is known here.
        known: i64,
    },
    /// The file or its folder can't be written.
    #[error("{path}: not writable: {source}")]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has it open for writing.
    #[error("{path}: another process is using this ledger")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// What it has of the reservations can't be read.
    #[error("{path}: its reservations can't be read: {detail}")]
    Reservations {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Anything else.
    #[error("{path}: {source}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
}

impl SqliteLedger {
    /// Opens the ledger for reading and writing; makes it where there is none. The folder must be
    /// there. As long as the answer lives, no other process can open it for writing.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        if path.exists() {
            let mut probe = connect(path, options(path).read_only(true)).await?;
            check_known(path, identity(path, &mut probe).await?)?;
            probe
                .close()
                .await
                .map_err(|source| classify(path, source))?;
        }
        let options = writing(path);
        let mut connection = connect(path, options.clone()).await?;
        migrate(path, &mut connection).await?;
        let kept = read_settled_kept(path, &mut connection).await?;
        Ok(SqliteLedger {
            kept: tokio::sync::Mutex::new(kept),
            writer: Some(Arc::new(Writer::new(options, connection))),
            desk: Desk::default(),
            readers: readers(path),
            _lock: Some(lock),
        })
    }

    /// Opens the ledger for reading, also while another process writes it. Everything that would
    /// write fails.
    pub async fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing {
                path: path.to_owned(),
            });
        }
        let mut probe = connect(path, options(path).read_only(true)).await?;
        let found = check_known(path, identity(path, &mut probe).await?)?;
        let known = MIGRATIONS.len() as i64;
        if found < known {
            return Err(OpenError::Older {
                path: path.to_owned(),
                found,
                known,
            });
        }
        let kept = read_kept(path, &mut probe).await?;
        probe
            .close()
            .await
            .map_err(|source| classify(path, source))?;
        Ok(SqliteLedger {
            kept: tokio::sync::Mutex::new(kept),
            writer: None,
            desk: Desk::default(),
            readers: readers(path),
            _lock: None,
        })
    }
}

/// As [`read_kept`], in the writer's place. A ledger that was dropped in the middle of a transaction
/// may still be committing it after its lock is free: this waits for that.
async fn read_settled_kept(
    path: &Path,
    connection: &mut SqliteConnection,
) -> Result<Kept, OpenError> {
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(|source| classify(path, source))?;
    let kept = read_kept(path, &mut transaction).await?;
    let ended = transaction.rollback().await;
    ended.map_err(|source| classify(path, source))?;
    Ok(kept)
}

async fn read_kept(path: &Path, connection: &mut SqliteConnection) -> Result<Kept, OpenError> {
    let read = Kept::read(connection).await;
    read.map_err(|fault| OpenError::Reservations {
        path: path.to_owned(),
        detail: fault.to_string(),
    })
}

/// Takes the lock file beside the ledger. It stays there; only the lock on it counts, and the
/// operating system drops that with the process.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let not_writable = |source: io::Error| OpenError::NotWritable {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(not_writable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(not_writable(source)),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// Every commit is on disk before it is answered.
fn writing(path: &Path) -> SqliteConnectOptions {
    options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("journal_size_limit", WAL_BYTES_MAX)
        .pragma("cache_size", WRITER_CACHE)
}

fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        // The audit's own table must not need a folder that can be written.
        .connect_lazy_with(options(path).read_only(true).pragma("temp_store", "memory"))
}

async fn connect(
    path: &Path,
    options: SqliteConnectOptions,
) -> Result<SqliteConnection, OpenError> {
    options
        .connect()
        .await
        .map_err(|source| classify(path, source))
}

/// What a file says that it is.
struct Identity {
    application_id: i64,
    version: i64,
    tables: i64,
}

async fn identity(path: &Path, connection: &mut SqliteConnection) -> Result<Identity, OpenError> {
    let found: Result<(i64, i64, i64), sqlx::Error> = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id),
                (SELECT user_version FROM pragma_user_version),
                (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(connection)
    .await;
    let (application_id, version, tables) = found.map_err(|source| classify(path, source))?;
    Ok(Identity {
        application_id,
        version,
        tables,
    })
}

/// The file's version, 0 for one that is still empty.
fn check_known(path: &Path, found: Identity) -> Result<i64, OpenError> {
    if found.application_id == 0 && found.version == 0 && found.tables == 0 {
        return Ok(0);
    }
    if found.application_id != APPLICATION_ID {
        return Err(OpenError::NotALedger {
            path: path.to_owned(),
        });
    }
    let known = MIGRATIONS.len() as i64;
    if found.version > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: found.version,
            known,
        });
    }
    Ok(found.version)
}

/// Runs every migration that the file lacks, each in a transaction of its own.
async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let version = check_known(path, identity(path, connection).await?)?;
    let done = usize::try_from(version).unwrap_or(0);
    for sql in MIGRATIONS.into_iter().skip(done) {
        run(connection, sql)
            .await
            .map_err(|source| classify(path, source))?;
    }
    Ok(())
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(sql).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// SQLite's result code, without its extension.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

fn classify(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&source) {
        // SQLITE_NOTADB
        Some(26) => OpenError::NotADatabase { path },
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => OpenError::Locked { path },
        // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN
        Some(3 | 8 | 14) => OpenError::NotWritable {
            path,
            source: Box::new(source),
        },
        _ => OpenError::Other { path, source },
    }
}
