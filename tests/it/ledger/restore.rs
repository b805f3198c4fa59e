//! A store in memory that begins again from the ledger is as the one before it was.

use std::{slice, sync::Arc, time::Duration};

use tollgate::{
    app::restore::{Restored, restore},
    clock::{Clock, ManualClock},
    domain::{
        account::Account,
        command::{Commit, Reserve},
        decision::ReservationView,
        timestamp::Timestamp,
    },
    hot::{
        Changed, HotStats, HotStore, Stored, Swept,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::Ledger,
};

use super::{
    Backend,
    world::{World, account_id, reservation_id},
};
use crate::support::commands::{TTL_MS, charge, commit, commit_open, extend, release, reserve};

const WINDOW_MS: u64 = 600_000;
/// Half of what a hold stands for.
const STEP: Duration = Duration::from_millis(TTL_MS / 2);
/// After as many no hold stands any more, and no answer is kept.
const STEPS: u32 = 24;
const ACCOUNTS: [&str; 2] = ["acme", "other"];
const RESERVATIONS: [&str; 8] = [
    "open", "parts", "extended", "late", "released", "charged", "expired", "settled",
];

/// A store in memory that has begun from a ledger.
struct Begun {
    hot: MemoryHot,
    clock: Arc<ManualClock>,
    restored: Restored,
}

/// What a store says of itself and of everything in it.
#[derive(Debug, PartialEq)]
struct Said {
    stats: HotStats,
    accounts: Vec<Stored>,
    reservations: Vec<Option<ReservationView>>,
    broken: usize,
}

impl Begun {
    async fn new(ledger: &dyn Ledger, now: Timestamp) -> Begun {
        let options = MemoryOptions {
            shards: 1,
            replay_window_ms: WINDOW_MS,
            ..MemoryOptions::default()
        };
        let clock = Arc::new(ManualClock::new(now));
        let hot = MemoryHot::new(options, clock.clone());
        let restored = restore(&hot, ledger, clock.as_ref()).await.unwrap();
        Begun {
            hot,
            clock,
            restored,
        }
    }

    async fn reserve(&self, account: &str, id: &str) {
        let command = Reserve {
            account_id: account_id(account),
            ..reserve(id, 10)
        };
        self.hot.reserve(&command).await.unwrap().unwrap();
    }

    async fn commit(&self, account: &str, command: Commit) {
        let command = Commit {
            account_id: account_id(account),
            ..command
        };
        self.hot.commit(&command).await.unwrap().unwrap();
    }

    /// Leaves a reservation in every state, some of them under the same ids in both accounts.
    async fn fill(&self) {
        for id in ["late", "expired"] {
            self.reserve("acme", id).await;
        }
        self.clock.advance(2 * STEP);
        self.sweep().await;
        self.commit("acme", commit("late", 7)).await;
        self.reserve("other", "open").await;
        self.clock.advance(STEP);
        for id in ["open", "parts", "extended", "released"] {
            self.reserve("acme", id).await;
        }
        self.commit("acme", commit_open("parts", 4, 3)).await;
        let extended = self.hot.extend(&extend("extended", "e1", 5)).await;
        extended.unwrap().unwrap();
        let released = self.hot.release(&release("released")).await;
        released.unwrap().unwrap();
        let charged = self.hot.charge(&charge("charged", 6)).await;
        charged.unwrap().unwrap();
        for account in ACCOUNTS {
            self.reserve(account, "settled").await;
            self.commit(account, commit("settled", 8)).await;
        }
    }

    async fn sweep(&self) -> Swept {
        self.hot.sweep(1000).await.unwrap()
    }

    async fn settle(&self, ledger: &dyn Ledger) {
        let batch = self.hot.outbox(0).await.unwrap();
        let settled = ledger.settle(slice::from_ref(&batch), self.clock.now());
        assert!(!settled.await.unwrap().cursor_conflict);
        self.hot.trim(batch.end()).await.unwrap();
    }

    /// The reservations that the ledger does not have as they are.
    async fn changed(&self) -> Arc<[Changed]> {
        self.hot.outbox(0).await.unwrap().reservations
    }

    async fn said(&self) -> Said {
        let mut accounts = Vec::new();
        let mut reservations = Vec::new();
        for account in ACCOUNTS.map(account_id) {
            let stored = self.hot.stored(&account).await.unwrap().unwrap();
            accounts.push(Stored {
                account: Account {
                    version: 0,
                    ..stored.account
                },
                ..stored
            });
            for id in RESERVATIONS.map(reservation_id) {
                let found = self.hot.reservation(&account, &id).await;
                reservations.push(found.unwrap().unwrap().value);
            }
        }
        Said {
            stats: self.hot.stats().await.unwrap(),
            accounts,
            reservations,
            broken: self.hot.broken_invariants(10).await.unwrap().len(),
        }
    }
}

pub async fn a_store_that_begins_again_is_as_it_was(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("other", 500).await;
    world.flush().await;
    let ledger = world.ledger.as_ref();
    let first = Begun::new(ledger, world.now).await;
    first.fill().await;
    first.settle(ledger).await;

    let now = first.clock.now();
    let again = Begun::new(ledger, now).await;
    assert_eq!((again.restored.accounts, again.restored.holds), (2, 4));
    let version = now.millis().unsigned_abs() * 1000;
    for account in ACCOUNTS.map(account_id) {
        let stored = again.hot.stored(&account).await.unwrap().unwrap();
        assert_eq!(stored.account.version, version);
        assert_eq!(stored.broken, None);
    }
    let held = |stored: &Stored| stored.account.grants.iter().map(|grant| grant.held).sum();
    let held: Vec<u64> = again.said().await.accounts.iter().map(held).collect();
    assert_eq!(held, [28, 10]);

    // Deadlines and replay windows end at the same time for both.
    let (mut expired, mut forgotten) = (0, 0);
    for step in 0..STEPS {
        assert_eq!(again.said().await, first.said().await, "step {step}");
        for begun in [&first, &again] {
            begun.clock.advance(STEP);
        }
        let swept = again.sweep().await;
        assert_eq!(swept, first.sweep().await, "step {step}");
        expired += swept.expired;
        forgotten += swept.forgotten;
        assert_eq!(again.changed().await, first.changed().await, "step {step}");
    }
    assert_eq!((expired, forgotten), (4, 10), "all that there was");
}
