//! The settler between a store in memory and a ledger that has lost something.

use std::{sync::Arc, time::Duration};

use tollgate::{
    catalogs::{self, Catalogs},
    clock::ManualClock,
    domain::command::Charge,
    enforcer::{Ack, Enforcer, EnforcerOptions, acks::Acks, source::LedgerSource},
    hot::{
        HotStore, Mark,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::EntryFilter,
    telemetry::Metrics,
    workers::{Progress, Worker, settler::Settler, shares::Shares},
};

use super::{
    Backend,
    world::{World, account_id},
};
use crate::support::commands::charge;

/// A store with two accounts in two shards, and a settler.
struct Plane {
    world: World,
    hot: Arc<MemoryHot>,
    acks: Arc<Acks>,
    settler: Settler,
}

impl Plane {
    async fn new(backend: &dyn Backend) -> Plane {
        Plane::with(backend, &["other"], 100).await
    }

    /// One with these accounts besides acme.
    async fn with(backend: &dyn Backend, others: &[&str], batch_max: usize) -> Plane {
        let mut world = World::with_acme(backend.ledger()).await;
        for other in others {
            world.create(other, 500).await;
        }
        world.flush().await;
        let clock = Arc::new(ManualClock::new(world.now));
        let hot = Arc::new(MemoryHot::new(MemoryOptions::default(), clock.clone()));
        hot.restore_cursors(&world.ledger.cursors().await.unwrap());
        for account in others.iter().copied().chain(["acme"]) {
            let id = account_id(account);
            let account = world.ledger.account(&id, world.now).await.unwrap().unwrap();
            let loading = hot.loading(&id).await.unwrap();
            hot.load(account, loading).await.unwrap();
        }
        let acks = Arc::new(Acks::new(hot.shards()));
        let store: Arc<dyn HotStore> = hot.clone();
        let enforcer = Enforcer::new(
            Arc::clone(&store),
            Arc::new(LedgerSource(Arc::clone(&world.ledger))),
            Arc::new(Catalogs::new(catalogs::builtin(), Vec::new()).unwrap()),
            Arc::clone(&acks),
            EnforcerOptions {
                ack: Ack::Ledger,
                ack_timeout: Duration::from_secs(20),
                default_ttl_ms: 600_000,
            },
        );
        let settler = Settler {
            hot: store,
            ledger: Arc::clone(&world.ledger),
            enforcer: Arc::new(enforcer),
            acks: Arc::clone(&acks),
            metrics: Arc::new(Metrics::with_clock(clock.clone()).unwrap()),
            clock,
            batch_max,
            shares: Arc::new(Shares::whole()),
            unread: Default::default(),
            round: Default::default(),
        };
        Plane {
            world,
            hot,
            acks,
            settler,
        }
    }

    async fn charge(&self, account: &str, charge_id: &str) -> Mark {
        let command = Charge {
            account_id: account_id(account),
            force: true,
            ..charge(charge_id, 1)
        };
        self.hot.charge(&command).await.unwrap().unwrap().mark
    }

    /// The latest charges of an account that the ledger has, the newest first.
    async fn settled(&self, account: &str) -> Vec<String> {
        let filter = EntryFilter {
            account_id: Some(account_id(account)),
            ..EntryFilter::default()
        };
        let found = self.world.ledger.entries(&filter, None, 10).await.unwrap();
        let entries = found.entries.into_iter();
        let ids = entries.filter_map(|recorded| recorded.entry.reservation_id);
        ids.map(|id| id.to_string()).collect()
    }
}

pub async fn a_shard_that_has_lost_something_keeps_no_other_waiting(backend: Box<dyn Backend>) {
    let plane = Plane::new(backend.as_ref()).await;
    let lost = plane.charge("acme", "c1").await.shard;
    let sound = plane.charge("other", "c1").await.shard;
    assert_ne!(lost, sound);
    plane.settler.step().await.unwrap();
    assert_eq!(plane.settled("acme").await, ["c1"]);
    assert_eq!(plane.settled("other").await, ["c1"]);

    // What the ledger had acknowledged of one shard it has not.
    plane.charge("acme", "c2").await;
    let batch = plane.hot.outbox(lost).await.unwrap();
    plane.hot.trim(batch.end()).await.unwrap();
    plane.charge("acme", "c3").await;
    for (step, expected) in [("c2", vec!["c2", "c1"]), ("c3", vec!["c3", "c2", "c1"])] {
        let mark = plane.charge("other", step).await;
        let failed = match step {
            "c2" => plane.settler.step().await.map(|_| ()),
            _ => plane.settler.settle_for(&[lost, sound]).await,
        };
        let failed = failed.unwrap_err().to_string();
        let told = format!("shard {lost}: the ledger has lost what it had acknowledged");
        assert!(failed.starts_with(&told), "{failed}");
        assert!(!failed.contains(&format!("shard {sound}:")), "{failed}");
        assert_eq!(plane.settled("other").await, expected);
        assert!(plane.acks.settled(mark, Duration::ZERO).await, "{step}");
    }
    assert_eq!(plane.settled("acme").await, ["c1"], "nothing is skipped");
}

pub async fn an_account_that_does_not_fit_keeps_no_other_shard_waiting(backend: Box<dyn Backend>) {
    let plane = Plane::new(backend.as_ref()).await;
    let unfit = plane.charge("acme", "c1").await.shard;
    plane.charge("other", "c1").await;
    plane.settler.step().await.unwrap();
    // Somebody puts the account back by hand, and forgets its sequence.
    backend
        .tamper("UPDATE accounts SET sequence = 7 WHERE account_id = 'acme'")
        .await;
    for (charge, expected) in [("c2", vec!["c2", "c1"]), ("c3", vec!["c3", "c2", "c1"])] {
        plane.charge("acme", charge).await;
        let mark = plane.charge("other", charge).await;
        let failed = plane.settler.step().await.unwrap_err().to_string();
        let told =
            format!("shard {unfit}: ledger: settle failed: account acme: the ledger is at entry 7");
        assert!(failed.starts_with(&told), "{failed}");
        assert_eq!(plane.settled("other").await, expected);
        assert!(plane.acks.settled(mark, Duration::ZERO).await, "{charge}");
    }
    assert_eq!(plane.settled("acme").await, ["c1"]);
    // And remembers it.
    backend
        .tamper("UPDATE accounts SET sequence = 2 WHERE account_id = 'acme'")
        .await;
    plane.settler.step().await.unwrap();
    assert_eq!(plane.settled("acme").await, ["c3", "c2", "c1"]);
}

/// What it leaves behind is as much as one transaction takes, again and again.
pub async fn what_can_not_be_settled_takes_no_other_shards_turn(backend: Box<dyn Backend>) {
    let others = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let plane = Plane::with(backend.as_ref(), &others, 1).await;
    let unfit = plane.charge("acme", "c1").await.shard;
    for other in others {
        plane.charge(other, "c1").await;
    }
    while plane.settler.step().await.unwrap() == Progress::More {}
    backend
        .tamper("UPDATE accounts SET sequence = 7 WHERE account_id = 'acme'")
        .await;
    for round in ["c2", "c3"] {
        plane.charge("acme", round).await;
        let mut marks = Vec::new();
        for other in others {
            marks.push(plane.charge(other, round).await);
        }
        let failed = loop {
            match plane.settler.step().await {
                Ok(progress) => assert_eq!(progress, Progress::More, "it is told of"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            failed.contains("account acme: the ledger is at entry 7"),
            "{failed}"
        );
        for mark in marks.into_iter().filter(|mark| mark.shard != unfit) {
            assert!(plane.acks.settled(mark, Duration::ZERO).await, "{mark:?}");
        }
    }
}

pub async fn many_entries_of_which_another_settler_has_some_are_settled_once(
    backend: Box<dyn Backend>,
) {
    const CHARGES: usize = 300;
    let plane = Plane::new(backend.as_ref()).await;
    for round in 0..2 {
        let mut marks = Vec::new();
        for account in ["acme", "other"] {
            for number in 0..CHARGES - 1 {
                plane.charge(account, &format!("c{round}-{number}")).await;
            }
            marks.push(plane.charge(account, &format!("last-{round}")).await);
        }
        let theirs = plane.hot.outbox(marks[round].shard).await.unwrap();
        let ledger = &plane.world.ledger;
        let settled = ledger.settle(&[theirs], plane.world.now).await.unwrap();
        assert_eq!(settled.entries, CHARGES);
        while plane.settler.step().await.unwrap() == Progress::More {}
        for (account, mark) in ["acme", "other"].into_iter().zip(marks) {
            assert_eq!(plane.settled(account).await[0], format!("last-{round}"));
            assert!(plane.acks.settled(mark, Duration::ZERO).await, "{account}");
            let left = plane.hot.outbox(mark.shard).await.unwrap();
            assert_eq!(left.from, left.to, "{account}");
            let id = account_id(account);
            let stored = ledger.account(&id, plane.world.now).await.unwrap().unwrap();
            assert_eq!(stored.sequence as usize, 1 + CHARGES * (round + 1));
        }
    }
    assert_eq!(plane.world.ledger.audit(10).await.unwrap(), []);
}
