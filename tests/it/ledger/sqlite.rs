//! The SQLite ledger: every case, and what only a file can have.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tollgate::{
    app::restore::restore,
    clock::ManualClock,
    domain::{account::Status, packed::Packed},
    hot::{
        OutboxBatch,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::{
        EntryFilter, Ledger, SubmitRefusal, Submitted, Wanted,
        sqlite::{OpenError, SqliteLedger},
    },
};

use super::{
    Backend, audit,
    entries::conversation,
    world::{World, account_id, refund, request},
};
use crate::support::sqlite;

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
        sqlite::tamper(&self.path(), sql).await;
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
                    known: 6,
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// Back to version 4, where an account and a grant were one row each.
const TO_VERSION_4: &str = "
    DROP VIEW accounts; DROP VIEW grants;
    ALTER TABLE account_terms RENAME TO accounts;
    ALTER TABLE accounts ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE accounts ADD COLUMN debt INTEGER NOT NULL DEFAULT 0;
    UPDATE accounts SET (sequence, debt) =
        (SELECT sequence, debt FROM balances AS b WHERE b.account_id = accounts.account_id);
    DROP TABLE balances;
    ALTER TABLE grant_terms RENAME TO grants;
    ALTER TABLE grants ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
    UPDATE grants SET used = (SELECT used FROM grant_uses AS u
        WHERE u.account_id = grants.account_id AND u.grant_id = grants.grant_id);
    DROP TABLE grant_uses;
    DROP TABLE identity;
    PRAGMA user_version = 4";

/// Before version 4 an entry was kept as JSON, and nothing of it beside the columns to look it up by.
#[tokio::test]
async fn entries_of_earlier_versions_are_read_and_audited() {
    let mut file = file().await;
    let mut world = audit::busy(&file).await;
    world.check().await;
    let all = EntryFilter::default();
    let before = world.ledger.entries(&all, None, 1000).await.unwrap();
    let chat = conversation(&world, "chat-1").await;
    let mut sql = String::new();
    for recorded in &before.entries {
        let body = serde_json::to_string(&recorded.entry).unwrap();
        let (account, sequence) = (&recorded.entry.account_id, recorded.entry.sequence);
        sql += &format!(
            "UPDATE entries SET body = '{body}'
             WHERE account_id = '{account}' AND sequence = {sequence};"
        );
    }
    file.sql(&sql).await;
    file.sql(TO_VERSION_4).await;
    file.sql(
        "ALTER TABLE entries DROP COLUMN packed; ALTER TABLE entries DROP COLUMN charged;
         ALTER TABLE entries DROP COLUMN change; PRAGMA user_version = 3",
    )
    .await;

    let mut world = world.reopen(&mut file).await;
    let after = world.ledger.entries(&all, None, 1000).await.unwrap();
    assert_eq!(after, before);
    let read = conversation(&world, "chat-1").await;
    assert_eq!(read, chat);
    audit::corrupt(&file, &mut world).await;

    // What comes now is kept beside it.
    world.change("a", Some("refund:2"), refund("c1", 10)).await;
    world.commit("a", "open", 30, false);
    world.check().await;
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

/// As a full disk does: SQLite ends the transaction by itself, behind the driver's back.
#[tokio::test]
async fn a_transaction_that_sqlite_ends_leaves_the_ledger_usable() {
    let file = file().await;
    let mut world = World::with_acme(file.ledger()).await;
    world.charge("acme", "c1", 10);
    let batch = world.take_batch();
    file.tamper(
        "CREATE TRIGGER full BEFORE INSERT ON entries
         BEGIN SELECT RAISE(ROLLBACK, 'no room'); END",
    )
    .await;
    for _ in 0..2 {
        let fault = world
            .ledger
            .settle(std::slice::from_ref(&batch), world.now)
            .await;
        let fault = fault.unwrap_err().to_string();
        assert!(fault.contains("no room"), "{fault}");
    }
    file.tamper("DROP TRIGGER full").await;
    let settled = world.ledger.settle(&[batch], world.now).await.unwrap();
    assert_eq!(settled.entries, 1);
    world.check().await;
}

/// Many changes at once, some of them the same, some of them about an account that can't be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_once_are_taken_once_and_fail_alone() {
    let file = file().await;
    let mut world = World::with_acme(file.ledger()).await;
    world.create("damaged", 10).await;
    world.flush().await;
    file.tamper("UPDATE accounts SET status = 'odd' WHERE account_id = 'damaged'")
        .await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..400 {
        let (ledger, now) = (Arc::clone(&world.ledger), world.now);
        // Each account is asked for four times, every fourth time with another payload.
        let mut asked = request(
            &format!("new-{}", number % 100),
            None,
            Wanted::Create(world.creation(10)),
        );
        if number >= 300 {
            asked.payload = vec![("plan_id".to_owned(), "other".to_owned())];
        }
        tasks.spawn(async move { (number, ledger.submit(&asked, now).await.unwrap()) });
        if number % 40 == 0 {
            let ledger = Arc::clone(&world.ledger);
            let wanted = Wanted::SetStatus {
                status: Status::Suspended,
                reason: String::new(),
            };
            let asked = request("damaged", None, wanted);
            tasks.spawn(async move {
                let fault = ledger.submit(&asked, now).await.unwrap_err();
                assert!(fault.to_string().contains("submit"), "{fault}");
                (number, Submitted::Refused(SubmitRefusal::OutOfRange))
            });
        }
    }
    let mut new = vec![0; 100];
    for (number, submitted) in tasks.join_all().await {
        match submitted {
            Submitted::New(change) => {
                assert_eq!(change.number, 1);
                new[number % 100] += 1;
            }
            Submitted::Known(change) => assert_eq!(change.number, 1),
            Submitted::Conflict { field } => assert_eq!(field, "plan_id"),
            Submitted::Refused(refusal) => assert_eq!(refusal, SubmitRefusal::OutOfRange),
        }
    }
    assert_eq!(new, vec![1; 100]);
    let unapplied = world.ledger.unapplied(None, 1000).await.unwrap();
    assert_eq!(unapplied.len(), 100);
    for id in unapplied {
        let changes = world.ledger.changes(&id, 1, 9).await.unwrap();
        assert_eq!(changes.len(), 1, "{id}");
    }
}

/// A ledger that was dropped in the middle of a transaction may commit it after its lock is free:
/// who opens the file next must not have looked at the reservations before.
#[tokio::test]
async fn a_transaction_that_is_still_being_committed_is_waited_for() {
    let mut file = file().await;
    let mut world = World::with_acme(file.ledger()).await;
    world.reserve("acme", "r1", 50);
    world.commit("acme", "r1", 45, true);
    world.flush().await;
    drop((world, file.ledger.take()));
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut connection = options.connect().await.unwrap();
    let moved = "BEGIN IMMEDIATE; UPDATE reservation_log SET id = id + 10";
    sqlx::raw_sql(moved).execute(&mut connection).await.unwrap();
    let opening = file.open();
    tokio::pin!(opening);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut opening).await;
    assert!(early.is_err(), "it did not wait for the transaction");
    let commit = sqlx::raw_sql("COMMIT");
    commit.execute(&mut connection).await.unwrap();
    let opened = opening.await.unwrap();
    let kept = opened.reservations(None, 10).await.unwrap();
    let ids: Vec<&str> = kept.iter().map(|((_, id), _)| id.as_str()).collect();
    assert_eq!(ids, ["r1"]);
}

/// A start looks at a part of each reservation only, and refuses one of which any other part can't
/// be read.
#[tokio::test]
async fn a_reservation_that_can_not_be_read_is_not_restored() {
    let file = file().await;
    let mut world = World::with_acme(file.ledger()).await;
    world.reserve("acme", "sound", 50);
    world.reserve("acme", "damaged", 50);
    let batch = world.take_batch();
    let cut = batch.reservations.iter().map(|((account_id, id), packed)| {
        let bytes = packed.as_ref().unwrap().as_bytes();
        let kept = bytes.len() - usize::from(id.as_str() == "damaged");
        let packed = Packed::from_bytes(&bytes[..kept]);
        assert!(packed.summary().is_ok() && packed.each_hold(|_, _| ()).is_ok());
        ((account_id.clone(), id.clone()), Some(packed))
    });
    let cut = OutboxBatch {
        reservations: cut.collect(),
        ..batch.clone()
    };
    world.ledger.settle(&[cut], world.now).await.unwrap();
    let clock = Arc::new(ManualClock::new(world.now));
    let memory = MemoryHot::new(MemoryOptions::default(), clock.clone());
    let refused = restore(&memory, world.ledger.as_ref(), clock.as_ref()).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("reservation"), "{said}");
}

/// A caller that goes away takes nobody else's change along, and the next one is taken.
#[tokio::test]
async fn a_change_is_taken_though_its_caller_is_gone() {
    let file = file().await;
    let world = World::with_acme(file.ledger()).await;
    let creation = |id: &str| request(id, None, Wanted::Create(world.creation(10)));
    let (first, second) = (creation("first"), creation("second"));
    let gone = world.ledger.submit(&first, world.now);
    // Polled once, which hands it in, and dropped.
    assert!(polled_once(gone).await.is_none());
    let submitted = world.ledger.submit(&second, world.now).await.unwrap();
    assert!(matches!(submitted, Submitted::New(_)), "{submitted:?}");
    let again = world.ledger.submit(&first, world.now).await.unwrap();
    assert!(matches!(again, Submitted::Known(_)), "{again:?}");
}

/// What a future answers when it is polled for the first time.
async fn polled_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
