//! Postgres is away for a while under load: the hot path does not notice, the outbox grows and
//! drains, nothing is lost and nothing is there twice. What needs the ledger says UNAVAILABLE in
//! time, and an outbox that is full refuses before it takes more than it may.

use std::time::Duration;

use tollgate::pb::{
    ChargeRequest, CommitRequest, GetBalanceRequest, ReserveRequest, charge_request,
    commit_request, reserve_request,
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::{
    clients::{Load, action},
    world::{Charges, Fleet, SHARDS, again, charged, compare, insist},
};
use crate::support::{
    postgres::{self, Database, shared},
    proxy::{Network, Proxy},
    servers::{Kind, Server, now, until},
};

/// How many answers show that the hot path goes on.
const MEANWHILE: usize = 300;
/// The longest that one request may take, by `grpc.request_timeout_ms`, and a step of it on Redis:
/// between the two, whatever the machine is busy with, is what a commit waits for the ledger.
const REQUEST: Duration = Duration::from_secs(6);
/// How much later than that it may be answered on a busy machine.
const SLACK: Duration = Duration::from_secs(5);
/// What is waited for Postgres is short, so that a silent one is left soon.
const SHORT: [&str; 2] = [
    "postgres.acquire_timeout_ms=1500",
    "postgres.statement_timeout_ms=1000",
];
/// The fewest records that an outbox can be told to keep.
const OUTBOX_MAX: u64 = 1_000;
/// How many charges are under way at once where an outbox is filled.
const AT_ONCE: u64 = 8;

/// How many records the outboxes have.
fn waiting(redis: &Server) -> u64 {
    let length = |shard| redis.ask::<u64>(redis::cmd("XLEN").arg(format!("{{tg:{shard}}}:out")));
    (0..SHARDS).map(length).sum()
}

/// That a call says UNAVAILABLE, in time, with when to try again.
async fn is_refused<T>(call: impl Future<Output = Result<Response<T>, Status>>) {
    let asked = now();
    let Err(status) = call.await else {
        panic!("the ledger is away")
    };
    let took = asked.elapsed();
    assert!(took < REQUEST + SLACK, "it took {took:?}: {status:?}");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
}

/// What only the ledger knows can't be answered.
async fn ask_for_a_cold_account(fleet: &Fleet) {
    let mut quota = fleet.sidecars[0].quota().await;
    let request = GetBalanceRequest {
        account_id: "cold".to_owned(),
    };
    is_refused(quota.get_balance(request)).await;
}

fn hot(redis: &Server) -> String {
    format!("redis://{}", redis.address())
}

/// While the ledger is away: the hot path goes on, and the outbox grows.
async fn goes_on(what: &str, fleet: &Fleet, redis: &Server, load: &Load) {
    // What the ledger had answered just before may still be trimmed.
    load.progress(MEANWHILE).await;
    let (before, started) = (waiting(redis), now());
    load.progress(MEANWHILE).await;
    let after = waiting(redis);
    println!("{what}: {MEANWHILE} answers within {:?}", started.elapsed());
    println!("{what}: the outboxes went from {before} to {after} records");
    assert!(after > before, "{what}: the outbox does not grow");
    ask_for_a_cold_account(fleet).await;
}

/// After it is back: everything drains, and is what was answered.
async fn drains(what: &str, fleet: &Fleet, redis: &Server, load: Load, database: &Database) {
    load.progress(MEANWHILE).await;
    let tally = load.stop(what).await;
    // A call may miss a deadline on a machine that is too busy, ledger or not.
    assert!(tally.failed * 5 < tally.calls, "the hot path failed");
    compare(database, &tally.settled).await;
    until("the outbox to drain", || waiting(redis) == 0).await;
    fleet.reconcile();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_postgres_that_hangs_or_is_killed_is_not_noticed_by_the_hot_path() {
    let redis = Server::start(Kind::Redis);
    let server = postgres::Server::start();
    let database = server.empty().await;
    let settings = [&["settle.ack=hot"], &SHORT[..]].concat();
    let fleet = Fleet::start(2, &hot(&redis), &database.url(), &settings);
    let load = Load::start(&fleet).await;
    server.freeze();
    goes_on("Postgres frozen", &fleet, &redis, &load).await;
    server.thaw();
    load.progress(MEANWHILE).await;
    tokio::task::block_in_place(|| server.kill());
    goes_on("Postgres killed", &fleet, &redis, &load).await;
    tokio::task::block_in_place(|| server.start_again());
    drains("Postgres back", &fleet, &redis, load, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_network_to_postgres_that_drops_packets_is_left_for_new_connections() {
    let redis = Server::start(Kind::Valkey);
    let database = shared().empty().await;
    let proxy = Proxy::start(shared().port()).await;
    let settings = [&["settle.ack=hot"], &SHORT[..]].concat();
    let fleet = Fleet::start(2, &hot(&redis), &database.url_at(proxy.port), &settings);
    let load = Load::start(&fleet).await;
    for network in [Network::LosesReplies, Network::LosesAll] {
        proxy.set(network);
        goes_on(&format!("{network:?}"), &fleet, &redis, &load).await;
        // The connections of before stay mute for ever: none of them is waited for.
        let many = waiting(&redis);
        proxy.set(Network::Works);
        until("the settlers", || waiting(&redis) < many).await;
    }
    drains("the network is back", &fleet, &redis, load, &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_waits_for_the_ledger_says_so_in_time_and_is_answered_later() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let proxy = Proxy::start(shared().port()).await;
    let settings = [
        &["settle.ack=ledger", "grpc.request_timeout_ms=6000"][..],
        &["redis.call_timeout_ms=1500"][..],
        &SHORT[..],
    ]
    .concat();
    let fleet = Fleet::start(1, &hot(&redis), &database.url_at(proxy.port), &settings);
    fleet.create("acme", 1_000).await;
    let quota = fleet.sidecars[0].quota().await;
    let reserve = ReserveRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        action: action(),
        amount: Some(reserve_request::Amount::Credits(60)),
        ..ReserveRequest::default()
    };
    let commit = CommitRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        amount: Some(commit_request::Amount::Credits(45)),
        ..CommitRequest::default()
    };
    proxy.set(Network::Holds);
    let held = again!(quota, reserve, reserve);
    insist("a hold, which needs no ledger", held).await;
    is_refused(quota.clone().commit(commit.clone())).await;
    proxy.set(Network::Works);
    let again = again!(quota, commit, commit);
    let answer = insist("the commit", again).await;
    assert!(answer.replayed, "it counted the first time");
    assert_eq!(answer.receipt.expect("a receipt").credits, 45);
    assert_eq!(fleet.balance("acme").await, (1_005, 0, 0));
    let once = Charges::from([(("acme".to_owned(), "r1".to_owned()), 45)]);
    compare(&database, &once).await;
}

fn one_credit(account_id: &str, number: u64) -> ChargeRequest {
    ChargeRequest {
        account_id: account_id.to_owned(),
        charge_id: format!("c{number}"),
        action: action(),
        amount: Some(charge_request::Amount::Credits(1)),
        ..ChargeRequest::default()
    }
}

/// Charges one account until its shard takes no more; answers what was charged.
async fn fill(fleet: &Fleet, redis: &Server) -> Charges {
    let mut answered = Charges::new();
    for first in (0..2 * OUTBOX_MAX).step_by(AT_ONCE as usize) {
        let mut calls = tokio::task::JoinSet::new();
        for number in first..first + AT_ONCE {
            let mut quota = fleet.sidecars[number as usize % 2].quota().await;
            calls.spawn(async move { (number, quota.charge(one_credit("acme", number)).await) });
        }
        let calls = calls.join_all().await;
        for (number, answer) in calls {
            if answer.is_ok() {
                answered.insert(("acme".to_owned(), format!("c{number}")), 1);
            }
        }
        // A call may also fail because the machine is too busy.
        if waiting(redis) == OUTBOX_MAX {
            return answered;
        }
    }
    panic!("it is never full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outbox_that_is_full_refuses_and_loses_nothing() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let proxy = Proxy::start(shared().port()).await;
    let settings = [
        &["settle.ack=hot", "redis.outbox_max=1000"][..],
        &SHORT[..],
        &["redis.call_timeout_ms=1000"][..],
    ]
    .concat();
    let fleet = Fleet::start(2, &hot(&redis), &database.url_at(proxy.port), &settings);
    fleet.create("acme", 1_000_000).await;
    fleet.create("acct-1", 1_000_000).await;
    until("an empty outbox", || waiting(&redis) == 0).await;
    proxy.set(Network::Cuts);
    let mut answered = fill(&fleet, &redis).await;
    println!("full after {} charges", answered.len());
    // Some of these wrote a record whose answer never came, where the machine is that busy.
    assert!(answered.len() as u64 <= OUTBOX_MAX);
    let quota = fleet.sidecars[0].quota().await;
    for _ in 0..10 {
        is_refused(quota.clone().charge(one_credit("acme", 9_999))).await;
    }
    assert_eq!(waiting(&redis), OUTBOX_MAX, "not one record more");
    let elsewhere = again!(quota, charge, one_credit("acct-1", 0));
    insist("another shard has room", elsewhere).await;
    answered.insert(("acct-1".to_owned(), "c0".to_owned()), 1);
    proxy.set(Network::Works);
    until("the outbox to drain", || waiting(&redis) == 0).await;
    let again = again!(quota, charge, one_credit("acme", 9_999));
    insist("there is room again", again).await;
    answered.insert(("acme".to_owned(), "c9999".to_owned()), 1);
    until("the outbox to drain", || waiting(&redis) == 0).await;
    let found = charged(&database).await;
    let missing = answered.keys().find(|key| !found.contains_key(*key));
    assert_eq!(missing, None, "answered and not in the ledger");
    let sum = found.values().sum::<u64>() - 1;
    assert_eq!(fleet.balance("acme").await, (1_000_050 - sum, 0, 0));
    fleet.reconcile();
}
