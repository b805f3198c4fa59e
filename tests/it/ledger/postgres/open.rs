//! Opening: what is migrated, what is refused, and what an error tells.

use std::{sync::Arc, time::Duration};

use tollgate::ledger::{
    EntryFilter, Ledger,
    postgres::{Migrated, OpenError, PostgresLedger, PostgresOptions},
};

use crate::{
    ledger::world::{START, World, account_id, pack, refund, request, reservation_id},
    support::postgres::{Server, shared},
};

#[tokio::test]
async fn what_may_not_be_migrated_names_the_verb_and_stays_as_it_is() {
    let database = shared().empty().await;
    let mut options = database.options();
    options.migrate = false;
    let error = PostgresLedger::open(&options, START).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Older { found: 0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("`tollgate migrate`"), "{error}");
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(database.texts(tables).await, [""; 0]);
}

#[tokio::test]
async fn migrating_is_idempotent_and_safe_at_once() {
    let database = shared().empty().await;
    let options = database.options();
    let first = PostgresLedger::migrate(&options, START).await.unwrap();
    let made = Migrated {
        from: 0,
        to: 6,
        partitions: 4,
    };
    assert_eq!(first, made);
    let again = PostgresLedger::migrate(&options, START).await.unwrap();
    let nothing = Migrated {
        from: 6,
        to: 6,
        partitions: 0,
    };
    assert_eq!(again, nothing);

    let database = shared().empty().await;
    let options = database.options();
    let starts = (0..6).map(|_| {
        let options = options.clone();
        tokio::spawn(async move { PostgresLedger::open(&options, START).await.unwrap() })
    });
    for start in starts.collect::<Vec<_>>() {
        assert_eq!(start.await.unwrap().audit(10).await.unwrap(), []);
    }
}

/// Takes back what the migrations after the third do.
const THIRD: &str = "
    DROP FUNCTION has_entries_partition;
    DROP TABLE identity;
    DROP VIEW reservation_entries;
    ALTER TABLE entries DROP COLUMN is_first;
    CREATE INDEX entries_by_reservation ON entries (reservation_id, account_id)
        WHERE reservation_id IS NOT NULL;
    CREATE INDEX entries_by_id ON entries (id);
    ALTER TABLE settlements DROP COLUMN first_sequence, DROP COLUMN first_at,
        DROP CONSTRAINT settlements_pkey, ADD PRIMARY KEY (account_id, reservation_id);
    DELETE FROM tollgate_schema WHERE version > 3";

#[tokio::test]
async fn what_the_third_version_settled_is_found_and_goes_on() {
    let database = shared().ledger().await;
    let mut world = World::with_acme(database.open().await).await;
    world.charge("acme", "c1", 3);
    world.reserve("acme", "r1", 60);
    world.commit("acme", "r1", 20, true);
    world.commit("acme", "r1", 25, true);
    world.flush().await;
    let of = |id| EntryFilter {
        reservation_id: Some(reservation_id(id)),
        ..EntryFilter::default()
    };
    let [charge, action] = [of("c1"), of("r1")];
    let ask = async |filter| database.open().await.entries(filter, None, 10).await;
    let before = [ask(&charge).await.unwrap(), ask(&action).await.unwrap()];
    assert_eq!(before.each_ref().map(|page| page.entries.len()), [1, 2]);
    database.sql(THIRD).await;
    let migrated = PostgresLedger::migrate(&database.options(), START).await;
    let migrated = migrated.unwrap();
    assert_eq!((migrated.from, migrated.to), (3, 6));
    let after = [ask(&charge).await.unwrap(), ask(&action).await.unwrap()];
    assert_eq!(after, before);
    world.commit("acme", "r1", 30, false);
    world
        .change("acme", Some("refund:1"), refund("c1", 3))
        .await;
    world.check().await;
    assert_eq!(ask(&action).await.unwrap().entries.len(), 3);
}

#[tokio::test]
async fn a_newer_version_is_left_alone() {
    let database = shared().ledger().await;
    database
        .sql("INSERT INTO tollgate_schema (version) VALUES (7)")
        .await;
    let error = PostgresLedger::open(&database.options(), START)
        .await
        .unwrap_err();
    let is_newer = matches!(
        error,
        OpenError::Newer {
            found: 7,
            known: 6,
            ..
        }
    );
    assert!(is_newer, "{error}");
}

#[tokio::test]
async fn what_is_no_ledger_is_left_alone() {
    let database = shared().empty().await;
    database.sql("CREATE TABLE accounts (name TEXT)").await;
    let error = PostgresLedger::open(&database.options(), START)
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::NotALedger { .. }), "{error}");
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(database.texts(tables).await, ["accounts"]);
}

#[tokio::test]
async fn an_error_names_the_place_and_never_the_password() {
    let url = "postgres://tollgate:hunter2@127.0.0.1:1/books?sslmode=disable";
    let options = PostgresOptions::new(url).unwrap();
    let error = PostgresLedger::open(&options, START).await.unwrap_err();
    let told = format!("{error} {error:?} {options:?}");
    assert!(told.contains("127.0.0.1:1/books"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let ledger = PostgresLedger::connect_lazy(&options);
    let fault = ledger.cursors().await.unwrap_err();
    let told = format!("{fault} {fault:?} {ledger:?}");
    assert!(told.contains("127.0.0.1:1/books"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn the_server_is_known_by_its_certificate() {
    let database = shared().ledger().await;
    let ours = shared().authority();
    let open = async |host: &str, mode: &str, authority: &std::path::Path| {
        let url = database.tls_url(host, mode, authority);
        PostgresLedger::open(&PostgresOptions::new(&url).unwrap(), START).await
    };
    for (host, mode) in [
        ("localhost", "verify-full"),
        ("127.0.0.1", "verify-ca"),
        ("127.0.0.1", "require"),
    ] {
        let ledger = open(host, mode, &ours).await.unwrap();
        assert_eq!(ledger.audit(10).await.unwrap(), []);
        let ciphered = "SELECT DISTINCT s.ssl::text FROM pg_stat_ssl AS s
                        JOIN pg_stat_activity AS a USING (pid)
                        WHERE a.datname = current_database() AND a.application_name = 'tollgate'";
        assert_eq!(database.texts(ciphered).await, ["true"], "{mode}");
        ledger.close().await;
    }
    // Another name, and another signer.
    let error = open("127.0.0.1", "verify-full", &ours).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let key = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new([]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("stranger.pem");
    std::fs::write(&theirs, stranger.self_signed(&key).unwrap().pem()).unwrap();
    let error = open("localhost", "verify-full", &theirs).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

#[test]
fn a_url_that_is_wrong_says_why() {
    for (url, why) in [
        ("mysql://a:hunter2@b/c", "postgres://"),
        ("postgres://a:hunter2@b:99999/c", "port"),
        ("postgres://a:hunter2@b/c?sslmod=require", "sslmod"),
        ("postgres://a:hunter2@b/c?passwrd=hunter2", "passwrd"),
        ("postgres://a:hunter2@b/c?sslmode=perhaps", "perhaps"),
    ] {
        let told = PostgresOptions::new(url).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn a_lazy_ledger_works_once_the_server_has_it() {
    let database = shared().empty().await;
    let mut options = database.options();
    options.migrate = false;
    let ledger = PostgresLedger::connect_lazy(&options);
    for _ in 0..2 {
        let fault = ledger.cursors().await.unwrap_err();
        assert!(fault.to_string().contains("`tollgate migrate`"), "{fault}");
    }
    PostgresLedger::migrate(&options, START).await.unwrap();
    assert_eq!(ledger.cursors().await.unwrap(), []);
    assert_eq!(ledger.ensure_partitions(START).await.unwrap(), 0);
}

#[tokio::test]
async fn no_call_waits_longer_than_it_may() {
    let database = shared().ledger().await;
    World::with_acme(database.open().await).await;
    let mut blocker = database.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM accounts WHERE account_id = 'acme' FOR UPDATE")
        .execute(&mut blocker)
        .await
        .unwrap();
    let grant = tollgate::ledger::Wanted::Grant {
        grant: Box::new(pack("pack-1", 10)),
        reason: String::new(),
    };
    let grant = request("acme", Some("grant:pack-1"), grant);
    let short = Duration::from_millis(100);
    for (locks, statements, why) in [
        (short, Duration::from_secs(60), "lock timeout"),
        (Duration::from_secs(60), short, "statement timeout"),
    ] {
        let mut options = database.options();
        options.lock_timeout = locks;
        options.statement_timeout = statements;
        let ledger = PostgresLedger::open(&options, START).await.unwrap();
        let fault = ledger.submit(&grant, START).await.unwrap_err();
        assert!(fault.to_string().contains(why), "{fault}");
    }

    // The only connection is waiting, so the next caller gets none.
    let mut options = database.options();
    options.connections_max = 1;
    options.acquire_timeout = Duration::from_secs(1);
    options.lock_timeout = Duration::from_secs(3);
    let ledger = PostgresLedger::open(&options, START).await.unwrap();
    let (waits, gets_none) = tokio::join!(ledger.submit(&grant, START), async {
        let busy = "SELECT count(*)::text FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while database.texts(busy).await != ["1"] {}
        ledger.cursors().await
    });
    assert!(waits.unwrap_err().to_string().contains("lock timeout"));
    assert!(gets_none.unwrap_err().to_string().contains("timed out"));
    drop(blocker);
    ledger.submit(&grant, START).await.unwrap();
    let account = ledger.account(&account_id("acme"), START).await.unwrap();
    assert_eq!(account.unwrap().sequence, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_on_a_standby_is_used_until_it_is_promoted() {
    let server = Server::start();
    let database = server.empty().await;
    let mut options = database.options();
    options.acquire_timeout = Duration::from_secs(1);
    let ledger = PostgresLedger::open(&options, START).await.unwrap();
    let mut world = World::with_acme(Arc::new(ledger)).await;
    server.demote().await;

    world.charge("acme", "c1", 1);
    let batch = [world.take_batch()];
    for _ in 0..4 {
        let fault = world.ledger.settle(&batch, world.now).await.unwrap_err();
        assert!(fault.to_string().contains("is a standby"), "{fault}");
    }
    let fault = world.ledger.cursors().await.unwrap_err();
    assert!(fault.to_string().contains("is a standby"), "{fault}");
    let error = PostgresLedger::open(&options, START).await.unwrap_err();
    assert!(matches!(error, OpenError::Standby { .. }), "{error}");
    // Whoever only reads may.
    let mut reading = options.clone();
    reading.may_be_standby = true;
    reading.migrate = false;
    let reader = PostgresLedger::open(&reading, START).await.unwrap();
    assert_eq!(reader.audit(10).await.unwrap(), []);

    server.promote().await;
    let settled = world.ledger.settle(&batch, world.now).await.unwrap();
    assert_eq!(settled.entries, 1);
    world.check().await;
}
