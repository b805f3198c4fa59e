//! What support asks may be slow, and is asked again: settling finds a connection all the same, and
//! there are never more connections than there may be.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection};
use tollgate::ledger::{
    CallFilter, EntryFilter, InUse, Ledger, Wanted,
    postgres::{PostgresLedger, PostgresOptions},
};

use crate::{
    ledger::world::{START, World, pack, request},
    support::postgres::{Database, shared},
};

/// What a caller waits before it goes away.
const CALLER: Duration = Duration::from_millis(300);
/// What a ledger waits before it says that it is busy.
const ACQUIRE: Duration = Duration::from_secs(1);

/// How many sessions wait for a lock.
const WAITING: &str = "SELECT count(*)::text FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
/// How many connections the ledger has.
const CONNECTIONS: &str = "SELECT count(*)::text FROM pg_stat_activity
                           WHERE datname = current_database() AND application_name = 'tollgate'";

async fn open(options: &PostgresOptions) -> Arc<PostgresLedger> {
    Arc::new(PostgresLedger::open(options, START).await.unwrap())
}

/// A session that keeps everybody from a table until it is closed.
async fn keep_from(database: &Database, table: &str) -> PgConnection {
    let mut keeper = database.connect().await;
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut keeper)
        .await
        .unwrap();
    keeper
}

#[tokio::test]
async fn slow_lists_leave_connections_to_settling_whoever_waits_for_them() {
    let database = shared().ledger().await;
    let mut options = database.options();
    options.connections_max = 4;
    options.acquire_timeout = ACQUIRE;
    let ledger = open(&options).await;
    let mut world = World::with_acme(ledger.clone()).await;
    let keeper = keep_from(&database, "admin_calls").await;
    let filter = CallFilter::default();
    // Their callers go away, and the server reads on.
    for _ in 0..2 {
        let asked = ledger.calls(&filter, None, 10);
        let waits = tokio::time::timeout(CALLER, asked).await;
        assert!(waits.is_err(), "{waits:?}");
    }
    while database.texts(WAITING).await != ["2"] {}
    for number in 0..4 {
        let fault = ledger.calls(&filter, None, 10).await.unwrap_err();
        assert!(fault.to_string().contains("try again"), "{fault}");
        world.charge("acme", &format!("c{number}"), 1);
        assert_eq!(world.flush().await.entries, 1);
    }
    let entries = ledger.entries(&EntryFilter::default(), None, 10).await;
    assert!(entries.unwrap_err().to_string().contains("try again"));
    let audit = ledger.audit(10).await.unwrap_err();
    assert!(audit.to_string().contains("try again"), "{audit}");
    keeper.close().await.unwrap();
    while database.texts(WAITING).await != ["0"] {}
    let found = ledger.calls(&filter, None, 10).await.unwrap();
    assert_eq!(found.calls, []);
    world.check().await;
}

#[tokio::test]
async fn connections_that_are_all_busy_are_not_taken_for_silent() {
    let database = shared().ledger().await;
    let mut options = database.options();
    options.connections_max = 2;
    options.acquire_timeout = ACQUIRE;
    let ledger = open(&options).await;
    World::with_acme(ledger.clone()).await;
    let keeper = keep_from(&database, "accounts").await;
    let grants = (0..2).map(|number| {
        let ledger = ledger.clone();
        let id = format!("pack-{number}");
        let grant = Wanted::Grant {
            grant: Box::new(pack(&id, 10)),
            reason: String::new(),
        };
        let key = format!("grant:{id}");
        let grant = request("acme", Some(&key), grant);
        tokio::spawn(async move { ledger.submit(&grant, START).await })
    });
    let grants: Vec<_> = grants.collect();
    while database.texts(WAITING).await != ["2"] {}
    for _ in 0..4 {
        let fault = ledger.cursors().await.unwrap_err();
        assert!(fault.to_string().contains("timed out"), "{fault}");
    }
    assert_eq!(database.texts(CONNECTIONS).await, ["2"]);
    keeper.close().await.unwrap();
    for grant in grants {
        grant.await.unwrap().unwrap();
    }
}

/// A start needs to know it, however many reservations are kept.
#[tokio::test]
async fn what_is_in_use_may_be_looked_for_longer_than_any_statement() {
    let database = shared().ledger().await;
    let mut options = database.options();
    options.statement_timeout = Duration::from_millis(200);
    let ledger = open(&options).await;
    let keeper = keep_from(&database, "reservations").await;
    let looking = tokio::spawn(async move { ledger.in_use().await });
    let long = "SELECT count(*)::text FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'
                  AND clock_timestamp() - query_start > interval '1 second'";
    while !looking.is_finished() && database.texts(long).await != ["1"] {}
    keeper.close().await.unwrap();
    assert_eq!(looking.await.unwrap().unwrap(), InUse::default());
}
