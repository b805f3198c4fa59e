//! The real binary with its hot balances in a real Redis: killed, started before Redis, refused.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use tokio::task::JoinSet;
use tollgate::pb::{CreateAccountRequest, GetBalanceRequest};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    process::{Sidecar, run},
    support::{
        postgres::shared,
        requests::{commit, commit_of, reserve, reserve_of},
        servers::{Kind, Server, free_port, now, wait},
    },
};

/// So long that a busy machine is no fault.
const PATIENT: &str = "redis.call_timeout_ms=2000";

pub fn readyz(sidecar: &Sidecar) -> String {
    let mut stream = TcpStream::connect(&sidecar.http).unwrap();
    let request = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub fn wait_ready(sidecar: &Sidecar) {
    wait("readiness", || readyz(sidecar).starts_with("HTTP/1.1 200"));
}

async fn create(sidecar: &Sidecar) {
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "starter".into(),
        ..CreateAccountRequest::default()
    };
    sidecar.admin().await.create_account(create).await.unwrap();
}

/// An account with `r1` settled and `r2` open, once the sidecar is ready.
async fn settled_and_held(sidecar: &Sidecar) {
    wait_ready(sidecar);
    create(sidecar).await;
    let mut quota = sidecar.quota().await;
    quota.reserve(reserve("r1", 60)).await.unwrap();
    quota.reserve(reserve("r2", 40)).await.unwrap();
    quota.commit(commit("r1", 45)).await.unwrap();
}

/// Available and held.
async fn balance(sidecar: &Sidecar) -> (u64, u64) {
    let request = GetBalanceRequest {
        account_id: "acme".into(),
    };
    let answer = sidecar.quota().await.get_balance(request).await.unwrap();
    let balance = answer.into_inner().balance.unwrap();
    (balance.available, balance.held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_and_balances_in_redis_outlive_the_process() {
    let server = Server::start(Kind::Redis);
    let hot = format!("redis://:@{}", server.address());
    let folder = tempfile::tempdir().unwrap();
    let args = ["--hot", &hot, "--set", PATIENT];
    let mut sidecar = Sidecar::start(folder.path(), &args);
    settled_and_held(&sidecar).await;
    assert_eq!(balance(&sidecar).await, (415, 40));
    sidecar.kill();

    let mut sidecar = Sidecar::start(folder.path(), &args);
    wait_ready(&sidecar);
    assert_eq!(balance(&sidecar).await, (415, 40));
    let mut quota = sidecar.quota().await;
    let again = quota.commit(commit("r1", 45)).await.unwrap();
    assert!(again.into_inner().replayed);
    quota.commit(commit("r2", 10)).await.unwrap();
    assert_eq!(balance(&sidecar).await, (445, 0));
    let (status, _) = sidecar.terminate();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_one_redis_and_one_postgres() {
    let server = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let (hot, ledger) = (format!("redis://{}", server.address()), database.url());
    let folder = tempfile::tempdir().unwrap();
    let args = ["--hot", &hot, "--ledger", &ledger, "--set", PATIENT];
    let first = Sidecar::start(&folder.path().join("a"), &args);
    let second = Sidecar::start(&folder.path().join("b"), &args);
    wait_ready(&first);
    wait_ready(&second);
    create(&first).await;
    for round in 0..10 {
        let id = format!("r{round}");
        let (from, to) = (&first, &second);
        from.quota().await.reserve(reserve(&id, 20)).await.unwrap();
        to.quota().await.commit(commit(&id, 10)).await.unwrap();
    }
    assert_eq!(balance(&first).await, (400, 0));
    let counted = database
        .texts("SELECT count(*)::text FROM settlements")
        .await;
    assert_eq!(counted, ["10"]);
}

/// The killed one keeps its share of the shards until it is missed; nobody's answer waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_settler_had_to_settle_another_one_settles_at_once() {
    let server = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let (hot, ledger) = (format!("redis://{}", server.address()), database.url());
    let folder = tempfile::tempdir().unwrap();
    // A wait of three seconds would not be answered.
    let bound = ["--set", "grpc.request_timeout_ms=2500"];
    let args = ["--hot", &hot, "--ledger", &ledger, "--set", PATIENT];
    let args = [&args[..], &bound[..]].concat();
    let first = Sidecar::start(&folder.path().join("a"), &args);
    let mut second = Sidecar::start(&folder.path().join("b"), &args);
    wait_ready(&first);
    wait_ready(&second);
    let accounts: Vec<String> = (0..16).map(|number| format!("a{number}")).collect();
    let mut quota = first.quota().await;
    for account in &accounts {
        let request = CreateAccountRequest {
            account_id: account.clone(),
            plan_id: "starter".into(),
            ..CreateAccountRequest::default()
        };
        first.admin().await.create_account(request).await.unwrap();
        quota.reserve(reserve_of(account, "r1", 20)).await.unwrap();
    }
    second.kill();
    let mut commits = JoinSet::new();
    for account_id in accounts {
        let mut quota = quota.clone();
        let request = commit_of(&account_id, "r1", 10);
        commits.spawn(async move { quota.commit(request).await });
    }
    for answer in commits.join_all().await {
        answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_it_starts_says_so_and_becomes_ready() {
    let port = free_port();
    let hot = format!("redis://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &["--hot", &hot, "--set", PATIENT]);
    wait("the probe", || readyz(&sidecar).contains("no connection"));
    let said = readyz(&sidecar);
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(said.contains("stores: not ready"), "{said}");
    let asked = now();
    let refused = sidecar.quota().await.reserve(reserve("r1", 1)).await;
    let status = refused.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(2), "{status:?}");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some(), "{status:?}");

    let _server = Server::start_on(port, &Kind::Redis.binary(), &[]);
    wait_ready(&sidecar);
    create(&sidecar).await;
    sidecar
        .quota()
        .await
        .reserve(reserve("r1", 60))
        .await
        .unwrap();
    assert_eq!(balance(&sidecar).await, (440, 60));
}

/// A wrong `--data-dir`: neither ledger nor balances may take harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_is_not_used_with_another_ledger() {
    let server = Server::start(Kind::Redis);
    let hot = format!("redis://{}", server.address());
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let args = ["--hot", &hot, "--set", PATIENT];
    let mut sidecar = Sidecar::start(own.path(), &args);
    settled_and_held(&sidecar).await;
    sidecar.kill();

    let mut wrong = Sidecar::start(other.path(), &args);
    wait("the refusal", || {
        readyz(&wrong).contains("stores: not ready: ") && readyz(&wrong).contains("of ledger ")
    });
    let refused = wrong.quota().await.commit(commit("r2", 10)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    let (status, _) = wrong.terminate();
    assert_eq!(status.code(), Some(0));
    let file = other.path().join("ledger.db");
    let ledger = format!("sqlite://{}", file.display());
    let compared = run(&["reconcile", "--hot", &hot, "--ledger", &ledger]);
    let said = String::from_utf8_lossy(&compared.stderr);
    assert_eq!(compared.status.code(), Some(69), "{said}");
    assert!(said.contains("of ledger "), "{said}");

    let sidecar = Sidecar::start(own.path(), &args);
    wait_ready(&sidecar);
    assert_eq!(balance(&sidecar).await, (415, 40));
    let mut quota = sidecar.quota().await;
    quota.commit(commit("r2", 10)).await.unwrap();
    assert_eq!(balance(&sidecar).await, (445, 0));
}

#[test]
fn urls_that_name_no_redis_are_refused_and_keep_their_secrets() {
    for url in [
        "redis://:hunter2@host:port",
        "redis+sentinel://:hunter2@a:1",
        "memcached://:hunter2@host",
    ] {
        let output = run(&["serve", "--hot", url]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{url}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
