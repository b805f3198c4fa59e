//! Entries by month: made ahead, made on demand, and detached without a trace in any balance.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tollgate::{
    domain::{ids::AccountId, timestamp::Timestamp},
    ledger::{EntryFilter, Ledger, postgres::PostgresLedger},
};

use crate::{
    ledger::settle::amend,
    ledger::world::{START, World, account_id, pack, refund, request},
    support::{
        instant,
        postgres::{Database, shared},
    },
};

async fn months(database: &Database) -> Vec<String> {
    let attached = "SELECT inhrelid::regclass::text FROM pg_inherits
                    WHERE inhparent = 'entries'::regclass ORDER BY 1";
    database.texts(attached).await
}

#[tokio::test]
async fn months_are_made_ahead_once() {
    let database = shared().ledger().await;
    let ledger = database.open().await;
    let first = [
        "entries_2026_01",
        "entries_2026_02",
        "entries_2026_03",
        "entries_2026_04",
    ];
    assert_eq!(months(&database).await, first);
    let march = instant("2026-03-15T00:00:00Z");
    assert_eq!(ledger.ensure_partitions(march).await.unwrap(), 2);
    assert_eq!(ledger.ensure_partitions(march).await.unwrap(), 0);
    assert_eq!(months(&database).await.len(), 6);
}

#[tokio::test]
async fn an_entry_of_any_other_month_gets_its_own() {
    let database = shared().ledger().await;
    let mut world = World::with_acme(database.open().await).await;
    for (at, partition) in [
        ("2024-02-29T23:59:59.999Z", "entries_2024_02"),
        ("2031-12-31T23:59:59.999Z", "entries_2031_12"),
        ("2032-01-01T00:00:00Z", "entries_2032_01"),
        ("8999-07-01T00:00:00Z", "entries_8999_07"),
    ] {
        world.charge("acme", &format!("charge-{at}"), 1);
        let mut batch = world.take_batch();
        amend(&mut batch, 0, |entry| entry.occurred_at = instant(at));
        world.ledger.settle(&[batch], world.now).await.unwrap();
        assert!(months(&database).await.contains(&partition.to_owned()));
        let found = database
            .texts(&format!("SELECT count(*)::text FROM {partition}"))
            .await;
        assert_eq!(found, ["1"]);
    }
    world.check().await;
}

/// Entries of January, February and March.
async fn three_months(database: &Database) -> World {
    let mut world = World::with_acme(database.open().await).await;
    world.grant("acme", pack("pack-1", 1000)).await;
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 20, true);
    world.commit("acme", "r1", 45, false);
    world.reserve("acme", "r2", 60);
    world.commit("acme", "r2", 30, true);
    world.charge("acme", "c1", 70);
    world.flush().await;
    world
        .change("acme", Some("refund:1"), refund("c1", 10))
        .await;
    world.renew("acme");
    world.charge("acme", "c2", 5);
    world.flush().await;
    world.renew("acme");
    world.charge("acme", "c3", 6);
    world.check().await;
    world
}

async fn listed(world: &World, account: &AccountId) -> usize {
    let filter = EntryFilter {
        account_id: Some(account.clone()),
        ..EntryFilter::default()
    };
    let page = world.ledger.entries(&filter, None, 1000).await.unwrap();
    page.entries.len()
}

/// As whoever keeps the database does.
async fn detach(database: &Database, partition: &str) {
    let sql = format!("SELECT detach_entries('{partition}')");
    database.sql(&sql).await;
}

async fn detach_january_and_february(database: &Database) {
    for partition in ["entries_2026_01", "entries_2026_02"] {
        detach(database, partition).await;
    }
}

#[tokio::test]
async fn detached_months_leave_every_balance_as_it_is() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    let acme = account_id("acme");
    let before = world.ledger.account(&acme, world.now).await.unwrap();
    let lines = listed(&world, &acme).await;
    let january = "entries_2026_01".to_owned();
    assert!(months(&database).await.contains(&january));
    detach_january_and_february(&database).await;
    assert!(!months(&database).await.contains(&january));
    let again = refused(&database, "entries_2026_01").await;
    assert!(again.contains("is not a partition of entries"), "{again}");
    assert_eq!(
        world.ledger.account(&acme, world.now).await.unwrap(),
        before
    );
    assert!(listed(&world, &acme).await < lines);
    assert_eq!(world.ledger.audit(10).await.unwrap(), []);
    world.charge("acme", "c4", 7);
    world.renew("acme");
    world.check().await;
    // What the audit keeps for them is checked too.
    database
        .sql("UPDATE detached_entries SET credits = credits + 1")
        .await;
    assert!(!world.ledger.audit(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_settlement_of_a_detached_month_is_still_refused() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    detach_january_and_february(&database).await;
    let available = world.available("acme");
    world.forget("acme", "r1");
    world.commit("acme", "r1", 45, false);
    let settled = world.flush().await;
    assert_eq!(settled.reversals.len(), 1);
    world.check().await;
    assert_eq!(world.available("acme"), available);
    // A reservation that is still open goes on where it was.
    world.commit("acme", "r2", 40, false);
    assert_eq!(world.flush().await.reversals, []);
    world.check().await;
    // What can't be read any more can't be refunded.
    let late = request("acme", Some("refund:2"), refund("c1", 10));
    let told = world.ledger.submit(&late, world.now).await.unwrap();
    assert!(matches!(
        told,
        tollgate::ledger::Submitted::Refused(tollgate::ledger::SubmitRefusal::NothingSettled)
    ));
}

#[tokio::test]
async fn a_late_entry_of_a_detached_month_finds_a_place() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    // The ledger does not know that somebody has detached anything.
    detach_january_and_february(&database).await;
    for (charge, at) in [
        ("late-1", START),
        ("late-2", Timestamp::from_millis(START.millis() + 1)),
    ] {
        world.charge("acme", charge, 1);
        let mut batch = world.take_batch();
        amend(&mut batch, 0, |entry| entry.occurred_at = at);
        let settled = world.ledger.settle(&[batch], world.now).await.unwrap();
        assert_eq!(settled.entries, 1);
    }
    assert!(
        months(&database)
            .await
            .contains(&"entries_2026_01_2".to_owned())
    );
    world.check().await;
    detach(&database, "entries_2026_01_2").await;
    world.check().await;
}

/// What the server says to a month that can't be detached.
async fn refused(database: &Database, partition: &str) -> String {
    let mut session = database.connect().await;
    let detached = sqlx::query("SELECT detach_entries($1::regclass)")
        .bind(partition)
        .execute(&mut session)
        .await;
    detached.unwrap_err().to_string()
}

/// Summing up a month takes until a lock is free, as a large one takes hours.
const HOLD_UP: &str = "
    CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        WHILE NOT pg_try_advisory_xact_lock(7) LOOP
            PERFORM pg_sleep(0.01);
        END LOOP;
        RETURN NULL;
    END $$;
    CREATE TRIGGER hold_up AFTER INSERT ON detached_entries
        FOR EACH STATEMENT EXECUTE FUNCTION hold_up()";

/// Detaches January meanwhile, in a session of its own.
fn detaching_january(database: &Database) -> JoinHandle<()> {
    let url = database.url();
    tokio::spawn(async move {
        let mut session = PgConnection::connect(&url).await.unwrap();
        let detach = sqlx::query("SELECT detach_entries('entries_2026_01')");
        detach.execute(&mut session).await.unwrap();
    })
}

/// A month that is being summed up for as long as the session lives that this answers.
async fn held_up(database: &Database) -> (PgConnection, JoinHandle<()>) {
    database.sql(HOLD_UP).await;
    let mut session = database.connect().await;
    let lock = sqlx::query("SELECT pg_advisory_lock(7)");
    lock.execute(&mut session).await.unwrap();
    let detaching = detaching_january(database);
    let waits = "SELECT count(*)::text FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'PgSleep'";
    while database.texts(waits).await != ["1"] {}
    (session, detaching)
}

#[tokio::test]
async fn while_a_month_is_summed_up_others_are_made_and_processes_start() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    let (sums, detaching) = held_up(&database).await;
    let mut options = database.options();
    options.lock_timeout = Duration::from_secs(5);
    let started = PostgresLedger::open(&options, world.now).await.unwrap();
    let june = instant("2026-06-15T00:00:00Z");
    assert_eq!(started.ensure_partitions(june).await.unwrap(), 3);
    world.charge("acme", "c4", 7);
    let batch = world.take_batch();
    started.settle(&[batch], world.now).await.unwrap();
    // Two at once would add to the same sums.
    let second = refused(&database, "entries_2026_02").await;
    assert!(second.contains("lock timeout"), "{second}");
    sums.close().await.unwrap();
    detaching.await.unwrap();
    world.check().await;
    detach(&database, "entries_2026_02").await;
    world.check().await;
}

#[tokio::test]
async fn a_month_that_is_there_is_found_whoever_makes_another_one() {
    let database = shared().ledger().await;
    let mut options = database.options();
    options.lock_timeout = Duration::from_millis(100);
    let mut maker = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT pg_advisory_xact_lock('entries'::regclass::oid::bigint)")
        .execute(&mut maker)
        .await
        .unwrap();
    let ledger = PostgresLedger::open(&options, START).await.unwrap();
    let march = instant("2026-03-15T00:00:00Z");
    let fault = ledger.ensure_partitions(march).await.unwrap_err();
    assert!(fault.to_string().contains("lock timeout"), "{fault}");
    maker.close().await.unwrap();
    assert_eq!(ledger.ensure_partitions(march).await.unwrap(), 2);
}

#[tokio::test]
async fn a_step_that_fails_forgets_no_month() {
    let database = shared().ledger().await;
    let ledger = database.open().await;
    let mut world = World::with_acme(ledger.clone()).await;
    database
        .sql("ALTER FUNCTION add_entries_partition RENAME TO out_of_reach")
        .await;
    ledger.ensure_partitions(START).await.unwrap_err();
    world.charge("acme", "c1", 1);
    assert_eq!(world.flush().await.entries, 1);
}

/// How many wait for what detaching needs.
const DETACHING_WAITS: &str = "SELECT count(*)::text FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation = 'entries'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted";

/// Whoever reads `entries` for hours holds up detaching, and detaching holds up nobody behind it.
#[tokio::test]
async fn behind_a_long_reader_detaching_steps_aside_and_tries_again() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    world.flush().await;
    let mut reader = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM entries")
        .execute(&mut reader)
        .await
        .unwrap();
    let detaching = detaching_january(&database);
    while database.texts(DETACHING_WAITS).await != ["1"] {}
    // With no bound of its own it waits for as long as it has to.
    world.charge("acme", "c4", 7);
    assert_eq!(world.flush().await.entries, 1);
    reader.close().await.unwrap();
    detaching.await.unwrap();
    world.check().await;
}

/// It waits for the sums while it holds what detaching needs, so one of the two has to give way.
#[tokio::test]
async fn a_late_entry_of_a_month_that_is_summed_up_is_in_its_sums_or_comes_after_it() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    world.flush().await;
    let (sums, detaching) = held_up(&database).await;
    let mut options = database.options();
    options.lock_timeout = Duration::from_secs(3);
    let late = PostgresLedger::open(&options, world.now).await.unwrap();
    world.charge("acme", "late", 1);
    let mut batch = world.take_batch();
    amend(&mut batch, 0, |entry| entry.occurred_at = START);
    let batch = [batch];
    let (waits, ()) = tokio::join!(late.settle(&batch, world.now), async {
        let waits = "SELECT count(*)::text FROM pg_locks WHERE NOT granted
                     AND relation = 'entries_2026_01'::regclass";
        while database.texts(waits).await != ["1"] {}
        sums.close().await.unwrap();
    });
    println!("the late entry: {waits:?}");
    detaching.await.unwrap();
    late.settle(&batch, world.now).await.unwrap();
    world.check().await;
}

/// Which months there are is not of the audit's snapshot, so none may go while it looks.
#[tokio::test]
async fn a_month_that_is_detached_during_an_audit_is_no_gap() {
    let database = shared().ledger().await;
    let mut world = three_months(&database).await;
    world.flush().await;
    // The audit has looked at grants by then, and at no entries yet.
    let mut owner = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE")
        .execute(&mut owner)
        .await
        .unwrap();
    let ledger = database.open().await;
    let audit = tokio::spawn(async move { ledger.audit(10).await.unwrap() });
    let waits = "SELECT count(*)::text FROM pg_locks
                 WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND relation = 'changes'::regclass AND NOT granted";
    while database.texts(waits).await != ["1"] {}
    let detaching = detaching_january(&database);
    while !detaching.is_finished() && database.texts(DETACHING_WAITS).await != ["1"] {}
    owner.close().await.unwrap();
    assert_eq!(audit.await.unwrap(), []);
    detaching.await.unwrap();
    world.check().await;
}
