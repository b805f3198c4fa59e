//! A server that comes back with less than it had: from an old file, or as a replica that lacks
//! the last writes.

use std::{
    process::{Command, Stdio},
    sync::Arc,
};

use tollgate::{
    domain::{
        reservation::State,
        usage::{Action, Amount},
    },
    enforcer::{acks::Acks, request::ReserveRequest},
    hot::{
        HotStore,
        redis::{RedisHot, RedisOptions},
    },
    ledger::{Ledger, access::Access},
    workers::Worker,
};

use super::{
    PATIENCE, charged,
    plane::{ALLOWANCE, Plane, SHARDS, retried},
};
use crate::support::{
    account_id,
    commands::{credits, reservation_id},
    postgres,
    replication::{IMPATIENT_MS, follow, follows, sentinels},
    servers::{Kind, Server, wait},
};

/// What happens before the server's state is kept, and after it. Answers nothing: everything is
/// charged once the ledger has it.
struct Story;

impl Story {
    async fn before(plane: &Plane) {
        for account in ["a0", "a1", "a2"] {
            plane.create(account).await;
            plane.charge(account, "c1", 10).await;
        }
        plane.reserve("a0", "kept", 60).await;
        plane.reserve("a0", "settled", 70).await;
        plane.reserve("a0", "released", 50).await;
        plane.reserve("a0", "stepped", 80).await;
        plane.commit("a0", "stepped", 20, true).await;
        plane.reserve("a0", "refunded", 50).await;
        plane.commit("a0", "refunded", 40, true).await;
        plane.reserve("a1", "everything", 900_000).await;
        plane.settled("a0").await;
        plane.settled("a1").await;
        plane.settled("a2").await;
    }

    async fn after(plane: &Plane) {
        plane.commit("a0", "settled", 65, false).await;
        plane.commit("a0", "stepped", 35, true).await;
        plane.charge("a0", "c2", 7).await;
        plane.refund("a0", "refunded", 40).await;
        // What the hold of a1 needs is charged by somebody else once the hold is gone.
        plane.commit("a1", "everything", 0, false).await;
        plane.charge("a1", "c2", 200_000).await;
        plane.reserve("a2", "forgotten", 5).await;
        plane.create("a3").await;
        plane.charge("a3", "c1", 1).await;
    }

    /// What the callers find, on the server that lost what came after.
    async fn goes_on(plane: &Plane) {
        // Of a0 the hold that the ledger does not show as settled is still there, and those that
        // it does are not.
        assert_eq!(plane.held("a0").await, 60 + 50);
        assert_eq!(plane.state("a0", "kept").await, Some(State::Open));
        assert_eq!(plane.state("a0", "settled").await, None);
        assert_eq!(plane.state("a0", "stepped").await, None);
        assert_eq!(plane.state("a0", "refunded").await, None);
        assert_eq!(plane.held("a1").await, 0);
        plane.check("a0", 10 + 65 + 35 + 7).await;
        plane.check("a1", 10 + 200_000).await;
        plane.check("a2", 10).await;
        plane.check("a3", 1).await;

        // Retries of what was answered change nothing in the end.
        plane.commit("a0", "settled", 65, false).await;
        plane.charge("a0", "c2", 7).await;
        plane.charge("a2", "c1", 10).await;
        plane.commit("a0", "stepped", 36, false).await;
        plane.commit("a0", "kept", 61, false).await;
        plane.check("a0", 10 + 65 + 36 + 7 + 61).await;
        // A lower price does not give back what the refund did, and charges nothing more.
        plane.commit("a0", "refunded", 5, false).await;
        plane.check("a0", 10 + 65 + 36 + 7 + 61).await;
        plane.check("a2", 10).await;
        let available = plane.commit("a1", "new", 0, false).await;
        assert_eq!(available, ALLOWANCE - 10 - 200_000);
    }
}

async fn restarted_from_an_old_file(kind: Kind, scheme: &str) {
    let mut server = Server::start(kind);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&format!("{scheme}://{}", server.address()), &ledger);
    Story::before(&plane).await;
    server.ask::<()>(&redis::cmd("SAVE"));
    Story::after(&plane).await;
    let args: &[&str] = match kind {
        Kind::Redis | Kind::Valkey => &[],
        Kind::Cluster => &["--cluster-enabled", "yes"],
    };
    server.restart(&kind.binary(), args);
    Story::goes_on(&plane).await;
    let recovered = plane.recovered().await;
    assert_eq!((recovered.lost, recovered.holds), (0, 4), "{recovered:?}");
    assert!(recovered.shards > 0, "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restarted_from_an_old_file_is_rebuilt() {
    restarted_from_an_old_file(Kind::Redis, "redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valkey_restarted_from_an_old_file_is_rebuilt() {
    restarted_from_an_old_file(Kind::Valkey, "redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_node_restarted_from_an_old_file_is_rebuilt() {
    restarted_from_an_old_file(Kind::Cluster, "redis+cluster").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restarted_with_all_it_had_goes_on() {
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start_with(&Kind::Redis.binary(), &args);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&format!("redis://{}", server.address()), &ledger);
    Story::before(&plane).await;
    Story::after(&plane).await;
    server.restart(&Kind::Redis.binary(), &args);
    assert_eq!(plane.state("a0", "stepped").await, Some(State::Open));
    assert_eq!(plane.state("a2", "forgotten").await, Some(State::Open));
    assert_eq!(plane.held("a0").await, 60 + 50 + 45 + 10);
    plane.check("a0", 10 + 65 + 35 + 7).await;
    let recovered = plane.recovered().await;
    assert_eq!((recovered.lost, recovered.holds), (0, 0), "{recovered:?}");
    assert_eq!(recovered.shards, 0, "nothing was lost");
}

/// Waits until a replica has all that its master has, and then cuts it off: it gets nothing more,
/// and can't ask.
fn cut_off(replica: &Server, master: &Server) {
    let offset = |server: &Server, name: &str| -> String {
        let info: String = server.ask(redis::cmd("INFO").arg("replication"));
        let found = info.lines().find_map(|line| line.strip_prefix(name));
        found.expect("an offset").to_owned()
    };
    wait("the replica to catch up", || {
        offset(replica, "slave_repl_offset:") == offset(master, "master_repl_offset:")
    });
    replica.signal("STOP");
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("REPLICA");
    master.ask::<()>(&kill);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_that_lacks_the_last_writes() {
    let mut master = Server::start(Kind::Redis);
    let replica = Server::start(Kind::Redis);
    follow(&replica, &master);
    let (_sentinels, url) = sentinels(&master, IMPATIENT_MS);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&url, &ledger);
    Story::before(&plane).await;
    cut_off(&replica, &master);
    Story::after(&plane).await;
    master.kill();
    replica.signal("CONT");
    Story::goes_on(&plane).await;
    let recovered = plane.recovered().await;
    assert_eq!((recovered.lost, recovered.holds), (0, 4), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_promotes_a_replica_that_lacks_the_last_writes() {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    let binary = Kind::Redis.binary();
    let mut nodes: Vec<Server> = (0..6).map(|_| Server::start_with(&binary, &args)).collect();
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]);
    create.args(nodes.iter().map(Server::address));
    create.args(["--cluster-replicas", "1", "--cluster-yes"]);
    let made = create.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(made.expect("redis-cli runs").success());
    for node in &nodes {
        node.wait("the cluster's state", |node| {
            let info: String = node.ask(redis::cmd("CLUSTER").arg("INFO"));
            info.contains("cluster_state:ok")
        });
    }
    nodes[3..].iter().for_each(follows);
    let hosts: Vec<String> = nodes.iter().map(Server::address).collect();
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let url = format!("redis+cluster://{}", hosts.join(","));
    let plane = Plane::start(&url, &ledger);
    Story::before(&plane).await;
    let has = |node: &Server| -> bool {
        let found: Vec<String> = node.ask(redis::cmd("KEYS").arg("*:a:a0"));
        !found.is_empty()
    };
    let master = nodes[..3].iter().position(has).expect("a node with a0");
    let port = format!("master_port:{}", nodes[master].port);
    let is_its_replica = |node: &Server| {
        let info: String = node.ask(redis::cmd("INFO").arg("replication"));
        info.contains(&port)
    };
    let replica = 3 + nodes[3..]
        .iter()
        .position(is_its_replica)
        .expect("a replica");
    cut_off(&nodes[replica], &nodes[master]);
    Story::after(&plane).await;
    nodes[master].kill();
    nodes[replica].signal("CONT");
    Story::goes_on(&plane).await;
    let recovered = plane.recovered().await;
    assert!(recovered.shards > 0 && recovered.lost == 0, "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_while_its_caller_waits_is_not_answered_by_what_takes_its_place() {
    let mut server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let access = Arc::new(Access(Arc::clone(&ledger)));
    let plane = Plane::idle(&server.url(), &ledger, access);
    plane.create_by_hand("a0").await;
    server.ask::<()>(&redis::cmd("SAVE"));
    let lost = charged(&plane, "a0", "lost", 7).await;
    let (acks, followed) = (Arc::clone(&plane.acks), Arc::new(Acks::new(SHARDS)));
    let waiting = [acks, Arc::clone(&followed)]
        .map(|acks| tokio::spawn(async move { acks.settled(lost, PATIENCE).await }));

    // The server has all that the ledger has, and not what waited for it.
    server.restart(&Kind::Redis.binary(), &[]);
    let other = charged(&plane, "a0", "other", 100).await;
    assert_eq!(other.position, lost.position);
    plane.settler.step().await.expect("a step");
    // A process without a ledger is told by Redis.
    let options = RedisOptions::new(server.url().parse().expect("an address"));
    let gateway = RedisHot::connect(RedisOptions {
        shards: SHARDS,
        ..options
    });
    let gateway = gateway.expect("an address");
    let marks = retried(async || gateway.settled(&[lost.shard]).await).await;
    marks.into_iter().for_each(|mark| followed.publish(mark));
    for acks in [&plane.acks, &followed] {
        assert!(acks.settled(other, PATIENCE).await, "the ledger has it");
    }
    for waited in waiting {
        assert!(!waited.await.expect("no panic"), "the ledger has it not");
    }
    plane.check("a0", 100).await;

    // Its caller asks again, and is charged.
    let again = charged(&plane, "a0", "lost", 7).await;
    plane.settler.step().await.expect("a step");
    assert!(plane.acks.settled(again, PATIENCE).await);
    plane.check("a0", 107).await;
    let recovered = plane.recovered().await;
    assert_eq!(recovered.shards, 0, "the history went on");
}

/// A hold of 60 that is charged 30, and whose deadline passes.
async fn expired(plane: &Plane, id: &str) {
    let reserve = async || {
        let request = ReserveRequest {
            account_id: account_id("a0"),
            reservation_id: reservation_id(id),
            action: Action {
                mode: "discuss".to_owned(),
                ..Action::default()
            },
            amount: Amount::Credits(credits(60)),
            min_credits: None,
            ttl_ms: Some(1),
            dry_run: false,
        };
        plane.enforcer.reserve(request).await
    };
    retried(reserve).await;
    plane.commit("a0", id, 30, true).await;
    retried(async || {
        plane
            .hot
            .sweep(100)
            .await
            .map_err(|fault| fault.to_string())?;
        match plane.state("a0", id).await {
            Some(State::Expired) => Ok(()),
            other => Err(format!("{id} is {other:?}")),
        }
    })
    .await;
}

/// Less than an earlier commit charged gives something back, and must do so once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_expired_and_was_settled_late_since_is_not_given_back_twice() {
    let mut server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&server.url(), &ledger);
    plane.create("a0").await;
    for id in ["less", "more", "refunded", "kept", "released"] {
        expired(&plane, id).await;
    }
    plane.settled("a0").await;
    server.ask::<()>(&redis::cmd("SAVE"));
    plane.commit("a0", "less", 20, false).await;
    plane.commit("a0", "more", 50, false).await;
    plane.refund("a0", "refunded", 30).await;
    plane.check("a0", 20 + 50 + 30 + 30).await;
    server.restart(&Kind::Redis.binary(), &[]);
    plane.check("a0", 20 + 50 + 30 + 30).await;

    // Those whose callers ask again, and those whose callers ask for the first time.
    plane.commit("a0", "less", 20, false).await;
    plane.commit("a0", "more", 25, false).await;
    plane.commit("a0", "refunded", 5, false).await;
    plane.commit("a0", "kept", 25, false).await;
    plane.check("a0", 20 + 50 + 25 + 30).await;
    assert_eq!(plane.state("a0", "released").await, None);
    // One that expires from now on is remembered.
    expired(&plane, "new").await;
    plane.commit("a0", "new", 10, false).await;
    plane.check("a0", 20 + 50 + 25 + 30 + 10).await;
}
