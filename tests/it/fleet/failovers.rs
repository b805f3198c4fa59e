//! A Redis master dies for good under load and its replica takes over, which lacks the master's last
//! writes. Settlements are answered once they are in the ledger, so that none that was answered is
//! lost or doubled; holds of the last instant may be gone, and their commits are charged all the
//! same.

use super::{
    clients::Load,
    world::{Fleet, compare},
};
use crate::support::{
    cluster::{Cluster, is_whole},
    postgres::shared,
    replication::{IMPATIENT_MS, follow, sentinels},
    servers::{Kind, Server, until},
};

/// How many answers before and after a failover.
const ANSWERS: usize = 300;
/// A call gives up sooner than its client does.
const SETTINGS: [&str; 2] = ["settle.ack=ledger", "grpc.request_timeout_ms=3000"];

/// Two processes under load while masters die; then the ledger against the answers.
async fn survive(what: &str, hot: &str, fails_over: impl AsyncFnOnce(&Load)) {
    let database = shared().empty().await;
    let fleet = Fleet::start(2, hot, &database.url(), &SETTINGS);
    let load = Load::start_where_holds_may_be_lost(&fleet).await;
    load.progress(ANSWERS).await;
    fails_over(&load).await;
    load.progress(ANSWERS).await;
    let tally = load.stop(what).await;
    compare(&database, &tally.settled).await;
    fleet.reconcile();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_loses_its_masters_one_by_one_loses_no_answer() {
    let mut cluster = Cluster::start(3, 1, &[]);
    survive("masters killed", &cluster.url(), async |load| {
        for shard in 0..2 {
            let master = cluster.owner(&format!("{{tg:{shard}}}:meta"));
            let other = (0..6).find(|place| *place != master).expect("six nodes");
            cluster.nodes[master].kill();
            until("CLUSTERDOWN", || !is_whole(&cluster.nodes[other])).await;
            until("a promotion", || is_whole(&cluster.nodes[other])).await;
            load.progress(ANSWERS).await;
            // It comes back as a replica, so that the next one may die.
            tokio::task::block_in_place(|| cluster.restart(master));
            until("the cluster's state", || is_whole(&cluster.nodes[other])).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_by_sentinels_loses_no_answer() {
    let mut master = Server::start(Kind::Redis);
    let replica = Server::start(Kind::Redis);
    follow(&replica, &master);
    let (_sentinels, url) = sentinels(&master, IMPATIENT_MS);
    survive("failed over", &url, async |_| {
        master.kill();
        // A Sentinel that promotes a server closes its clients' connections.
        let is_master = || {
            let info = replica.try_ask::<String>(redis::cmd("INFO").arg("replication"));
            info.is_ok_and(|info| info.contains("role:master"))
        };
        until("a promotion", is_master).await;
    })
    .await;
}
