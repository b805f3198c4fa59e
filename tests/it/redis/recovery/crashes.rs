//! A verification that ends in the middle, and several of them at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tollgate::{
    domain::{
        account::Account,
        entry::Entry,
        ids::{AccountId, ReservationId},
    },
    hot::{Commits, Fence, Standing, redis::LedgerAccess},
    ledger::{Ledger, access::Access},
};

use super::plane::{Plane, retried};
use crate::support::{
    account_id, postgres,
    servers::{Kind, Server},
};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A ledger that does what it is asked, and then fails to say so: each of its first calls but one
/// in so many.
#[derive(Debug)]
struct Failing {
    inner: Access,
    calls: AtomicUsize,
    failures: usize,
}

impl Failing {
    /// The n-th call fails, then the one after the next n, until each step has failed.
    fn after(&self) -> Result<(), Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut fails_at = 0;
        if self.failures == usize::MAX {
            return Err("out of reach".into());
        }
        for n in 0..self.failures {
            fails_at += n;
            if call == fails_at + n {
                return Err("the answer is lost".into());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LedgerAccess for Failing {
    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, Fault> {
        let answer = self.inner.standing(shard, epoch).await?;
        self.after().map(|()| answer)
    }

    async fn fence(&self, fence: &Fence) -> Result<bool, Fault> {
        let answer = self.inner.fence(fence).await?;
        self.after().map(|()| answer)
    }

    async fn accounts(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, Fault> {
        let answer = self.inner.accounts(account_ids).await?;
        self.after().map(|()| answer)
    }

    async fn has(&self, entry: &Entry) -> Result<bool, Fault> {
        let answer = self.inner.has(entry).await?;
        self.after().map(|()| answer)
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Fault> {
        let answer = self.inner.commits(account_id, reservation_ids).await?;
        self.after().map(|()| answer)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_that_ends_anywhere_is_done_again() {
    let mut server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let url = format!("redis://{}", server.address());
    let first = Plane::start(&url, &ledger);
    for account in ["a0", "a1", "a2", "a3"] {
        first.create(account).await;
        first.reserve(account, "kept", 60).await;
        first.reserve(account, "settled", 70).await;
        first.settled(account).await;
    }
    server.ask::<()>(&redis::cmd("SAVE"));
    for account in ["a0", "a1", "a2", "a3"] {
        first.commit(account, "settled", 65, false).await;
    }
    drop(first);
    server.restart(&Kind::Redis.binary(), &[]);

    let access = Failing {
        inner: Access(Arc::clone(&ledger)),
        calls: AtomicUsize::new(0),
        failures: 9,
    };
    let access = Arc::new(access);
    let plane = Plane::start_with(&url, &ledger, access.clone());
    for account in ["a0", "a1", "a2", "a3"] {
        assert_eq!(plane.held(account).await, 60);
        plane.check(account, 65).await;
    }
    assert!(access.calls.load(Ordering::SeqCst) > 9);
    for account in ["a0", "a1", "a2", "a3"] {
        plane.commit(account, "kept", 61, false).await;
        plane.commit(account, "settled", 65, false).await;
        plane.check(account, 65 + 61).await;
    }
}

/// The first of them tries all the time, and keeps the shards from nobody who can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_without_its_ledger_keeps_no_shard_from_one_that_has_it() {
    let mut server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let url = format!("redis://{}", server.address());
    let first = Plane::start(&url, &ledger);
    for account in ["a0", "a1", "a2", "a3"] {
        first.create(account).await;
    }
    drop(first);
    server.restart(&Kind::Redis.binary(), &[]);

    let access = Failing {
        inner: Access(Arc::clone(&ledger)),
        calls: AtomicUsize::new(0),
        failures: usize::MAX,
    };
    let cut_off = Arc::new(Plane::idle(&url, &ledger, Arc::new(access)));
    let tries = Arc::clone(&cut_off);
    let trying = tokio::spawn(async move {
        loop {
            for account in ["a0", "a1", "a2", "a3"] {
                let _ = tries.enforcer.balance(&account_id(account)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let plane = Plane::start(&url, &ledger);
    let charged = async {
        for account in ["a0", "a1", "a2", "a3"] {
            plane.charge(account, "c1", 5).await;
        }
    };
    // Far less than a claim lasts that makes no progress.
    let charged = tokio::time::timeout(Duration::from_secs(8), charged).await;
    charged.expect("nobody keeps the shards");
    trying.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_verify_one_shard_at_once_one_does() {
    let server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let url = format!("redis://{}", server.address());
    let planes: Vec<Arc<Plane>> = (0..6)
        .map(|_| Arc::new(Plane::start(&url, &ledger)))
        .collect();
    planes[0].create("a0").await;
    for round in 0..10 {
        server.ask::<()>(&redis::cmd("FLUSHALL"));
        let charges = planes.iter().enumerate().map(|(n, plane)| {
            let plane = Arc::clone(plane);
            let id = format!("{round}-{n}");
            tokio::spawn(async move { plane.charge("a0", &id, 1).await })
        });
        for charge in charges.collect::<Vec<_>>() {
            charge.await.expect("no panic");
        }
    }
    planes[5].check("a0", 60).await;
    let id = account_id("a0");
    let seen = retried(async || planes[3].enforcer.account(&id).await).await;
    assert_eq!(seen.1.debt, 0);
}
