//! Processes with few roles each, as real binaries on a real Redis and a real Postgres: sidecars
//! that know Redis only, control planes that answer no hot path.

mod catalogs;
mod cold;
mod control;
mod crowd;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tollgate::pb::{
    Action, CommitRequest, CreateAccountRequest, GetBalanceRequest, ReserveRequest,
    quota_service_client::QuotaServiceClient,
};
use tonic::transport::Channel;

use crate::{
    process::Sidecar,
    served_redis::{readyz, wait_ready},
    support::{
        postgres::{Database, shared},
        requests::{commit_of as commit, reserve_of as reserve},
        servers::{Kind, Server, wait},
    },
};

/// So long that a busy machine is no fault.
const PATIENT: [&str; 6] = [
    "--set",
    "redis.call_timeout_ms=5000",
    "--set",
    "redis.load_timeout_ms=10000",
    "--set",
    "grpc.request_timeout_ms=15000",
];

/// The servers that all of one test's processes share.
struct Stage {
    redis: Server,
    database: Database,
    folder: TempDir,
    started: AtomicU32,
}

impl Stage {
    async fn new() -> Self {
        Stage {
            redis: Server::start(Kind::Redis),
            database: shared().empty().await,
            folder: tempfile::tempdir().unwrap(),
            started: AtomicU32::new(0),
        }
    }

    fn hot(&self) -> String {
        format!("redis://{}", self.redis.address())
    }

    /// A folder that no process has had yet.
    fn data_dir(&self) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(number.to_string())
    }

    fn start(&self, hot: &str, args: &[&str]) -> Sidecar {
        let args = [&["--hot", hot], &PATIENT[..], args].concat();
        Sidecar::start(&self.data_dir(), &args)
    }

    /// A sidecar, ready or not.
    fn gateway(&self, args: &[&str]) -> Sidecar {
        self.start(&self.hot(), &[&["--roles", "gateway"], args].concat())
    }

    /// A control plane that reaches Redis at another place, ready or not.
    fn control_at(&self, hot: &str, args: &[&str]) -> Sidecar {
        let ledger = self.database.url();
        let own = ["--roles", "admin,settler", "--ledger", &ledger];
        self.start(hot, &[&own[..], args].concat())
    }

    /// A control plane, ready.
    fn control(&self, args: &[&str]) -> Sidecar {
        let control = self.control_at(&self.hot(), args);
        wait_ready(&control);
        control
    }

    /// A file in the test's folder.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

async fn create(control: &Sidecar, account_id: &str) {
    let create = CreateAccountRequest {
        account_id: account_id.into(),
        plan_id: "starter".into(),
        ..CreateAccountRequest::default()
    };
    control.admin().await.create_account(create).await.unwrap();
}

/// Available and held.
async fn balance(quota: &mut QuotaServiceClient<Channel>, account_id: &str) -> (u64, u64) {
    let request = GetBalanceRequest {
        account_id: account_id.into(),
    };
    let answer = quota.get_balance(request).await.unwrap();
    let balance = answer.into_inner().balance.unwrap();
    (balance.available, balance.held)
}

/// Drops an account from Redis, as a long idle time does.
fn chill(redis: &Server, account_id: &str) {
    let mut list = redis::cmd("KEYS");
    list.arg(format!("{{tg:*}}:a:{account_id}"));
    let found: Vec<String> = redis.ask(&list);
    assert_eq!(found.len(), 1, "{account_id} is loaded");
    redis.ask::<()>(redis::cmd("DEL").arg(&found[0]));
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
