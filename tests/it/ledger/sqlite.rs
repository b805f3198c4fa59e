//! The SQLite ledger: every case, and what only a file can have.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tollgate::ledger::{
    Ledger, Wanted,
    sqlite::{OpenError, SqliteLedger},
};

use super::{
    Backend,
    world::{World, account_id, request},
};

struct File {
    folder: TempDir,
    ledger: Option<Arc<SqliteLedger>>,
}

impl File {
    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    async fn sql(&self, sql: &str) {
        let options = SqliteConnectOptions::new()
            .filename(self.path())
            .create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    fn empty() -> File {
        File {
            folder: tempfile::tempdir().unwrap(),
            ledger: None,
        }
    }

    async fn open(&self) -> Result<SqliteLedger, OpenError> {
        SqliteLedger::open(&self.path()).await
    }
}

async fn file() -> File {
    let mut file = File::empty();
    file.ledger = Some(Arc::new(file.open().await.unwrap()));
    file
}

#[async_trait]
impl Backend for File {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(self.ledger.as_ref().unwrap()) as Arc<dyn Ledger>
    }

    async fn reopen(&mut self) {
        drop(self.ledger.take());
        self.ledger = Some(Arc::new(self.open().await.unwrap()));
    }

    async fn tamper(&self, sql: &'static str) {
        self.sql(sql).await;
    }
}

super::conformance!(file);

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let file = file().await;
    let error = file.open().await.unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[tokio::test]
async fn a_reader_sees_what_a_writer_settles() {
    let file = file().await;
    let mut world = World::with_acme(file.ledger()).await;
    let reader = SqliteLedger::open_read_only(&file.path()).await.unwrap();
    for round in 0..20 {
        world.charge("acme", &format!("charge-{round}"), 3);
        world.flush().await;
        let seen = reader
            .account(&account_id("acme"), world.now)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            seen.sequence,
            world.books[&account_id("acme")].account().sequence
        );
        assert_eq!(reader.audit(10).await.unwrap(), []);
    }
    let creation = request("other", None, Wanted::Create(world.creation(10)));
    let fault = reader.submit(&creation, world.now).await.unwrap_err();
    assert!(fault.to_string().contains("reading only"), "{fault}");
}

#[tokio::test]
async fn a_reader_needs_a_ledger() {
    let file = File::empty();
    let error = SqliteLedger::open_read_only(&file.path())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_version_is_left_alone() {
    let file = File::empty();
    file.open().await.unwrap().close().await;
    file.sql("PRAGMA user_version = 7").await;
    for error in [
        file.open().await.unwrap_err(),
        SqliteLedger::open_read_only(&file.path())
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                OpenError::Newer {
                    found: 7,
                    known: 2,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_no_ledger_is_left_alone() {
    let file = File::empty();
    std::fs::write(
        file.path(),
        "not a database, but long enough to have a header".repeat(40),
    )
    .unwrap();
    let error = file.open().await.unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");

    let file = File::empty();
    file.sql("CREATE TABLE notes (text TEXT)").await;
    let before = std::fs::read(file.path()).unwrap();
    let error = file.open().await.unwrap_err();
    assert!(matches!(error, OpenError::NotALedger { .. }), "{error}");
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_writable() {
    let file = File::empty();
    let error = SqliteLedger::open(&file.path().join("none/ledger.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
}

#[tokio::test]
async fn an_abandoned_call_leaves_the_ledger_usable() {
    let file = file().await;
    let mut world = World::with_acme(file.ledger()).await;
    for round in 0..50u64 {
        world.charge("acme", &format!("charge-{round}"), 1);
        let batch = [world.take_batch()];
        let settle = world.ledger.settle(&batch, world.now);
        let wait = std::time::Duration::from_micros(round * 20);
        let outcome = tokio::time::timeout(wait, settle).await;
        if outcome.is_err() {
            // Whether it happened is what the cursor says.
            let at = world.ledger.cursors().await.unwrap();
            if at != [batch[0].end()] {
                world.ledger.settle(&batch, world.now).await.unwrap();
            }
        }
    }
    world.check().await;
}
