//! Several processes on one ledger, each with its own connections: every entry once, every number
//! once, and nobody waits in a circle.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tollgate::{
    hot::OutboxBatch,
    ledger::{Ledger, Submitted, Wanted, postgres::PostgresLedger},
};

use crate::{
    ledger::world::{World, account_id, pack, request},
    support::postgres::{Database, shared},
};

/// As many processes as there are.
async fn processes(database: &Database, count: usize) -> Vec<Arc<PostgresLedger>> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(database.open().await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_settlers_on_one_shard_write_each_entry_once() {
    const ROUNDS: usize = 60;
    let database = shared().ledger().await;
    let mut world = World::with_acme(database.open().await).await;
    world.create("other", 10_000).await;
    world.flush().await;
    let mut batches = Vec::new();
    let mut total = 0;
    for round in 0..ROUNDS {
        for number in 0..3 {
            let id = format!("r{round}-{number}");
            world.reserve("other", &id, 3);
            world.commit("other", &id, 2, false);
            world.charge("acme", &format!("c{round}-{number}"), 1);
        }
        let batch = world.take_batch();
        total += batch.entries.len();
        batches.push(batch);
    }
    let batches = Arc::new(batches);
    let now = world.now;
    let mut settlers = Vec::new();
    for ledger in processes(&database, 2).await {
        let batches: Arc<Vec<OutboxBatch>> = Arc::clone(&batches);
        settlers.push(tokio::spawn(async move {
            let (mut written, mut conflicts) = (0, 0);
            for batch in batches.iter() {
                let one = std::slice::from_ref(batch);
                let settled = ledger.settle(one, now).await.unwrap();
                written += settled.entries;
                conflicts += usize::from(settled.cursor_conflict);
            }
            (written, conflicts)
        }));
    }
    let (mut written, mut conflicts) = (0, 0);
    for settler in settlers {
        let (entries, refused) = settler.await.unwrap();
        written += entries;
        conflicts += refused;
    }
    assert_eq!((written, conflicts), (total, ROUNDS));
    world.check().await;
    let stored = database.texts("SELECT count(*)::text FROM entries").await;
    assert_eq!(stored, [(total + 2).to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_account_is_created_once() {
    let database = shared().ledger().await;
    let processes = processes(&database, 4).await;
    let world = World::new(processes[0].clone());
    for round in 0..5 {
        let name = format!("account-{round}");
        let mut calls = Vec::new();
        for number in 0..12 {
            let mut wanted = request(&name, None, Wanted::Create(world.creation(500)));
            let payload = if number % 3 == 0 { "a" } else { "b" };
            wanted.payload = vec![("plan_id".to_owned(), payload.to_owned())];
            let ledger = processes[number % 4].clone();
            let now = world.now;
            calls.push(tokio::spawn(async move {
                (payload, ledger.submit(&wanted, now).await.unwrap())
            }));
        }
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        let is_new = |answer: &&(&str, Submitted)| matches!(answer.1, Submitted::New(_));
        let new: Vec<_> = answers.iter().filter(is_new).collect();
        assert_eq!(new.len(), 1, "{answers:?}");
        let won = new[0].0;
        for (payload, answer) in &answers {
            let fits = match answer {
                Submitted::New(_) | Submitted::Known(_) => *payload == won,
                Submitted::Conflict { field } => field == "plan_id" && *payload != won,
                Submitted::Refused(_) => false,
            };
            assert!(fits, "{answers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_have_no_gaps_while_others_settle() {
    const GRANTS: usize = 30;
    let database = shared().ledger().await;
    let processes = processes(&database, 4).await;
    let mut world = World::with_acme(processes[0].clone()).await;
    let acme = account_id("acme");
    let is_done = Arc::new(AtomicBool::new(false));
    let news = Arc::new(AtomicUsize::new(0));
    let mut calls = Vec::new();
    for number in 0..GRANTS {
        // Each one twice, from two processes.
        for ledger in [&processes[number % 4], &processes[(number + 1) % 4]] {
            let id = format!("pack-{number}");
            let grant = Wanted::Grant {
                grant: Box::new(pack(&id, 5)),
                reason: String::new(),
            };
            let wanted = request("acme", Some(&format!("grant:{id}")), grant);
            let (ledger, now, news) = (ledger.clone(), world.now, news.clone());
            calls.push(tokio::spawn(async move {
                match ledger.submit(&wanted, now).await.unwrap() {
                    Submitted::New(_) => news.fetch_add(1, Ordering::Relaxed),
                    Submitted::Known(_) => 0,
                    other => panic!("{other:?}"),
                };
            }));
        }
    }
    let waiting = {
        let is_done = is_done.clone();
        tokio::spawn(async move {
            for call in calls {
                call.await.unwrap();
            }
            is_done.store(true, Ordering::Release);
        })
    };
    let mut round = 0;
    while !is_done.load(Ordering::Acquire) {
        world.charge("acme", &format!("charge-{round}"), 1);
        world.flush().await;
        assert_eq!(processes[3].audit(10).await.unwrap(), []);
        round += 1;
    }
    waiting.await.unwrap();
    assert_eq!(news.load(Ordering::Relaxed), GRANTS);
    let changes = processes[1].changes(&acme, 1, 1000).await.unwrap();
    let numbers: Vec<u64> = changes.iter().map(|change| change.number).collect();
    assert_eq!(numbers, (1..=GRANTS as u64 + 1).collect::<Vec<_>>());
    for change in &changes[1..] {
        world.apply(change);
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shards_are_settled_side_by_side() {
    const SHARDS: u32 = 4;
    let database = shared().ledger().await;
    let mut settlers = Vec::new();
    for (shard, ledger) in (0..SHARDS).zip(processes(&database, SHARDS as usize).await) {
        settlers.push(tokio::spawn(async move {
            let mut world = World::new(ledger);
            let names: Vec<String> = (0..20).map(|n| format!("s{shard}-{n}")).collect();
            for name in &names {
                world.create(name, 1000).await;
            }
            for round in 0..10 {
                for name in &names {
                    world.charge(name, &format!("{name}-{round}"), 1);
                }
                let mut batch = world.take_batch();
                batch.shard = shard;
                let settled = world.ledger.settle(&[batch], world.now).await.unwrap();
                assert!(!settled.cursor_conflict);
            }
        }));
    }
    let auditor = database.open().await;
    for _ in 0..5 {
        assert_eq!(auditor.audit(10).await.unwrap(), []);
    }
    for settler in settlers {
        settler.await.unwrap();
    }
    assert_eq!(auditor.audit(10).await.unwrap(), []);
    let shards: Vec<u32> = auditor
        .cursors()
        .await
        .unwrap()
        .iter()
        .map(|cursor| cursor.shard)
        .collect();
    assert_eq!(shards, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_number_of_shards_is_fixed_once() {
    let database = shared().ledger().await;
    let mut starts = Vec::new();
    for (wanted, ledger) in [8, 16, 32, 64]
        .into_iter()
        .zip(processes(&database, 4).await)
    {
        starts.push(tokio::spawn(async move {
            ledger.fix_shards(wanted).await.unwrap()
        }));
    }
    let mut fixed = Vec::new();
    for start in starts {
        fixed.push(start.await.unwrap());
    }
    assert!(fixed.iter().all(|number| *number == fixed[0]), "{fixed:?}");
    assert_eq!(
        database.open().await.cursors().await.unwrap().len(),
        fixed[0] as usize
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_call_leaves_the_ledger_usable() {
    let database = shared().ledger().await;
    let mut world = World::with_acme(database.open().await).await;
    for round in 0..100u64 {
        world.charge("acme", &format!("charge-{round}"), 1);
        let batch = [world.take_batch()];
        let settle = world.ledger.settle(&batch, world.now);
        let wait = std::time::Duration::from_micros(round * 100);
        if tokio::time::timeout(wait, settle).await.is_err() {
            // Whether it happened is what the next try finds out.
            world.ledger.settle(&batch, world.now).await.unwrap();
            assert_eq!(world.ledger.cursors().await.unwrap(), [batch[0].end()]);
        }
    }
    world.check().await;
}
