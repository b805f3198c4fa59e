//! An embedded server that can't settle any more says so: to whoever asks whether it is ready
//! while it may get better, and by its end where it may not.

use std::{fs, sync::Arc, thread, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate::{
    app,
    clock::{Clock, SystemClock},
    config::{Config, Flags},
    domain::timestamp::Timestamp,
    pb::{CommitRequest, CreateAccountRequest},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    process::Sidecar,
    reload::metrics,
    support::{
        requests::{commit, reserve},
        servers::wait,
    },
};

const COMMITS: u64 = 1000;
/// More than it takes for them all.
const FEW: u64 = 5;

async fn health(sidecar: &Sidecar) -> ServingStatus {
    let mut health = HealthClient::new(sidecar.channel().await);
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redo_log_that_takes_nothing_makes_it_not_ready_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &[]);
    assert!(sidecar.readyz().contains("settling: ok"));
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "starter".into(),
        ..CreateAccountRequest::default()
    };
    // No file can be made where there is a folder.
    let next = folder.path().join("ledger.db-redo.1");
    fs::create_dir(&next).unwrap();
    let created = sidecar.admin().await.create_account(create).await;
    assert_eq!(created.unwrap_err().code(), Code::Unavailable);
    let mut quota = sidecar.quota().await;
    quota.reserve(reserve("r1", 60)).await.unwrap();
    let fault = quota.commit(commit("r1", 45)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Unavailable);
    let blocked = "settling: not ready: ledger: settle failed: ";
    wait("the check", || sidecar.readyz().contains(blocked));
    let said = sidecar.readyz();
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(said.contains("ledger.db-redo.1: Is a directory"), "{said}");
    assert_eq!(health(&sidecar).await, ServingStatus::NotServing);
    // What needs no disk goes on.
    quota.reserve(reserve("r2", 60)).await.unwrap();

    fs::remove_dir(&next).unwrap();
    wait("readiness", || sidecar.is_ready());
    assert_eq!(health(&sidecar).await, ServingStatus::Serving);
    let again = quota.commit(commit("r1", 45)).await.unwrap().into_inner();
    assert!(again.replayed, "it counted when it was not answered");
}

/// How often it has written to the disk so far, for whoever waits.
fn syncs(sidecar: &Sidecar) -> u64 {
    let metrics = metrics(sidecar);
    let name = "tollgate_settler_batches_total ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_commits_share_a_few_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(folder.path(), &[]);
    let create = CreateAccountRequest {
        account_id: "acme".into(),
        plan_id: "pro".into(),
        ..CreateAccountRequest::default()
    };
    // No file can be made where there is a folder: all of them wait, however quick the disk is.
    let next = folder.path().join("ledger.db-redo.1");
    fs::create_dir(&next).unwrap();
    let created = sidecar.admin().await.create_account(create).await;
    assert_eq!(created.unwrap_err().code(), Code::Unavailable);
    let quota = sidecar.quota().await;
    let commit_all = async || {
        let commits = (0..COMMITS).map(|number| {
            let mut quota = quota.clone();
            let asked = CommitRequest {
                action: reserve("", 0).action,
                ..commit(&format!("r{number}"), 1)
            };
            async move { quota.commit(asked).await }
        });
        commits.collect::<JoinSet<_>>().join_all().await
    };
    for answer in commit_all().await {
        assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    }
    let before = syncs(&sidecar);
    fs::remove_dir(&next).unwrap();
    wait("readiness", || sidecar.is_ready());
    // Answered once the ledger has it.
    for answer in commit_all().await {
        let answer = answer.unwrap().into_inner();
        assert!(answer.replayed);
        assert_eq!(answer.receipt.unwrap().credits, 1);
    }
    let synced = syncs(&sidecar) - before;
    assert!((1..=FEW).contains(&synced), "{synced} syncs");
}

/// The machine's clock, on which the settler fails.
#[derive(Debug)]
struct Deadly(SystemClock);

impl Clock for Deadly {
    fn now(&self) -> Timestamp {
        assert_ne!(thread::current().name(), Some("settler"), "on purpose");
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settler_that_panics_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let any_port = || Some("127.0.0.1:0".to_owned());
    let flags = Flags {
        grpc_listen: any_port(),
        http_listen: any_port(),
        data_dir: Some(folder.path().to_str().unwrap().to_owned()),
        ..Flags::default()
    };
    let config = Config::load(&flags, std::iter::empty()).unwrap();
    let clock = Arc::new(Deadly(SystemClock::new()));
    let running = app::start(config, clock).await.unwrap();
    assert_eq!(running.broken().await, "settler");
    assert!(
        running.stop(&CancellationToken::new()).await.flushed,
        "another thread can settle"
    );
}
