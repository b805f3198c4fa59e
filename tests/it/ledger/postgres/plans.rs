//! How Postgres carries out what is asked of a large ledger, by the plans that it really used:
//! `auto_explain` writes them to the server's log. Support's questions and the settler's
//! statements find everything by an index, and a question with a time looks at its months only.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use tollgate::ledger::{
    CallFilter, EntryFilter, Ledger, Submitted,
    postgres::{PostgresLedger, PostgresOptions},
};

use crate::{
    ledger::world::{START, World, account_id, grant_id, refund, request, reservation_id},
    support::{
        instant,
        postgres::{Database, shared},
    },
};

/// What tables are read from end to end, and which joins look at all rows of a table.
const WHOLE: [&str; 3] = ["Seq Scan", "Hash Join", "Merge Join"];

/// Two million entries of 20,000 accounts over half a year, in conversations of five; each is a copy
/// of the one that there is. Grants and settlements to go with them. What they are logged for a
/// crash costs time and changes no plan, so they are not.
const FILL: &str = "
    SELECT add_entries_partition(
        (extract(epoch FROM m) * 1000)::bigint,
        (extract(epoch FROM m + interval '1 month') * 1000)::bigint, to_char(m, 'YYYY_MM'))
    FROM generate_series(timestamp '2026-01-01', '2026-06-01', '1 month') AS m;
    DO $$ DECLARE month REGCLASS; BEGIN
        FOR month IN SELECT inhrelid::regclass FROM pg_inherits
                     WHERE inhparent = 'entries'::regclass LOOP
            EXECUTE format('ALTER TABLE %s SET UNLOGGED', month);
        END LOOP;
    END $$;
    ALTER TABLE settlements SET UNLOGGED;
    INSERT INTO accounts
    SELECT 'account-' || n, 100, 0, 0, 0, status, overage, plan_id, allowance, NULL, NULL, anchor,
           cycle_index, cycle_start, cycle_end + n
    FROM accounts, generate_series(0, 19999) AS n;
    INSERT INTO grants
    SELECT a.account_id, 'plan:0', 'plan', 500, 100, 0, 0, g.effective_at, g.expires_at, NULL,
           g.due_at, 'starter'
    FROM grants AS g, accounts AS a WHERE a.account_id LIKE 'account-%';
    INSERT INTO entries (account_id, sequence, kind, credits, reservation_id, slot, ends,
                         conversation_id, occurred_at, recorded_at, body, is_first)
    SELECT 'account-' || n % 20000, 1 + n / 20000, 'usage', -1, 'r' || n, 1, 1, 'chat-' || n / 5,
           1767225600000 + n * 7800::bigint, 1767225600000 + n * 7800::bigint, e.body,
           TRUE
    FROM entries AS e, generate_series(0, 1999999) AS n WHERE e.sequence = 2;
    INSERT INTO settlements
    SELECT account_id, reservation_id, 1, TRUE, FALSE, 1, 1, sequence, occurred_at FROM entries
    WHERE account_id LIKE 'account-%';
    INSERT INTO changes (account_id, number, key, reservation_id, payload, body, submitted_at)
    SELECT a.account_id, 0, 'create', NULL, c.payload, c.body, c.submitted_at
    FROM changes AS c, accounts AS a WHERE c.number = 1 AND a.account_id LIKE 'account-%';
    INSERT INTO admin_calls
        (at, principal, peer, method, account_id, key, outcome, reason, request_id)
    SELECT 1767225600000 + n * 7800::bigint, 'sue', '', 'GrantCredits', 'account-' || n % 20000,
           'k' || n, 'OK', '', 'q' || n
    FROM generate_series(0, 199999) AS n;
    ANALYZE";

async fn large() -> (Database, PostgresLedger) {
    let database = shared().ledger().await;
    let mut world = World::with_acme(database.open().await).await;
    world.conversation = String::new();
    world.charge("acme", "c1", 1);
    world.flush().await;
    database.sql(FILL).await;
    let settings = "options[session_preload_libraries]=auto_explain\
                    &options[auto_explain.log_min_duration]=0\
                    &options[auto_explain.log_format]=json";
    let options = PostgresOptions::new(&format!("{}&{settings}", database.url())).unwrap();
    let ledger = PostgresLedger::open(&options, START).await.unwrap();
    (database, ledger)
}

/// The plans in a log, each with its statement.
fn plans(log: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for told in log.split("plan:\n").skip(1) {
        let json: Vec<&str> = told
            .lines()
            .take_while(|line| line.starts_with('\t'))
            .collect();
        let plan: Value = serde_json::from_str(&json.join("\n")).unwrap();
        let statement = plan["Query Text"].as_str().unwrap().to_owned();
        found.push((statement, plan["Plan"].clone()));
    }
    found
}

/// Every node of a plan.
fn nodes<'a>(plan: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(plan);
    for part in plan["Plans"].as_array().into_iter().flatten() {
        nodes(part, all);
    }
}

/// The plans of what `ask` asks.
async fn asked<T>(
    database: &Database,
    ask: impl Future<Output = Result<T, tollgate::ledger::LedgerFault>>,
) -> (T, Vec<(String, Value)>) {
    let before = plans(&database.log()).len();
    let answer = ask.await.unwrap();
    let new = plans(&database.log()).split_off(before);
    assert!(!new.is_empty(), "auto_explain says nothing");
    (answer, new)
}

/// The tables that a plan reads, all by an index.
fn read_by_index(statement: &str, plan: &Value) -> BTreeSet<String> {
    let mut all = Vec::new();
    nodes(plan, &mut all);
    let mut tables = BTreeSet::new();
    for node in all {
        let kind = node["Node Type"].as_str().unwrap();
        assert!(!WHOLE.contains(&kind), "{kind}: {statement}\n{plan:#}");
        if let Some(table) = node["Relation Name"].as_str() {
            tables.insert(table.to_owned());
        }
    }
    tables
}

async fn page(
    database: &Database,
    ledger: &PostgresLedger,
    filter: &EntryFilter,
) -> BTreeSet<String> {
    // From the sixth time on Postgres may use a plan that does not know the parameters.
    let mut tables = BTreeSet::new();
    for _ in 0..7 {
        let (first, plans) = asked(database, ledger.entries(filter, None, 20)).await;
        for (statement, plan) in &plans {
            tables = read_by_index(statement, plan);
        }
        let Some(token) = first.next else { continue };
        let (second, plans) = asked(database, ledger.entries(filter, Some(token), 20)).await;
        assert_ne!(second.entries, first.entries);
        for (statement, plan) in &plans {
            read_by_index(statement, plan);
        }
    }
    tables
}

#[tokio::test]
async fn on_two_million_entries_everything_is_found_by_index() {
    let (database, ledger) = large().await;
    support_finds_by_index_and_by_month(&database, &ledger).await;
    support_lists_and_refunds_by_index(&database, &ledger).await;
    the_hot_path_finds_by_index(&database, &ledger).await;
    a_settlement_finds_by_index(&database, Arc::new(ledger)).await;
}

async fn support_finds_by_index_and_by_month(database: &Database, ledger: &PostgresLedger) {
    let all: BTreeSet<String> = (1..=6).map(|n| format!("entries_2026_{n:02}")).collect();
    let only = |months: &[u8]| -> BTreeSet<String> {
        let name = |month: &u8| format!("entries_2026_{month:02}");
        months.iter().map(name).collect()
    };
    let account = EntryFilter {
        account_id: Some(account_id("account-7")),
        ..EntryFilter::default()
    };
    assert_eq!(page(database, ledger, &account).await, all);
    let in_march = EntryFilter {
        from: Some(instant("2026-03-05T00:00:00Z")),
        until: Some(instant("2026-03-20T00:00:00Z")),
        ..account.clone()
    };
    assert_eq!(page(database, ledger, &in_march).await, only(&[3]));
    let kinds = EntryFilter {
        kinds: vec![tollgate::domain::entry::EntryKind::Refund],
        ..account
    };
    page(database, ledger, &kinds).await;
    let spring = EntryFilter {
        from: Some(instant("2026-03-05T00:00:00Z")),
        until: Some(instant("2026-04-20T00:00:00Z")),
        ..EntryFilter::default()
    };
    let read = page(database, ledger, &spring).await;
    assert!(read.is_subset(&only(&[3, 4])), "{read:?}");
    page(database, ledger, &EntryFilter::default()).await;
    let conversation = EntryFilter {
        conversation_id: Some("chat-1234".to_owned()),
        ..EntryFilter::default()
    };
    assert_eq!(page(database, ledger, &conversation).await, all);
    let reservation = EntryFilter {
        reservation_id: Some(reservation_id("r4321")),
        ..EntryFilter::default()
    };
    let mut found_by = all.clone();
    found_by.insert("settlements".to_owned());
    assert_eq!(page(database, ledger, &reservation).await, found_by);
    for _ in 0..7 {
        let read = ledger.conversation("chat-77", None, 100);
        let (found, plans) = asked(database, read).await;
        assert_eq!(found.entries.len(), 5);
        for (statement, plan) in &plans {
            assert_eq!(read_by_index(statement, plan), all);
        }
    }
}

async fn support_lists_and_refunds_by_index(database: &Database, ledger: &PostgresLedger) {
    let of_account = CallFilter {
        account_id: Some(account_id("account-7")),
        ..CallFilter::default()
    };
    let in_a_day = CallFilter {
        from: Some(instant("2026-01-05T00:00:00Z")),
        until: Some(instant("2026-01-06T00:00:00Z")),
        ..CallFilter::default()
    };
    for number in 0..7 {
        let after = account_id("account-5");
        let (found, plans) = asked(database, ledger.accounts(Some(&after), 20, START)).await;
        assert_eq!(found.len(), 20);
        for (statement, plan) in &plans {
            read_by_index(statement, plan);
        }
        for filter in [&of_account, &in_a_day] {
            let (found, plans) = asked(database, ledger.calls(filter, None, 5)).await;
            assert_eq!(found.calls.len(), 5);
            for (statement, plan) in &plans {
                read_by_index(statement, plan);
            }
        }
        // Each of an account and a month of its own.
        let of = number * 300_007;
        let account = format!("account-{}", of % 20_000);
        let wanted = refund(&format!("r{of}"), 0);
        let refund = request(&account, Some("refund:1"), wanted);
        let (taken, plans) = asked(database, ledger.submit(&refund, START)).await;
        assert!(matches!(taken, Submitted::New(_)), "{taken:?}");
        for (statement, plan) in &plans {
            read_by_index(statement, plan);
        }
    }
}

async fn the_hot_path_finds_by_index(database: &Database, ledger: &PostgresLedger) {
    let account = account_id("account-7");
    for _ in 0..7 {
        let (found, plans) = asked(database, ledger.account(&account, START)).await;
        assert_eq!(found.unwrap().grants.len(), 1);
        for (statement, plan) in &plans {
            read_by_index(statement, plan);
        }
        let (found, plans) = asked(database, ledger.grant(&account, &grant_id("plan:0"))).await;
        assert!(found.is_some());
        for (statement, plan) in &plans {
            read_by_index(statement, plan);
        }
    }
    let (_, plans) = asked(database, ledger.due(START, 100)).await;
    for (statement, plan) in &plans {
        read_by_index(statement, plan);
    }
    let after = account_id("account-1");
    let (_, plans) = asked(database, ledger.unapplied(Some(&after), 100)).await;
    for (statement, plan) in &plans {
        read_by_index(statement, plan);
    }
}

async fn a_settlement_finds_by_index(database: &Database, ledger: Arc<PostgresLedger>) {
    let mut world = World::new(ledger.clone());
    for number in 0..200 {
        world.create(&format!("new-{number}"), 500).await;
    }
    let cursor = ledger.cursors().await.unwrap();
    let mut from = cursor[0].position;
    for round in 0..3 {
        for number in 0..200 {
            let name = format!("new-{number}");
            world.reserve(&name, &format!("{name}:r"), 5);
            world.commit(&name, &format!("{name}:r"), round + 1, round < 2);
            world.charge(&name, &format!("{name}:{round}"), 1);
        }
        let mut batch = world.take_batch();
        batch.to = from + batch.entries.len() as u64;
        batch.from = from;
        from = batch.to;
        let (settled, plans) = asked(database, ledger.settle(&[batch], world.now)).await;
        assert!(settled.entries >= 400, "{settled:?}");
        assert!(plans.len() > 4);
        for (statement, plan) in &plans {
            read_by_index(statement, plan);
        }
    }
    assert_eq!(ledger.cursors().await.unwrap()[0].position, from);
}
