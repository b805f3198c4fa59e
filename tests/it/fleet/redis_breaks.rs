//! Redis hangs, loses its network, forgets its scripts, dies and comes back, moves its slots about:
//! every call in time, UNAVAILABLE with when to try again and never a denial, and nothing lost or
//! doubled.

use std::time::Duration;

use super::{
    clients::Load,
    world::{Fleet, SHARDS, compare},
};
use crate::support::{
    cluster::{Cluster, is_whole},
    postgres::shared,
    proxy::{Network, Proxy},
    servers::{Kind, Server, until},
};

/// How long something stays broken.
const BROKEN: Duration = Duration::from_millis(1_500);
/// How many more answers show that everything works again.
const AFTER: usize = 300;
/// A server that loses nothing that it has answered, whatever becomes of it.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Two processes under load on one Redis while it breaks; then the ledger against the answers.
async fn survive(what: &str, hot: &str, breaks: impl AsyncFnOnce(&Load)) {
    let database = shared().empty().await;
    let fleet = Fleet::start(2, hot, &database.url(), &["settle.ack=hot"]);
    let load = Load::start(&fleet).await;
    breaks(&load).await;
    load.progress(AFTER).await;
    let tally = load.stop(what).await;
    compare(&database, &tally.settled).await;
    fleet.reconcile();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_paused_or_stopped_redis_costs_its_pause() {
    let server = Server::start(Kind::Redis);
    survive("a pause, then a stop", &server.url(), async |load| {
        let mut pause = redis::cmd("CLIENT");
        pause.arg("PAUSE").arg(BROKEN.as_millis() as u64).arg("ALL");
        server.ask::<()>(&pause);
        load.progress(AFTER).await;
        server.signal("STOP");
        tokio::time::sleep(BROKEN).await;
        server.signal("CONT");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_network_that_drops_packets_costs_a_new_connection() {
    let server = Server::start(Kind::Valkey);
    let proxy = Proxy::start(server.port).await;
    let hot = format!("redis://{}", proxy.address);
    survive("packets dropped five ways", &hot, async |load| {
        for network in [
            Network::LosesRequests,
            Network::LosesReplies,
            Network::LosesAll,
            Network::Holds,
            Network::Cuts,
        ] {
            proxy.set(network);
            tokio::time::sleep(BROKEN).await;
            proxy.set(Network::Works);
            load.progress(AFTER).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_forgets_its_scripts_is_told_again() {
    let server = Server::start(Kind::Redis);
    survive("scripts flushed 50 times", &server.url(), async |load| {
        for _ in 0..50 {
            server.ask::<()>(redis::cmd("SCRIPT").arg("FLUSH"));
            load.progress(10).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_is_killed_and_loads_for_long_has_lost_nothing() {
    let mut server = Server::start_with(&Kind::Redis.binary(), &DURABLE);
    // Ballast: what takes long to load, with the delay for each key below.
    let mut fill = redis::cmd("EVAL");
    fill.arg("for i = 1, 20000 do redis.call('SET', 'ballast:' .. i, '') end")
        .arg(0);
    server.ask::<()>(&fill);
    let hot = server.url();
    survive("killed, then loading", &hot, async |_| {
        let slow = [
            "--key-load-delay",
            "50",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        server.respawn(&Kind::Redis.binary(), &[&DURABLE[..], &slow].concat());
        let is_loading = || {
            let answer: redis::RedisResult<String> = server.try_ask(&redis::cmd("PING"));
            answer.is_err_and(|error| error.code() == Some("LOADING"))
        };
        until("LOADING", is_loading).await;
        until("an answer", || server.is_up()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_that_move_under_load_lose_nothing() {
    let cluster = Cluster::start(3, 0, &[]);
    survive("slots moved twice", &cluster.url(), async |load| {
        for round in 1..=2 {
            for shard in 0..SHARDS {
                let key = format!("{{tg:{shard}}}:meta");
                let to = (cluster.owner(&key) + round) % 3;
                tokio::task::block_in_place(|| {
                    cluster.move_slot(&key, to, || std::thread::sleep(Duration::from_millis(20)));
                });
                load.progress(30).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_hands_over_or_is_down_for_a_while_loses_nothing() {
    let mut cluster = Cluster::start(3, 1, &DURABLE);
    survive("handed over, then down", &cluster.url(), async |load| {
        let owner = cluster.owner("{tg:0}:meta");
        let replica = &cluster.nodes[cluster.replica_of(owner)];
        // Coordinated: the old master stays, as a replica, and loses nothing.
        replica.ask::<()>(redis::cmd("CLUSTER").arg("FAILOVER"));
        let is_master = || {
            let info: String = replica.ask(redis::cmd("INFO").arg("replication"));
            info.contains("role:master")
        };
        until("its promotion", is_master).await;
        load.progress(AFTER).await;
        // A master and its replica: the cluster answers CLUSTERDOWN until they are back.
        let master = cluster.owner("{tg:1}:meta");
        let both = [master, cluster.replica_of(master)];
        for place in both {
            cluster.nodes[place].kill();
        }
        let other = (0..6)
            .find(|place| !both.contains(place))
            .expect("four are left");
        until("CLUSTERDOWN", || !is_whole(&cluster.nodes[other])).await;
        tokio::time::sleep(BROKEN).await;
        for place in both {
            tokio::task::block_in_place(|| cluster.restart(place));
        }
        until("the cluster's state", || is_whole(&cluster.nodes[other])).await;
    })
    .await;
}
