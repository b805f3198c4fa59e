//! A server that was emptied, under living connections and under load.

use std::{sync::Arc, time::Duration};

use tollgate::{
    domain::decision::Refusal,
    hot::{HotStore, redis::RedisOptions},
    ledger::Ledger,
};

use super::{
    PATIENCE,
    plane::{Plane, SHARDS, retried},
};
use crate::{
    redis::{in_time, is_determinate, store_with},
    support::{
        account_id,
        commands::reserve,
        postgres,
        servers::{Kind, Server, now},
    },
};

const ACCOUNTS: &[&str] = &["a0", "a1", "a2", "a3", "a4", "a5"];

/// Until a number of charges of some run are in the ledger.
async fn until_charged(plane: &Plane, least: usize) {
    let started = now();
    loop {
        let filter = Default::default();
        let page = plane.ledger.entries(&filter, None, 10_000).await;
        if page.expect("no fault").entries.len() >= least {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "nothing is charged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn flushed_under_load(kind: Kind, scheme: &str) {
    let server = Server::start(kind);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let url = format!("{scheme}://{}", server.address());
    let (one, other) = (Plane::start(&url, &ledger), Plane::start(&url, &ledger));
    for account in ACCOUNTS {
        one.create(account).await;
    }
    let (one, other) = (Arc::new(one), Arc::new(other));
    let loads = [one.load(ACCOUNTS, "x"), other.load(ACCOUNTS, "y")];
    for round in 1..=3 {
        until_charged(&one, round * 100).await;
        server.ask::<()>(&redis::cmd("FLUSHALL"));
    }
    until_charged(&one, 500).await;
    let mut charged = vec![0; ACCOUNTS.len()];
    for load in loads {
        for (sum, of_load) in charged.iter_mut().zip(load.end().await) {
            *sum += of_load;
        }
    }
    for (account, charged) in ACCOUNTS.iter().zip(charged) {
        assert!(charged > 0);
        one.check(account, charged).await;
    }
    let recovered = [one.recovered().await, other.recovered().await];
    let shards: u64 = recovered.iter().map(|one| one.shards).sum();
    assert!(shards >= u64::from(SHARDS), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_flushed_under_load_begins_anew() {
    flushed_under_load(Kind::Redis, "redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valkey_that_is_flushed_under_load_begins_anew() {
    flushed_under_load(Kind::Valkey, "redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_flushed_under_load_begins_anew() {
    flushed_under_load(Kind::Cluster, "redis+cluster").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_are_gone_with_the_server_and_late_commits_are_charged() {
    let server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&format!("redis://{}", server.address()), &ledger);
    plane.create("a0").await;
    plane.reserve("a0", "r1", 60).await;
    plane.charge("a0", "c1", 5).await;
    server.ask::<()>(&redis::cmd("FLUSHALL"));
    assert_eq!(plane.held("a0").await, 0);
    assert_eq!(plane.state("a0", "r1").await, None);
    plane.commit("a0", "r1", 45, false).await;
    plane.charge("a0", "c1", 5).await;
    plane.check("a0", 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_the_server_was_emptied_is_not_loaded_after_it() {
    let server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let plane = Plane::start(&format!("redis://{}", server.address()), &ledger);
    plane.create("a0").await;
    let id = account_id("a0");
    let loading = retried(async || plane.hot.loading(&id).await).await;
    let (_, stale) = plane.settled("a0").await;
    plane.charge("a0", "c1", 100).await;
    server.ask::<()>(&redis::cmd("FLUSHALL"));
    retried(async || plane.hot.load(stale.clone(), loading).await).await;
    let answer = retried(async || plane.hot.balance(&id).await).await;
    assert_eq!(answer.err(), Some(Refusal::NotLoaded));
    plane.check("a0", 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_ledger_calls_fail_in_time_until_another_process_has_verified() {
    let server = Server::start(Kind::Redis);
    let url = format!("redis://{}", server.address());
    let options = RedisOptions {
        deadline: crate::redis::DEADLINE,
        shards: SHARDS,
        unload_idle_ms: 0,
        ..RedisOptions::new(url.parse().expect("a URL"))
    };
    let gateway =
        Arc::new(tollgate::hot::redis::RedisHot::connect(options.clone()).expect("a URL"));
    for _ in 0..5 {
        let answer = in_time(gateway.reserve(&reserve("r1", 1))).await;
        let fault = answer.expect_err("nobody has verified it");
        assert!(is_determinate(&fault), "{fault}");
        assert!(fault.to_string().contains("not verified"), "{fault}");
    }
    let control = store_with(options);
    super::super::open(&control, &account_id("acme"))
        .await
        .expect("no fault");
    let answer = retried(async || gateway.reserve(&reserve("r1", 1)).await).await;
    assert!(answer.expect("loaded").value.result.is_ok());
    server.ask::<()>(&redis::cmd("FLUSHALL"));
    let fault = in_time(gateway.reserve(&reserve("r2", 1))).await;
    assert!(is_determinate(&fault.expect_err("it is empty")));
}
