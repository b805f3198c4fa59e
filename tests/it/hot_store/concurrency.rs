//! Many at once: no interleaving makes what is held or charged exceed what was granted, no
//! retry counts twice, and every account's entries stay without gaps (DESIGN.md, section 7).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet};
use tollgate::{
    domain::{
        account::OveragePolicy,
        change::Change,
        command::{Charge, Commit, Release, Reserve},
        entry::{Entry, EntryKind},
        grant::GrantKind,
        ids::AccountId,
        reservation::State,
    },
    hot::HotStore,
};

use super::on_every_backend;
use crate::support::{
    Backend, Fixture, Setup,
    account::{create, grant, granting, open, plan},
    account_id,
    commands::{TTL_MS, acme, charge, commit, commit_open, release, reservation_id, reserve},
};

/// How often a race is run.
const RACES: usize = 150;

async fn start(backend: &dyn Backend, accounts: &[AccountId], allowance: u64) -> Fixture {
    let setup = Setup {
        shards: 4,
        ..Setup::default()
    };
    let fixture = backend.start(setup).await;
    for id in accounts {
        let new = create(plan("plan", allowance), OveragePolicy::Debt, setup.now);
        open(&fixture, id, new).await;
    }
    fixture
}

fn accounts(count: usize) -> Vec<AccountId> {
    (0..count).map(|n| account_id(&format!("a{n}"))).collect()
}

/// Runs `count` tasks that all start at once.
async fn race<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let (barrier, run) = (barrier.clone(), task(n));
        tasks.spawn(async move {
            barrier.wait().await;
            run.await
        });
    }
    tasks.join_all().await
}

/// Whether it was granted.
async fn hold(store: &dyn HotStore, account: &AccountId, id: &str, credits: u64) -> bool {
    let command = Reserve {
        account_id: account.clone(),
        ..reserve(id, credits)
    };
    let done = store
        .reserve(&command)
        .await
        .expect("no fault")
        .expect("no refusal");
    done.value.result.is_ok()
}

async fn give_back(store: &dyn HotStore, account: &AccountId, id: &str) {
    let command = Release {
        account_id: account.clone(),
        ..release(id)
    };
    store
        .release(&command)
        .await
        .expect("no fault")
        .expect("it was held");
}

/// Reads every shard to its end, as a settler does; each account's entries have no gaps.
async fn drain(store: &dyn HotStore) -> BTreeMap<AccountId, Vec<Entry>> {
    let mut all: BTreeMap<AccountId, Vec<Entry>> = BTreeMap::new();
    for shard in 0..store.shards() {
        // One batch may be less than all.
        loop {
            let batch = store.outbox(shard).await.expect("no fault");
            if batch.to == batch.from {
                break;
            }
            store.trim(batch.end()).await.expect("no fault");
            for entry in batch.entries.iter() {
                all.entry(entry.account_id.clone())
                    .or_default()
                    .push((***entry).clone());
            }
        }
    }
    for (id, entries) in &all {
        let sequences = entries.iter().map(|entry| entry.sequence);
        assert!(sequences.eq(1..=entries.len() as u64), "{id} has a gap");
    }
    all
}

/// The account is what its entries add up to, and nothing is broken.
async fn check(store: &dyn HotStore) {
    let entries = drain(store).await;
    for (id, entries) in &entries {
        let (account, _) = store
            .account(id)
            .await
            .expect("no fault")
            .expect("loaded")
            .value;
        let worth: i64 = entries.iter().map(|entry| entry.credits).sum();
        assert_eq!(account.worth(), worth, "{id}");
        assert_eq!(account.sequence, entries.len() as u64, "{id}");
    }
    let broken = store.broken_invariants(10).await.expect("no fault");
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn of_twenty_holds_of_75_on_500_exactly_six_are_granted() {
    on_every_backend(async |backend| {
        let accounts = accounts(RACES);
        let Fixture { store, .. } = start(backend, &accounts, 500).await;
        for account in &accounts {
            let granted = race(20, |n| {
                let (store, account) = (store.clone(), account.clone());
                async move { hold(&*store, &account, &format!("r{n}"), 75).await }
            })
            .await;
            assert_eq!(
                granted.iter().filter(|granted| **granted).count(),
                6,
                "{account}"
            );
            let balance = store
                .balance(account)
                .await
                .expect("no fault")
                .expect("ok")
                .value;
            assert_eq!((balance.available, balance.held), (50, 450), "{account}");
        }
        check(&*store).await;
    });
}

#[test]
fn with_releases_racing_never_more_than_six_are_held() {
    on_every_backend(async |backend| {
        let accounts = accounts(RACES);
        let Fixture { store, .. } = start(backend, &accounts, 500).await;
        for account in &accounts {
            // Counted after it is granted and before it is released: never more than are held.
            let held = Arc::new(AtomicUsize::new(0));
            let granted = race(20, |n| {
                let (store, account, held) = (store.clone(), account.clone(), held.clone());
                async move {
                    let mut granted = 0;
                    for round in 0..5 {
                        let id = format!("r{n}-{round}");
                        if hold(&*store, &account, &id, 75).await {
                            granted += 1;
                            assert!(held.fetch_add(1, Ordering::SeqCst) < 6, "a seventh hold");
                            tokio::task::yield_now().await;
                            held.fetch_sub(1, Ordering::SeqCst);
                            give_back(&*store, &account, &id).await;
                        }
                    }
                    granted
                }
            })
            .await;
            assert!(granted.iter().sum::<u64>() >= 6, "{account}");
            let balance = store
                .balance(account)
                .await
                .expect("no fault")
                .expect("ok")
                .value;
            assert_eq!((balance.available, balance.held), (500, 0), "{account}");
        }
        check(&*store).await;
    });
}

/// A hold that is due is ended once, whoever needs it: reserves that it stands in the way of, its own
/// commit, the sweeper.
#[test]
fn a_hold_that_is_due_is_ended_once_by_whoever_comes_first() {
    const CALLERS: usize = 8;
    on_every_backend(async |backend| {
        let accounts = accounts(RACES / 3);
        let Fixture { store, clock } = start(backend, &accounts, 500).await;
        for account in &accounts {
            for id in ["due-0", "due-1"] {
                assert!(hold(&*store, account, id, 250).await);
            }
        }
        clock.advance(Duration::from_millis(TTL_MS));
        for account in &accounts {
            let granted = race(CALLERS + 2, |n| {
                let (store, account) = (store.clone(), account.clone());
                async move {
                    match n {
                        0..CALLERS => {
                            usize::from(hold(&*store, &account, &format!("r{n}"), 100).await)
                        }
                        CALLERS => {
                            let again = Commit {
                                account_id: account,
                                ..commit_open("due-0", 1, 0)
                            };
                            let done = store.commit(&again).await.expect("no fault");
                            done.expect("what is used is charged");
                            0
                        }
                        _ => {
                            store.sweep(1).await.expect("no fault");
                            0
                        }
                    }
                }
            })
            .await;
            let granted = granted.iter().sum::<usize>();
            assert!([4, 5].contains(&granted), "{granted} of {account}");
        }
        // What the shards say is open is what the accounts have.
        let mut open = 0;
        for account in &accounts {
            let ids = (0..CALLERS).map(|n| format!("r{n}"));
            for id in ids.chain(["due-0".to_owned(), "due-1".to_owned()]) {
                let found = store.reservation(account, &reservation_id(&id)).await;
                let view = found.expect("no fault").expect("loaded").value;
                open += usize::from(view.is_some_and(|view| view.state == Some(State::Open)));
            }
        }
        assert_eq!(store.stats().await.expect("no fault").open, open);
        check(&*store).await;
    });
}

#[test]
fn thousands_on_one_account_never_overspend() {
    const TASKS: usize = 4_000;
    const GRANTED: u64 = 20_000;
    on_every_backend(async |backend| {
        let Fixture { store, .. } = start(backend, &[acme()], GRANTED).await;
        let charged = Arc::new(AtomicU64::new(0));
        let denied = Arc::new(AtomicUsize::new(0));
        race(TASKS, |n| {
            let (store, charged, denied) = (store.clone(), charged.clone(), denied.clone());
            async move {
                let id = format!("r{n}");
                let credits = 1 + (n as u64 * 7) % 29;
                if n % 5 == 0 {
                    let command = charge(&id, credits);
                    let done = store.charge(&command).await.expect("no fault").expect("ok");
                    if let Ok(receipt) = done.value.result {
                        charged.fetch_add(receipt.credits, Ordering::SeqCst);
                    }
                } else if hold(&*store, &acme(), &id, credits).await {
                    tokio::task::yield_now().await;
                    if n % 3 == 0 {
                        return give_back(&*store, &acme(), &id).await;
                    }
                    let half = commit_open(&id, credits / 2, 0);
                    store
                        .commit(&half)
                        .await
                        .expect("no fault")
                        .expect("it is open");
                    let whole = commit(&id, credits - u64::from(n % 2 == 0));
                    store
                        .commit(&whole)
                        .await
                        .expect("no fault")
                        .expect("it is open");
                    charged.fetch_add(whole.credits.get(), Ordering::SeqCst);
                } else {
                    denied.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .await;
        let charged = charged.load(Ordering::SeqCst);
        let balance = store
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("ok")
            .value;
        assert!(charged <= GRANTED, "{charged}");
        assert_eq!(
            (balance.plan_used, balance.held, balance.debt),
            (charged, 0, 0)
        );
        assert_eq!(balance.available, GRANTED - charged);
        assert!(
            denied.load(Ordering::SeqCst) > 0,
            "there was enough for all: no race was run"
        );
        check(&*store).await;
    });
}

#[test]
fn the_same_request_many_times_at_once_counts_once() {
    on_every_backend(async |backend| {
        let accounts = accounts(RACES / 3);
        let Fixture { store, .. } = start(backend, &accounts, 500).await;
        for account in &accounts {
            let first = |replayed: Vec<bool>| replayed.iter().filter(|again| !**again).count();
            let replayed = race(16, |_| {
                let (store, account_id) = (store.clone(), account.clone());
                async move {
                    let command = Reserve {
                        account_id,
                        ..reserve("r1", 60)
                    };
                    store
                        .reserve(&command)
                        .await
                        .expect("no fault")
                        .expect("ok")
                        .value
                        .replayed
                }
            });
            assert_eq!(first(replayed.await), 1);
            let replayed = race(16, |_| {
                let (store, account_id) = (store.clone(), account.clone());
                async move {
                    let command = Commit {
                        account_id,
                        ..commit("r1", 45)
                    };
                    store
                        .commit(&command)
                        .await
                        .expect("no fault")
                        .expect("ok")
                        .value
                        .replayed
                }
            });
            assert_eq!(first(replayed.await), 1);
            let replayed = race(16, |_| {
                let (store, account_id) = (store.clone(), account.clone());
                async move {
                    let command = Charge {
                        account_id,
                        ..charge("c1", 5)
                    };
                    store
                        .charge(&command)
                        .await
                        .expect("no fault")
                        .expect("ok")
                        .value
                        .replayed
                }
            });
            assert_eq!(first(replayed.await), 1);
            let again = race(16, |_| {
                let (store, account_id) = (store.clone(), account.clone());
                async move {
                    let pack = grant("p1", GrantKind::Pack, 7, Setup::default().now);
                    let change = Change {
                        account_id,
                        ..granting(2, pack)
                    };
                    !store
                        .apply(&change)
                        .await
                        .expect("no fault")
                        .expect("ok")
                        .value
                        .now
                }
            });
            assert_eq!(first(again.await), 1);
            let balance = store
                .balance(account)
                .await
                .expect("no fault")
                .expect("ok")
                .value;
            assert_eq!((balance.available, balance.sequence), (457, 4), "{account}");
        }
        check(&*store).await;
    });
}

/// While others settle, every batch is one instant's truth: what its entries charged is what its
/// reservations say was charged.
#[test]
fn every_batch_is_a_consistent_cut() {
    const TASKS: usize = 400;
    on_every_backend(async |backend| {
        let Fixture { store, .. } = start(backend, &[acme()], 1_000_000).await;
        let done = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for n in 0..TASKS {
            let (store, done) = (store.clone(), done.clone());
            tasks.spawn(async move {
                let id = format!("r{n}");
                assert!(hold(&*store, &acme(), &id, 50).await);
                for used in [10, 20, 30] {
                    let step = commit_open(&id, used, 0);
                    store
                        .commit(&step)
                        .await
                        .expect("no fault")
                        .expect("it is open");
                    tokio::task::yield_now().await;
                }
                store
                    .commit(&commit(&id, 40))
                    .await
                    .expect("no fault")
                    .expect("it is open");
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut reported = BTreeMap::new();
        let (mut charged, mut cursors) = (0, BTreeMap::new());
        loop {
            let is_last = done.load(Ordering::SeqCst) == TASKS;
            for shard in 0..store.shards() {
                let batch = store.outbox(shard).await.expect("no fault");
                let cursor = cursors.insert(shard, batch.to).unwrap_or(0);
                assert_eq!(
                    batch.from, cursor,
                    "the next batch starts where the last one ended"
                );
                let usage = batch
                    .entries
                    .iter()
                    .filter(|entry| entry.kind == EntryKind::Usage);
                charged -= usage.map(|entry| entry.credits).sum::<i64>();
                for (key, known) in batch.reservations.iter() {
                    let known = known.as_ref().expect("nothing is forgotten here");
                    let charged = known.summary().expect("readable").charged;
                    reported.insert(key.clone(), charged as i64);
                }
                if !backend.keeps_reservations() {
                    assert_eq!(charged, reported.values().sum::<i64>(), "a torn batch");
                }
                store.trim(batch.end()).await.expect("no fault");
            }
            if is_last {
                break;
            }
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        assert_eq!(charged, 40 * TASKS as i64);
    });
}
