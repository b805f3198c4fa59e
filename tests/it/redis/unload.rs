//! Accounts in and out: loaded once whoever asks, unloaded only where nothing is lost by it.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tollgate::{
    clock::ManualClock,
    domain::{account::Account, command::Reserve, decision::Refusal},
    hot::{
        HotStore,
        redis::{RedisHot, RedisOptions},
    },
};

use super::{open, store, store_with};
use crate::support::{
    Setup,
    account::load,
    account_id,
    commands::{TTL_MS, acme, charge, commit, release, reserve},
    records,
    redis::NO_DEADLINE,
    servers::{Kind, Server},
};

const IDLE_MS: u64 = 600_000;

struct World {
    server: Server,
    store: Arc<RedisHot>,
    clock: Arc<ManualClock>,
}

async fn world() -> World {
    let server = Server::start(Kind::Redis);
    let clock = Arc::new(ManualClock::new(Setup::default().now));
    let url = format!("redis://{}", server.address());
    let store = store_with(RedisOptions {
        deadline: NO_DEADLINE,
        shards: 1,
        unload_idle_ms: IDLE_MS,
        clock: Some(clock.clone()),
        ..RedisOptions::new(url.parse().expect("a URL"))
    });
    open(&store, &acme()).await.expect("no fault");
    World {
        server,
        store,
        clock,
    }
}

impl World {
    async fn account(&self) -> Option<Account> {
        let answer = self.store.account(&acme()).await.expect("no fault");
        match answer {
            Ok(done) => Some(done.value.0),
            Err(Refusal::NotLoaded) => None,
            Err(refusal) => panic!("{refusal}"),
        }
    }

    /// The ledger takes everything.
    async fn flush(&self) {
        let batch = self.store.outbox(0).await.expect("no fault");
        self.store.trim(batch.end()).await.expect("no fault");
    }

    async fn sweep_after(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
        self.store.sweep(100).await.expect("no fault");
    }
}

/// One record that can't be read keeps the sweep from no other account of its shard.
#[tokio::test]
async fn an_account_that_can_not_be_swept_is_in_nobodys_way() {
    let world = world().await;
    let other = account_id("other");
    open(&world.store, &other).await.expect("no fault");
    for account in [acme(), other.clone()] {
        let command = Reserve {
            account_id: account,
            ..reserve("r1", 60)
        };
        let granted = world.store.reserve(&command).await.expect("no fault");
        granted.expect("no refusal");
        world.clock.advance(Duration::from_millis(1));
    }
    records::make_foreign(&world.server, "{tg:0}:a:acme");
    world.clock.advance(Duration::from_millis(TTL_MS));
    let swept = world.store.sweep(100).await.expect("the other was swept");
    assert_eq!(swept.expired, 1);
    let balance = world.store.balance(&other).await.expect("no fault");
    assert_eq!(balance.expect("loaded").value.held, 0);
    let nothing_else = world.store.sweep(100).await;
    assert!(nothing_else.is_err(), "{nothing_else:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_that_load_one_cold_account_load_it_once() {
    let server = Server::start(Kind::Redis);
    let url = format!("redis://{}", server.address());
    let first = store(&url);
    open(&first, &acme()).await.expect("no fault");
    let cold = first
        .account(&acme())
        .await
        .expect("no fault")
        .expect("loaded")
        .value
        .0;
    server.ask::<()>(&redis::cmd("FLUSHALL"));
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let (cold, url) = (cold.clone(), url.clone());
        tasks.spawn(async move {
            let store = store_with(RedisOptions {
                deadline: NO_DEADLINE,
                connect_timeout: NO_DEADLINE,
                shards: 4,
                connections: 1,
                ..RedisOptions::new(url.parse().expect("a URL"))
            });
            load(store.as_ref(), cold).await;
            let command = reserve(&format!("r{n}"), 10);
            let answer = store.reserve(&command).await.expect("no fault");
            answer.expect("loaded").value.result.is_ok()
        });
    }
    let granted = tasks.join_all().await;
    assert!(
        granted.iter().all(|granted| *granted),
        "50 holds of 10 fit into 500"
    );
    let account = first
        .account(&acme())
        .await
        .expect("no fault")
        .expect("loaded")
        .value
        .0;
    assert_eq!(
        (account.held(), account.worth()),
        (500, 500),
        "it was loaded once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_account_goes_once_the_ledger_has_everything() {
    let world = world().await;
    let charged = world
        .store
        .charge(&charge("c1", 10))
        .await
        .expect("no fault");
    charged.expect("loaded");
    world.sweep_after(IDLE_MS).await;
    let known = world.account().await.expect("the ledger lacks its entries");
    world.flush().await;
    world.sweep_after(1).await;
    assert!(world.account().await.is_none(), "it is gone");
    assert_eq!(world.store.stats().await.expect("no fault").accounts, 0);

    // From a state of the ledger that somebody read before it was settled.
    let stale = Account {
        sequence: known.sequence - 1,
        ..known.clone()
    };
    load(world.store.as_ref(), stale).await;
    assert!(
        world.account().await.is_none(),
        "an older state is not put back"
    );
    load(world.store.as_ref(), known.clone()).await;
    let back = world.account().await.expect("loaded");
    assert!(
        back.version > known.version,
        "versions order any two answers"
    );
    assert_eq!(back.worth(), known.worth());
    let again = world
        .store
        .charge(&charge("c1", 10))
        .await
        .expect("no fault");
    assert!(
        again.expect("loaded").value.replayed,
        "answers outlive the unload"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_a_hold_stays() {
    let world = world().await;
    world
        .store
        .reserve(&reserve("r1", 10))
        .await
        .expect("no fault")
        .expect("held");
    world.flush().await;
    let gone = world
        .store
        .unload(&acme(), 0)
        .await
        .expect("no fault")
        .expect("loaded");
    assert!(!gone.value, "it has a hold");
    world
        .store
        .release(&release("r1"))
        .await
        .expect("no fault")
        .expect("released");
    let gone = world
        .store
        .unload(&acme(), 1)
        .await
        .expect("no fault")
        .expect("loaded");
    assert!(!gone.value, "it has changed just now");
    let gone = world
        .store
        .unload(&acme(), 0)
        .await
        .expect("no fault")
        .expect("loaded");
    assert!(gone.value);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_finds_holds_whatever_came_before_them() {
    let world = world().await;
    world
        .store
        .reserve(&reserve("r1", 10))
        .await
        .expect("no fault")
        .expect("held");
    world
        .store
        .commit(&commit("r1", 10))
        .await
        .expect("no fault")
        .expect("charged");
    world.clock.advance(Duration::from_millis(1_000));
    world
        .store
        .reserve(&reserve("r2", 10))
        .await
        .expect("no fault")
        .expect("held");
    // The first deadline is visited in vain, the second one is not.
    world.sweep_after(TTL_MS - 1_000).await;
    assert_eq!(world.store.stats().await.expect("no fault").open, 1);
    world.sweep_after(1_000).await;
    assert_eq!(world.store.stats().await.expect("no fault").open, 0);
    let account = world.account().await.expect("loaded");
    assert_eq!((account.held(), account.worth()), (0, 490));
}
