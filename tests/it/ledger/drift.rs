//! A store in memory that is not as the ledger has it: named by the reconciler, and put right.

use std::{sync::Arc, time::Duration};

use tollgate::{
    clock::ManualClock,
    domain::{account::Account, command::Reserve, entry::EntryKind},
    hot::{
        HotStore,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::EntryFilter,
    telemetry::Metrics,
    workers::{Worker, reconciler::Reconciler},
};

use super::{
    Backend,
    world::{World, account_id},
};
use crate::support::commands::{commit, reserve};

/// A ledger in which two accounts of 500 have used 100, and a store that says 40 of one of them
/// and has a hold on it.
struct Pair {
    world: World,
    hot: Arc<MemoryHot>,
    clock: Arc<ManualClock>,
}

impl Pair {
    async fn new(backend: &dyn Backend) -> Pair {
        let mut world = World::with_acme(backend.ledger()).await;
        world.create("other", 500).await;
        for account in ["acme", "other"] {
            world.charge(account, "c1", 100);
        }
        world.flush().await;
        let options = MemoryOptions {
            shards: 1,
            ..MemoryOptions::default()
        };
        let clock = Arc::new(ManualClock::new(world.now));
        let hot = Arc::new(MemoryHot::new(options, clock.clone()));
        hot.restore_cursors(&world.ledger.cursors().await.unwrap());
        for (account, used) in [("acme", 40), ("other", 100)] {
            let id = account_id(account);
            let mut account = world.ledger.account(&id, world.now).await.unwrap().unwrap();
            account.grants[0].used = used;
            let loading = hot.loading(&id).await.unwrap();
            hot.load(account, loading).await.unwrap();
        }
        hot.reserve(&reserve("r1", 60)).await.unwrap().unwrap();
        Pair { world, hot, clock }
    }

    fn reconciler(&self, repair: bool) -> Reconciler {
        Reconciler {
            hot: self.hot.clone(),
            ledger: Arc::clone(&self.world.ledger),
            metrics: Arc::new(Metrics::with_clock(self.clock.clone()).unwrap()),
            batch_max: 100,
            repair,
            place: Default::default(),
            oldest: Default::default(),
        }
    }

    async fn account(&self, account: &str) -> Account {
        let found = self.hot.stored(&account_id(account)).await.unwrap();
        found.unwrap().account
    }

    async fn settle(&self) {
        let batch = self.hot.outbox(0).await.unwrap();
        let end = batch.end();
        let settled = self.world.ledger.settle(&[batch], self.world.now).await;
        assert!(!settled.unwrap().cursor_conflict);
        self.hot.trim(end).await.unwrap();
    }
}

fn value(reconciler: &Reconciler, name: &str) -> u64 {
    let text = reconciler.metrics.render().unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let found = lines.find_map(|rest| rest.strip_prefix(' '));
    found.unwrap().parse().unwrap()
}

/// What a reconciler has counted: accounts that differ, accounts that it put right.
fn counted(reconciler: &Reconciler) -> (u64, u64) {
    let value = |name| value(reconciler, name);
    (
        value("tollgate_drift_accounts_total"),
        value("tollgate_repaired_accounts_total"),
    )
}

pub async fn memory_that_differs_is_repaired(backend: Box<dyn Backend>) {
    let pair = Pair::new(backend.as_ref()).await;
    let looking = pair.reconciler(false);
    looking.step().await.unwrap();
    assert_eq!(counted(&looking), (1, 0), "it is only named");
    assert_eq!(pair.account("acme").await.grants[0].used, 40);

    let other = pair.account("other").await;
    let repairing = pair.reconciler(true);
    repairing.step().await.unwrap();
    assert_eq!(counted(&repairing), (1, 1));
    let repaired = pair.account("acme").await;
    let grant = &repaired.grants[0];
    assert_eq!((grant.used, grant.held), (100, 60));
    assert_eq!(pair.account("other").await, other);

    // What was done is in the ledger for ever, and both say the same from then on.
    pair.settle().await;
    let filter = EntryFilter {
        kinds: vec![EntryKind::Repair],
        ..EntryFilter::default()
    };
    let found = pair.world.ledger.entries(&filter, None, 10).await.unwrap();
    let [recorded] = &found.entries[..] else {
        panic!("{found:?}");
    };
    assert_eq!(recorded.entry.account_id, account_id("acme"));
    let reason = &recorded.entry.reason;
    assert!(reason.contains("used is 40, not 100"), "{reason}");
    repairing.step().await.unwrap();
    assert_eq!(counted(&repairing), (1, 1), "once is enough");

    // The hold is as good as it was.
    pair.hot.commit(&commit("r1", 60)).await.unwrap().unwrap();
    pair.settle().await;
    repairing.step().await.unwrap();
    assert_eq!(counted(&repairing), (1, 1));
    let findings = pair.world.ledger.audit(10).await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

pub async fn what_the_ledger_lacks_is_named_and_left(backend: Box<dyn Backend>) {
    let pair = Pair::new(backend.as_ref()).await;
    let stranger = account_id("stranger");
    let blank = pair.world.creation(500).blank_account(&stranger);
    let loading = pair.hot.loading(&stranger).await.unwrap();
    pair.hot.load(blank.clone(), loading).await.unwrap();
    let reconciler = pair.reconciler(true);
    reconciler.step().await.unwrap();
    assert_eq!(counted(&reconciler), (2, 1));
    assert_eq!(pair.account("stranger").await.sequence, blank.sequence);
}

/// Steps; answers how old the oldest hold that it then knows is, in seconds.
async fn stepped(reconciler: &Reconciler) -> u64 {
    reconciler.step().await.unwrap();
    value(reconciler, "tollgate_oldest_hold_age_seconds")
}

pub async fn the_oldest_hold_is_kept_in_mind_until_it_ends(backend: Box<dyn Backend>) {
    let pair = Pair::new(backend.as_ref()).await;
    pair.clock.advance(Duration::from_secs(20));
    let later = Reserve {
        account_id: account_id("other"),
        ..reserve("r2", 10)
    };
    pair.hot.reserve(&later).await.unwrap().unwrap();
    pair.clock.advance(Duration::from_secs(10));
    // One account in a step, and one step that finds that there are no more.
    let reconciler = Reconciler {
        batch_max: 1,
        ..pair.reconciler(false)
    };
    assert_eq!(stepped(&reconciler).await, 30, "of acme");
    assert_eq!(stepped(&reconciler).await, 30, "of other it is 10");
    pair.clock.advance(Duration::from_secs(5));
    let age = || value(&reconciler, "tollgate_oldest_hold_age_seconds");
    assert_eq!(age(), 35, "it grows without a step");

    pair.hot.commit(&commit("r1", 60)).await.unwrap().unwrap();
    assert_eq!(stepped(&reconciler).await, 0, "it is known no more");
    assert_eq!(stepped(&reconciler).await, 0, "acme has no hold");
    assert_eq!(stepped(&reconciler).await, 15, "of other");
    // Another process goes on.
    reconciler.rest();
    assert_eq!(age(), 0);
}
