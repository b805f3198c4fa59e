//! The settler's transaction, ended by force: between any two of its statements, while it commits,
//! and after it has committed but before anybody has heard so. Nothing is half done, and nothing
//! twice.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;
use tollgate::{
    hot::OutboxBatch,
    ledger::postgres::{PostgresLedger, PostgresOptions},
};

use crate::{
    ledger::world::{START, World, pack, refund},
    support::{
        postgres::{self, Database, shared},
        proxy::{Proxy, Way},
    },
};

/// Every table and operation of a settlement that has some of everything.
const STATEMENTS: [(&str, &str); 12] = [
    ("cursors", "INSERT"),
    ("cursors", "UPDATE"),
    ("settlements", "INSERT"),
    ("settlements", "UPDATE"),
    ("accounts", "UPDATE"),
    ("grants", "INSERT"),
    ("grants", "UPDATE"),
    ("entries", "INSERT"),
    ("reservations", "INSERT"),
    ("reservations", "DELETE"),
    ("changes", "INSERT"),
    ("changes", "COMMIT"),
];

/// What a trigger calls that ends the session which fires it.
pub const DIE: &str = "
    CREATE OR REPLACE FUNCTION die() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(10);
        RETURN NULL;
    END $$";

/// A world whose next batch makes every statement of a settlement run.
async fn busy(database: &Database) -> (World, OutboxBatch) {
    let mut world = World::new(database.open().await);
    world.create("acme", 500).await;
    world.charge("acme", "c1", 10);
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 20, true);
    world.reserve("acme", "r2", 10);
    let first = world.take_batch();
    world.ledger.settle(&[first], world.now).await.unwrap();
    world.grant("acme", pack("pack-1", 100)).await;
    world.create("other", 50).await;
    world.commit("acme", "r1", 45, false);
    world
        .change("acme", Some("refund:1"), refund("c1", 5))
        .await;
    world.forget("acme", "c1");
    world.charge("acme", "c1", 10);
    world.forget("acme", "r2");
    world.charge("other", "c2", 7);
    world.renew("acme");
    let batch = world.take_batch();
    (world, batch)
}

/// Everything that a settlement writes, as one text.
async fn everything(database: &Database) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "accounts",
        "grants",
        "entries",
        "settlements",
        "changes",
        "reservations",
        "cursors",
    ] {
        let rows = format!("SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1");
        all.extend(database.texts(&rows).await);
    }
    all
}

/// Makes the server end the session that reaches a place; answers what takes the trap away.
async fn trap(database: &Database, table: &str, operation: &str, when: &str) -> String {
    let on = match operation {
        "COMMIT" => format!(
            "CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON {table}
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()"
        ),
        _ => format!(
            "CREATE TRIGGER trap {when} {operation} ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION die()"
        ),
    };
    database.sql(&format!("{DIE}; {on}")).await;
    format!("DROP TRIGGER trap ON {table}")
}

#[tokio::test]
async fn a_settler_killed_between_any_two_statements_leaves_nothing() {
    let database = shared().ledger().await;
    let (mut world, batch) = busy(&database).await;
    // Another shard, which the ledger has never seen: its cursor is made.
    let new_shard = OutboxBatch {
        shard: 1,
        to: 3,
        ..OutboxBatch::default()
    };
    let batches = [batch, new_shard];
    let before = everything(&database).await;
    for (table, operation) in STATEMENTS {
        for when in ["BEFORE", "AFTER"] {
            let take_away = trap(&database, table, operation, when).await;
            let fault = world.ledger.settle(&batches, world.now).await;
            assert!(fault.is_err(), "{when} {operation} ON {table} never ran");
            database.sql(&take_away).await;
            assert_eq!(
                everything(&database).await,
                before,
                "{when} {operation} ON {table}"
            );
        }
    }
    let settled = world.ledger.settle(&batches, world.now).await.unwrap();
    assert_eq!(settled.entries, batches[0].entries.len());
    assert_eq!(settled.reversals.len(), 1);
    for change in &settled.reversals {
        world.apply(change);
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_killed_at_random_lose_nothing() {
    const ROUNDS: usize = 60;
    let database = shared().ledger().await;
    let mut world = World::with_acme(database.open().await).await;
    let url = database.url();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let killer = tokio::spawn(async move {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
            .await
            .unwrap();
        while !stopped.is_cancelled() {
            sqlx::raw_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                   AND state <> 'idle' AND random() < 0.02",
            )
            .execute(&mut connection)
            .await
            .unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut faults = 0;
    for round in 0..ROUNDS {
        world.charge("acme", &format!("charge-{round}"), 1);
        let batch = [world.take_batch()];
        loop {
            match world.ledger.settle(&batch, world.now).await {
                Ok(settled) => {
                    // A conflict says that the last try had happened after all.
                    assert!(!settled.cursor_conflict || faults > 0);
                    break;
                }
                Err(_) => faults += 1,
            }
        }
    }
    // Not in the middle of a statement, which would go on to kill; and one that was killed last may
    // not know it yet, so the check has sessions of its own.
    stop.cancel();
    killer.await.unwrap();
    println!("{faults} settlements were killed");
    world.ledger = database.open().await;
    world.check().await;
}

/// What a proxy does with the next COMMIT.
const PASS: u8 = 0;
const LOSE_THE_REPLY: u8 = 1;
const LOSE_THE_REQUEST: u8 = 2;

/// Passes everything between a client and the server, until it is told to lose a COMMIT.
async fn proxy(server: u16, what: Arc<AtomicU8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let what = what.clone();
            tokio::spawn(async move {
                let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                // However it ends, both sides are closed.
                let _ = pass(client, upstream, &what).await;
            });
        }
    });
    port
}

async fn pass(client: TcpStream, server: TcpStream, what: &AtomicU8) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut request = vec![0; 65_536];
    let mut reply = vec![0; 65_536];
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => {
                let sent = &request[..read?];
                if sent.is_empty() {
                    return Ok(());
                }
                let commits = sent.windows(6).any(|word| word == b"COMMIT");
                let loses = if commits { what.swap(PASS, Ordering::SeqCst) } else { PASS };
                if loses == LOSE_THE_REQUEST {
                    return Ok(());
                }
                to_server.write_all(sent).await?;
                if loses == LOSE_THE_REPLY {
                    let _ = from_server.read(&mut reply).await?;
                    return Ok(());
                }
            }
            read = from_server.read(&mut reply) => {
                let answer = &reply[..read?];
                if answer.is_empty() {
                    return Ok(());
                }
                to_client.write_all(answer).await?;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found_by_its_cursor() {
    let database = shared().ledger().await;
    let what = Arc::new(AtomicU8::new(PASS));
    let port = proxy(shared().port(), what.clone()).await;
    let mut world = World::with_acme(open(port, &database).await).await;
    for round in 0..5 {
        for (id, lost, is_there) in [
            ("heard", LOSE_THE_REPLY, true),
            ("unheard", LOSE_THE_REQUEST, false),
        ] {
            world.charge("acme", &format!("{id}-{round}"), 1);
            let batch = [world.take_batch()];
            what.store(lost, Ordering::SeqCst);
            let fault = world.ledger.settle(&batch, world.now).await;
            assert!(fault.is_err(), "{fault:?}");
            let settled = world.ledger.settle(&batch, world.now).await.unwrap();
            assert_eq!(settled.cursor_conflict, is_there, "{id}");
            assert_eq!(settled.entries, usize::from(!is_there), "{id}");
        }
    }
    world.check().await;
}

/// The ledger as whoever is behind a proxy has it.
async fn open(port: u16, database: &Database) -> Arc<PostgresLedger> {
    let options = PostgresOptions::new(&database.url_at(port)).unwrap();
    Arc::new(PostgresLedger::open(&options, START).await.unwrap())
}

/// A transaction's id is not proof that it happened: of one that a crash has ended before anything
/// of it was on the disk, the server knows nothing and gives the id to another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_a_crash_ended_did_not_happen_whoever_has_its_transaction_id() {
    let server = postgres::Server::start();
    let database = server.empty().await;
    // Nothing is written to the disk but by what commits.
    database
        .sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
        .await;
    database.sql("SELECT pg_reload_conf()").await;
    let (armed, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (is_armed, told) = (Arc::clone(&armed), Arc::clone(&commits));
    let proxy = Proxy::guarded(
        server.port(),
        Arc::new(move |way, bytes: &[u8]| {
            let commits = way == Way::Request && bytes.windows(6).any(|word| word == b"COMMIT");
            let is_lost = commits && is_armed.load(Ordering::SeqCst);
            if is_lost {
                told.notify_one();
            }
            !is_lost
        }),
    )
    .await;
    let mut world = World::with_acme(open(proxy.port, &database).await).await;
    world.charge("acme", "c1", 1);
    let batch = [world.take_batch()];
    armed.store(true, Ordering::SeqCst);
    let (ledger, now, sent) = (Arc::clone(&world.ledger), world.now, batch.clone());
    let settling = tokio::spawn(async move { ledger.settle(&sent, now).await });
    commits.notified().await;
    let number = async |sql| -> u64 { database.texts(sql).await[0].parse().unwrap() };
    // It is the first that has not ended.
    let lost = number("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").await;
    tokio::task::block_in_place(|| server.kill());
    tokio::task::block_in_place(|| server.start_again());
    armed.store(false, Ordering::SeqCst);
    let mut id = number("SELECT pg_current_xact_id()::text").await;
    assert!(
        id <= lost,
        "the server still knows of {lost} and goes on with {id}"
    );
    while id < lost {
        id = number("SELECT pg_current_xact_id()::text").await;
    }
    let fault = settling.await.unwrap();
    assert!(fault.is_err(), "{fault:?}");
    let settled = world.ledger.settle(&batch, world.now).await.unwrap();
    assert_eq!((settled.entries, settled.cursor_conflict), (1, false));
    world.check().await;
}
