//! Two servers that both take writes: the ledger takes those of the one that replaced the other.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tollgate::{
    domain::{
        account::Account,
        entry::Entry,
        ids::{AccountId, ReservationId},
    },
    enforcer::error::EnforceError,
    hot::{
        Commits, Fence, HotStore, Mark, Standing,
        redis::{LedgerAccess, RedisHot, RedisOptions},
    },
    ledger::{Ledger, access::Access},
    workers::Worker,
};

use super::plane::{Plane, SHARDS, retried};
use crate::support::{
    account_id, postgres,
    replication::follow,
    servers::{Kind, Server, wait},
};

pub(super) fn promote(server: &Server) {
    server.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
}

/// A replica that has all of its master.
pub(super) fn replica_of(master: &Server) -> Server {
    let replica = Server::start(Kind::Redis);
    follow(&replica, master);
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_that_still_takes_writes_is_fenced_off_for_ever() {
    let old = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let behind = Plane::start(&format!("redis://{}", old.address()), &ledger);
    behind.create("a0").await;
    // A server takes another name when its first replica comes: it is verified under that one before
    // anything else happens, since what follows would else be refused before it is written.
    let new = replica_of(&old);
    behind.charge("a0", "c1", 10).await;
    behind.reserve("a0", "r1", 60).await;
    wait("the hold on the replica", || {
        let found: Vec<String> = new.ask(redis::cmd("KEYS").arg("*:r:a0/r1"));
        !found.is_empty()
    });
    promote(&new);
    let plane = Plane::start(&format!("redis://{}", new.address()), &ledger);
    plane.charge("a0", "c2", 100).await;

    // The old one takes it, but the ledger never will: it is not answered as settled.
    let refused = behind.try_charge("a0", "lost", 7).await;
    let error = refused.expect_err("the ledger does not take it");
    assert!(
        matches!(error, EnforceError::NotSettledInTime | EnforceError::Hot(_)),
        "{error}"
    );
    let closed = retried(async || match behind.hot.balance(&account_id("a0")).await {
        Err(fault) if fault.to_string().contains("replaced this one") => Ok(fault),
        Err(fault) => Err(fault.to_string()),
        Ok(_) => Err("it still answers".to_owned()),
    })
    .await;
    assert!(closed.to_string().contains("not verified"), "{closed}");
    // Counted once each record is named, which is after the shard was closed.
    let counted = retried(async || match behind.recovered().await.lost {
        0 => Err("not counted yet".to_owned()),
        lost => Ok(lost),
    });
    assert_eq!(counted.await, 1);

    plane.charge("a0", "c3", 1_000).await;
    plane.commit("a0", "r1", 50, false).await;
    plane.check("a0", 10 + 100 + 1_000 + 50).await;
    // The caller whose charge was not answered asks the server that counts.
    plane.charge("a0", "lost", 7).await;
    plane.check("a0", 10 + 100 + 1_000 + 50 + 7).await;
    assert!(behind.hot.balance(&account_id("a0")).await.is_err());

    // Once it follows the new one it has nothing of its own any more, and may be promoted again.
    follow(&old, &new);
    drop(new);
    promote(&old);
    behind.charge("a0", "c4", 3).await;
    behind.check("a0", 10 + 100 + 1_000 + 50 + 7 + 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_master_settled_since_is_named_and_rebuilt_where_it_comes_back() {
    let old = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let url = format!("redis://{}", old.address());
    let behind = Plane::start(&url, &ledger);
    behind.create("a0").await;
    behind.create("a1").await;
    behind.charge("a0", "c1", 10).await;
    behind.settled("a1").await;
    behind.stop_settling();
    let new = replica_of(&old);
    // Nobody settles what the old master takes now, and its replica does not get it.
    new.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    let plane = Plane::start(&format!("redis://{}", new.address()), &ledger);
    plane.charge("a0", "c2", 100).await;
    for id in ["x1", "x2", "x3"] {
        let answer = behind.try_charge("a0", id, 1).await;
        assert!(matches!(answer, Err(EnforceError::NotSettledInTime)));
    }
    plane.settled("a0").await;
    drop(plane);
    drop(new);

    // The old master's process ends, and starts again as it was: the only server there is.
    let again = Server::start(Kind::Redis);
    follow(&again, &old);
    promote(&again);
    let plane = Plane::start(&format!("redis://{}", again.address()), &ledger);
    plane.check("a0", 10 + 100).await;
    plane.check("a1", 0).await;
    assert_eq!(plane.recovered().await.lost, 3);
    // Their callers ask again, and are charged.
    for id in ["x1", "x2", "x3"] {
        plane.charge("a0", id, 1).await;
    }
    plane.check("a0", 10 + 100 + 3).await;
}

/// Both servers have a first commit of one reservation, so that its number tells them not apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_whose_commit_is_lost_does_not_stay_for_another_ones_sake() {
    let old = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let behind = Plane::start(&format!("redis://{}", old.address()), &ledger);
    behind.create("a0").await;
    behind.reserve("a0", "r1", 100).await;
    behind.settled("a0").await;
    behind.stop_settling();
    let new = replica_of(&old);
    wait("the hold on the replica", || {
        let found: Vec<String> = new.ask(redis::cmd("KEYS").arg("*:r:a0/r1"));
        !found.is_empty()
    });
    promote(&new);
    let plane = Plane::start(&format!("redis://{}", new.address()), &ledger);
    plane.commit("a0", "r1", 55, true).await;
    let answer = behind.try_commit("a0", "r1", 40, true).await;
    let error = answer.expect_err("the ledger does not take it");
    assert!(matches!(error, EnforceError::NotSettledInTime), "{error}");
    plane.settled("a0").await;
    drop(plane);
    drop(new);

    let again = replica_of(&old);
    promote(&again);
    let plane = Plane::start(&format!("redis://{}", again.address()), &ledger);
    plane.check("a0", 55).await;
    assert_eq!(plane.held("a0").await, 0, "it was charged something else");
    assert_eq!(plane.recovered().await.lost, 1);
}

/// A server that lacks the newest is taken for the one that it was, say by a process whose connection
/// is older and that was not at work meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_the_place_of_what_is_missing_is_named_and_settled_again() {
    let server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&format!("redis://{}", server.address()), &ledger);
    plane.create("a0").await;
    plane.charge("a0", "c1", 10).await;
    plane.settled("a0").await;
    let replica = replica_of(&server);
    promote(&replica);
    for id in ["c2", "c3", "c4"] {
        plane.charge("a0", id, 100).await;
    }
    plane.settled("a0").await;
    drop(plane);
    // It follows the one that lacks them, and is promoted again.
    follow(&server, &replica);
    promote(&server);
    let info: String = server.ask(redis::cmd("INFO").arg("replication"));
    let name = info.split("master_replid:").nth(1).expect("its name");
    let name = name.lines().next().expect("its name");
    let shards: Vec<String> = server.ask(redis::cmd("KEYS").arg("{tg:*}:meta"));
    assert_eq!(shards.len(), SHARDS as usize);
    for shard in shards {
        server.ask::<()>(redis::cmd("HSET").arg(shard).arg("server").arg(name));
    }
    let url = format!("redis://{}", server.address());
    let access = Arc::new(Access(Arc::clone(&ledger)));
    let idle = Plane::idle(&url, &ledger, access);
    let answer = idle.try_charge("a0", "other", 7).await;
    let error = answer.expect_err("nobody settles it");
    assert!(matches!(error, EnforceError::NotSettledInTime), "{error}");

    let plane = Plane::start(&url, &ledger);
    let counted = retried(async || match plane.recovered().await.lost {
        0 => Err("not counted yet"),
        lost => Ok(lost),
    });
    assert_eq!(counted.await, 1);
    plane.check("a0", 310).await;
    plane.charge("a0", "other", 7).await;
    plane.check("a0", 317).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_server_that_followed_another_one_meanwhile_is_verified_anew() {
    let server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&format!("redis://{}", server.address()), &ledger);
    plane.create("a0").await;
    plane.charge("a0", "c1", 10).await;
    let replica = replica_of(&server);
    promote(&replica);
    plane.charge("a0", "c2", 100).await;
    // Back to what the replica has, on the same process and the same connections.
    follow(&server, &replica);
    promote(&server);
    plane.charge("a0", "c3", 1_000).await;
    plane.check("a0", 10 + 100 + 1_000).await;
}

/// A ledger that looks, while accounts are rebuilt, what processes without one are told.
#[derive(Debug)]
struct Looking {
    inner: Access,
    gateway: RedisHot,
    told: Mutex<Vec<Mark>>,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[async_trait]
impl LedgerAccess for Looking {
    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, Fault> {
        self.inner.standing(shard, epoch).await
    }

    async fn fence(&self, fence: &Fence) -> Result<bool, Fault> {
        self.inner.fence(fence).await
    }

    async fn accounts(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, Fault> {
        let shards: Vec<u32> = (0..SHARDS).collect();
        let told = self.gateway.settled(&shards).await?;
        self.told.lock().expect("no panic").extend(told);
        self.inner.accounts(account_ids).await
    }

    async fn has(&self, entry: &Entry) -> Result<bool, Fault> {
        self.inner.has(entry).await
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Fault> {
        self.inner.commits(account_id, reservation_ids).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_master_settled_is_not_answered_while_it_is_rebuilt() {
    let mut old = Server::start(Kind::Redis);
    let new = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let idle = |server: &Server| {
        let access = Arc::new(Access(Arc::clone(&ledger)));
        Plane::idle(&server.url(), &ledger, access)
    };
    let behind = idle(&old);
    behind.create_by_hand("a0").await;
    let lost = super::charged(&behind, "a0", "lost", 7).await;
    old.ask::<()>(&redis::cmd("SAVE"));
    // Another server takes the ledger as far.
    let plane = idle(&new);
    super::charged(&plane, "a0", "c1", 100).await;
    plane.settler.step().await.expect("a step");
    drop(behind);
    old.restart(&Kind::Redis.binary(), &[]);

    let options = RedisOptions::new(old.url().parse().expect("an address"));
    let gateway = RedisHot::connect(RedisOptions {
        shards: SHARDS,
        ..options
    });
    let access = Arc::new(Looking {
        inner: Access(Arc::clone(&ledger)),
        gateway: gateway.expect("an address"),
        told: Mutex::default(),
    });
    let again = Plane::idle(&old.url(), &ledger, access.clone());
    again.check("a0", 100).await;
    let told = access.told.lock().expect("no panic").clone();
    let of_shard: Vec<&Mark> = told
        .iter()
        .filter(|mark| mark.shard == lost.shard)
        .collect();
    assert!(!of_shard.is_empty(), "nobody looked");
    for mark in of_shard {
        let has_it = mark.era == lost.era && mark.position >= lost.position;
        assert!(!has_it, "{mark:?} says that {lost:?} is settled");
    }
    assert_eq!(again.recovered().await.lost, 1);
}
