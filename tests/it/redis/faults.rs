//! A server that is not there, goes away, hangs, or refuses: every call answers within its
//! deadline, says whether it may have happened, and works again once the server does.

use std::time::Duration;

use tollgate::{
    domain::decision::Refusal,
    hot::{
        HotStore,
        redis::{RedisHot, RedisOptions},
    },
};

use super::{DEADLINE, in_time, is_determinate, open, store, store_with, until_it_works};
use crate::support::{
    account_id,
    commands::{acme, reserve},
    proxy::{Network, Proxy},
    servers::{Kind, Server, free_port},
};

/// How long it may take until a store works again after its server does.
const RECOVERY: Duration = Duration::from_secs(20);

pub(super) async fn works(store: &RedisHot) {
    until_it_works(RECOVERY, async || open(store, &acme()).await).await;
}

/// A call that must fail, in time; whether it surely did not happen.
pub(super) async fn fails(store: &RedisHot) -> bool {
    let answer = in_time(store.reserve(&reserve("r1", 1))).await;
    is_determinate(&answer.expect_err("the server is not well"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_starts_without_its_server() {
    let port = free_port();
    let store = store(&format!("redis://127.0.0.1:{port}"));
    for _ in 0..50 {
        assert!(fails(&store).await, "nothing can have happened");
    }
    let _server = Server::start_on(port, &Kind::Redis.binary(), &[]);
    works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_found_again() {
    let mut server = Server::start(Kind::Redis);
    let store = store(&server.url());
    works(&store).await;
    server.kill();
    // Once the store has noticed it is always sure.
    let mut unsure = 0;
    while !fails(&store).await {
        unsure += 1;
        assert!(unsure < 20, "nobody listens");
    }
    for _ in 0..5 {
        assert!(fails(&store).await, "nobody listens");
    }
    server.restart(&Kind::Redis.binary(), &[]);
    let answer = until_it_works(RECOVERY, async || store.balance(&acme()).await).await;
    assert_eq!(answer.err(), Some(Refusal::NotLoaded), "an empty server");
    works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_costs_a_deadline_and_no_more() {
    let server = Server::start(Kind::Redis);
    let store = store(&server.url());
    works(&store).await;
    server.signal("STOP");
    for _ in 0..8 {
        fails(&store).await;
    }
    server.signal("CONT");
    works(&store).await;

    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(2_000).arg("ALL");
    server.ask::<()>(&pause);
    for _ in 0..4 {
        assert!(!fails(&store).await || store.now().await.is_err());
    }
    works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_drops_everything_is_left_for_a_new_connection() {
    let server = Server::start(Kind::Redis);
    let proxy = Proxy::start(server.port).await;
    let store = store(&format!("redis://{}", proxy.address));
    works(&store).await;
    for network in [
        Network::LosesRequests,
        Network::LosesReplies,
        Network::LosesAll,
        Network::Holds,
        Network::Cuts,
    ] {
        proxy.set(network);
        for _ in 0..6 {
            fails(&store).await;
        }
        proxy.set(Network::Works);
        works(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_the_server_forgot_are_sent_again() {
    for kind in [Kind::Redis, Kind::Valkey, Kind::Cluster] {
        let server = Server::start(kind);
        let scheme = if kind == Kind::Cluster {
            "redis+cluster"
        } else {
            "redis"
        };
        let store = store(&format!("{scheme}://{}", server.address()));
        works(&store).await;
        server.ask::<()>(redis::cmd("SCRIPT").arg("FLUSH"));
        let answer = in_time(store.reserve(&reserve("r1", 60)))
            .await
            .expect("no fault");
        assert!(answer.expect("loaded").value.result.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_became_a_replica_is_asked_for_again() {
    let (server, other) = (Server::start(Kind::Redis), Server::start(Kind::Redis));
    let store = store(&server.url());
    works(&store).await;
    let mut become_replica = redis::cmd("REPLICAOF");
    become_replica.arg("127.0.0.1").arg(other.port);
    server.ask::<()>(&become_replica);
    for _ in 0..5 {
        assert!(fails(&store).await, "a replica writes nothing");
    }
    server.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_a_slot_refuses_in_time() {
    let server = Server::start(Kind::Cluster);
    let store = store(&format!("redis+cluster://{}", server.address()));
    works(&store).await;
    let slots = |verb: &str| {
        let mut command = redis::cmd("CLUSTER");
        command.arg(verb).arg(0).arg(16383);
        command
    };
    server.ask::<()>(&slots("DELSLOTSRANGE"));
    for _ in 0..5 {
        fails(&store).await;
    }
    server.ask::<()>(&slots("ADDSLOTSRANGE"));
    works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_before_anything_is_written() {
    let server = Server::start(Kind::Redis);
    let store = store(&server.url());
    works(&store).await;
    let before = store
        .account(&acme())
        .await
        .expect("no fault")
        .expect("loaded")
        .value
        .0;
    let memory = |bytes: &str| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(bytes);
        command
    };
    server.ask::<()>(&memory("1"));
    assert!(fails(&store).await, "it is refused before it writes");
    server.ask::<()>(&memory("0"));
    let after = store
        .account(&acme())
        .await
        .expect("no fault")
        .expect("loaded")
        .value
        .0;
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_shards_is_refused() {
    let server = Server::start(Kind::Redis);
    works(&store(&server.url())).await;
    let other = store_with(RedisOptions {
        deadline: DEADLINE,
        shards: 8,
        ..RedisOptions::new(server.url().parse().expect("a URL"))
    });
    let fault = other.balance(&acme()).await.expect_err("4 is not 8");
    assert!(is_determinate(&fault));
    let text = fault.to_string();
    assert!(
        text.contains("set up with 4 shards and this process with 8"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_of_one_ledger_until_it_is_emptied() {
    let server = Server::start(Kind::Redis);
    let of = |ledger: &str| {
        store_with(RedisOptions {
            deadline: DEADLINE,
            shards: 4,
            ledger_id: Some(ledger.to_owned()),
            ..RedisOptions::new(server.url().parse().expect("a URL"))
        })
    };
    let (first, second) = (of("one"), of("two"));
    works(&first).await;
    let fault = second.balance(&acme()).await.expect_err("it is one's");
    assert!(is_determinate(&fault));
    let text = fault.to_string();
    assert!(
        text.contains("of ledger one, and this process has ledger two"),
        "{text}"
    );
    // Who has no ledger does not ask.
    store(&server.url()).now().await.expect("no fault");

    // The server is emptied, and the other one comes first: whoever was there leaves.
    server.ask::<()>(&redis::cmd("FLUSHALL"));
    until_it_works(RECOVERY, async || second.now().await).await;
    first.publish_setup().await.expect("no fault");
    let fault = first.now().await.expect_err("it is two's by now");
    assert!(fault.to_string().contains("of ledger two"), "{fault}");
    second.publish_setup().await.expect("no fault");
    second.now().await.expect("it is two's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_and_a_user_with_a_password_are_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("redis.sock");
    let path = socket.display().to_string();
    let server = Server::start_with(&Kind::Redis.binary(), &["--unixsocket", &path]);
    works(&store(&format!("redis+unix://{path}"))).await;

    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("gate")
        .arg("on")
        .arg(">s3:cret")
        .arg("~*")
        .arg("+@all");
    server.ask::<()>(&user);
    let login = format!("redis://gate:s3%3Acret@{}", server.address());
    let store = store(&login);
    open(&store, &account_id("other")).await.expect("no fault");
    let wrong = super::store(&format!("redis://gate:wrong@{}", server.address()));
    let fault = wrong.balance(&acme()).await.expect_err("a wrong password");
    assert!(
        is_determinate(&fault) && !fault.to_string().contains("wrong@"),
        "{fault}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_lose_balances_is_said() {
    let server = Server::start(Kind::Redis);
    let store = store(&server.url());
    let warnings = store.durability_warnings().await.expect("no fault");
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("appendonly is no")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|text| text.contains("no replica")),
        "{warnings:?}"
    );
    let mut set = redis::cmd("CONFIG");
    set.arg("SET")
        .arg("maxmemory-policy")
        .arg("allkeys-lru")
        .arg("appendonly")
        .arg("yes");
    server.ask::<()>(&set);
    let warnings = store.durability_warnings().await.expect("no fault");
    assert!(
        warnings.iter().any(|text| text.contains("allkeys-lru")),
        "{warnings:?}"
    );
    assert!(
        !warnings.iter().any(|text| text.contains("appendonly")),
        "{warnings:?}"
    );

    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("gate")
        .arg("on")
        .arg(">pw")
        .arg("~*")
        .arg("+@all")
        .arg("-config");
    server.ask::<()>(&user);
    let managed = super::store(&format!("redis://gate:pw@{}", server.address()));
    let warnings = managed.durability_warnings().await.expect("no fault");
    assert!(
        warnings.iter().any(|text| text.contains("does not tell")),
        "{warnings:?}"
    );
}
