//! A sidecar without a ledger: what it serves, how it comes by an account, and what it says where
//! nobody brings it one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use prost::Message;
use tollgate::{
    catalogs::{self, Catalogs},
    clock::{Clock, SystemClock},
    domain::{account::OveragePolicy, change::Change, ids::AccountId},
    enforcer::{
        Ack, Enforcer, EnforcerOptions,
        acks::Acks,
        cold::ColdSource,
        error::EnforceError,
        source::{LedgerSource, Source},
    },
    hot::{
        HotStore,
        redis::{RedisHot, RedisOptions},
    },
    ledger::{ChangeRequest, Ledger, Wanted, access::Access},
    pb::{GetAccountRequest, GetReservationRequest, ReleaseRequest},
    workers::{Worker, loader::Loader},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::{
    grpc::wire,
    process::run,
    reload::metrics,
    support::{
        Setup,
        account::{create as creation, plan},
        account_id,
        redis::options,
        servers::free_port,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_serves_with_redis_only() {
    let stage = Stage::new().await;
    let control = stage.control(&[]);
    create(&control, "acme").await;
    for ack in ["hot", "ledger"] {
        let gateway = stage.gateway(&["--set", &format!("settle.ack={ack}")]);
        wait_ready(&gateway);
        let mut quota = gateway.quota().await;
        let id = format!("r-{ack}");
        quota.reserve(reserve("acme", &id, 60)).await.unwrap();
        assert_eq!(balance(&mut quota, "acme").await.1, 60);
        quota.commit(commit("acme", &id, 10)).await.unwrap();
        if ack == "ledger" {
            // What was answered is there: nobody has to wait for it.
            let counted = stage
                .database
                .texts("SELECT count(*)::text FROM settlements WHERE reservation_id = 'r-ledger'");
            assert_eq!(counted.await, ["1"]);
        }
        let again = quota.commit(commit("acme", &id, 10)).await.unwrap();
        assert!(again.into_inner().replayed);

        let request = GetAccountRequest {
            account_id: "acme".into(),
        };
        let refused = gateway.admin().await.get_account(request).await;
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        assert!(status.message().contains("role \"admin\""), "{status:?}");
    }
    let mut quota = control.quota().await;
    let refused = quota.reserve(reserve("acme", "r9", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    assert!(
        refused.message().contains("role \"gateway\""),
        "{refused:?}"
    );
    // No process here has a data folder: neither Redis nor Postgres needs one.
    let folders: Vec<_> = std::fs::read_dir(stage.folder.path()).unwrap().collect();
    assert!(folders.is_empty(), "{folders:?}");
}

#[test]
fn a_gateway_refuses_what_it_would_not_use() {
    for (flag, value) in [
        ("--ledger", "postgres://:hunter2@h/d"),
        ("--catalog", "c.yaml"),
    ] {
        let args = [
            "serve",
            "--hot",
            "redis://h",
            "--roles",
            "gateway",
            flag,
            value,
        ];
        let output = run(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("must be left out"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_account_is_brought_in_and_an_unknown_one_is_not_found() {
    let stage = Stage::new().await;
    let control = stage.control(&[]);
    let gateway = stage.gateway(&[]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    // Nobody has it, and that is found out, not waited for.
    let refused = quota.reserve(reserve("acme", "r0", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    // What was remembered of that does not outlive the account's creation.
    create(&control, "acme").await;
    quota.reserve(reserve("acme", "r1", 60)).await.unwrap();
    quota.commit(commit("acme", "r1", 45)).await.unwrap();
    chill(&stage.redis, "acme");
    assert_eq!(balance(&mut quota, "acme").await, (455, 0));
    // The same with the first call that is a change.
    chill(&stage.redis, "acme");
    quota.reserve(reserve("acme", "r2", 455)).await.unwrap();
    assert_eq!(balance(&mut quota, "acme").await, (0, 455));
}

/// A call whose caller waits so long for it.
async fn called_for(
    gateway: &Sidecar,
    method: &str,
    asked: &[u8],
    deadline: &'static str,
) -> Status {
    let address = format!("http://{}", gateway.grpc);
    let message = wire::framed(asked.len() as u32, asked);
    let path = format!("/tollgate.v1.QuotaService/{method}");
    let answer = wire::call(&address, &path, &[("grpc-timeout", deadline)], message).await;
    wire::status(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_no_ledger_confirms_is_answered_in_its_callers_time() {
    let stage = Stage::new().await;
    let mut control = stage.control(&[]);
    create(&control, "acme").await;
    let gateway = stage.gateway(&[]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    quota.reserve(reserve("acme", "r1", 60)).await.unwrap();
    control.kill();
    let asked = commit("acme", "r1", 45).encode_to_vec();
    let of_r1 = ReleaseRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        ..ReleaseRequest::default()
    };
    let shown = GetReservationRequest {
        account_id: of_r1.account_id.clone(),
        reservation_id: of_r1.reservation_id.clone(),
    };
    let (of_r1, shown) = (of_r1.encode_to_vec(), shown.encode_to_vec());
    let again = reserve("acme", "r1", 60).encode_to_vec();
    // The same request again waits for the same, and so does whoever would be told of it.
    for (method, asked, deadline) in [
        ("Commit", &asked, "300m"),
        ("Commit", &asked, "1S"),
        ("GetReservation", &shown, "300m"),
        ("Release", &of_r1, "300m"),
        ("Reserve", &again, "300m"),
    ] {
        let refused = called_for(&gateway, method, asked, deadline).await;
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.reason, "NOT_SETTLED_YET");
    }

    // It counts all the same, once: in the metrics too, which may not wait for an answer.
    let text = metrics(&gateway);
    let settled = "\ntollgate_credits_total{kind=\"settled\"} 45\n";
    assert!(text.contains(settled), "{text}");
    let _control = stage.control(&[]);
    let answer = quota.commit(commit("acme", "r1", 45)).await.unwrap();
    assert!(answer.into_inner().replayed);
    assert_eq!(balance(&mut quota, "acme").await, (455, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_loads_it_is_unavailable_and_nothing_is_held() {
    let stage = Stage::new().await;
    let mut control = stage.control(&[]);
    create(&control, "acme").await;
    let gateway = stage.gateway(&["--set", "redis.load_timeout_ms=200"]);
    wait_ready(&gateway);
    control.kill();
    chill(&stage.redis, "acme");
    let mut quota = gateway.quota().await;
    let refused = quota.reserve(reserve("acme", "r1", 60)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "ACCOUNT_NOT_LOADED");
    assert_eq!(info.metadata["certainty"], "did_not_happen");

    // A caller with less time than that is told the same, and in its time.
    let patient = stage.gateway(&[]);
    wait_ready(&patient);
    let asked = reserve("acme", "r1", 60).encode_to_vec();
    for deadline in ["300m", "1S"] {
        let refused = called_for(&patient, "Reserve", &asked, deadline).await;
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.reason, "ACCOUNT_NOT_LOADED");
    }

    let _control = stage.control(&[]);
    wait("the account", || {
        let looked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(quota.get_balance(GetBalanceRequest {
                account_id: "acme".into(),
            }))
        });
        looked.is_ok()
    });
    assert_eq!(balance(&mut quota, "acme").await, (500, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_before_redis_and_before_any_control_plane() {
    let port = free_port();
    let hot = format!("redis://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let args = [&["--hot", &hot, "--roles", "gateway"], &PATIENT[..]].concat();
    let gateway = Sidecar::start(folder.path(), &args);
    wait("the probe", || readyz(&gateway).contains("no connection"));
    let mut quota = gateway.quota().await;
    let refused = quota.reserve(reserve("acme", "r1", 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");

    let redis = Server::start_on(port, &Kind::Redis.binary(), &[]);
    wait("Redis", || readyz(&gateway).contains("not set up yet"));
    let said = readyz(&gateway);
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(said.contains("catalog: not ready"), "{said}");
    // It did not fix the number of shards, which is not its to choose.
    let shards: Option<u32> = redis.ask(redis::cmd("GET").arg("tg:shards"));
    assert_eq!(shards, None);

    let database = shared().empty().await;
    let url = database.url();
    let own = ["--hot", &hot, "--roles", "admin,settler", "--ledger", &url];
    let control = Sidecar::start(folder.path(), &[&own[..], &PATIENT].concat());
    wait_ready(&gateway);
    wait_ready(&control);
    create(&control, "acme").await;
    quota.reserve(reserve("acme", "r1", 60)).await.unwrap();
    quota.commit(commit("acme", "r1", 45)).await.unwrap();
    assert_eq!(balance(&mut quota, "acme").await, (455, 0));

    // Another number of shards is refused, and the answer says which.
    let other = [&args[..], &["--set", "shards=32"]].concat();
    let other = Sidecar::start(folder.path(), &other);
    wait("the refusal", || {
        readyz(&other).contains("with 64 shards and this process with 32")
    });
}

/// A ledger's source that counts how often an account is read.
struct Counting(LedgerSource, AtomicUsize);

#[async_trait]
impl Source for Counting {
    async fn bring(
        &self,
        hot: &dyn HotStore,
        account_id: &AccountId,
        is_absent: bool,
    ) -> Result<Option<u64>, EnforceError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.bring(hot, account_id, is_absent).await
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, EnforceError> {
        self.0.changes(account_id, number, max).await
    }

    async fn catalog(&self, version: &str) -> Result<Option<String>, EnforceError> {
        self.0.catalog(version).await
    }
}

fn enforcer(hot: Arc<RedisHot>, source: Arc<dyn Source>) -> Arc<Enforcer> {
    let catalogs = Arc::new(Catalogs::new(catalogs::builtin(), Vec::new()).unwrap());
    let acks = Arc::new(Acks::new(hot.shards()));
    let options = EnforcerOptions {
        ack: Ack::Hot,
        ack_timeout: seconds(20),
        default_ttl_ms: 600_000,
    };
    Arc::new(Enforcer::new(hot, source, catalogs, acks, options))
}

/// Makes an account that the ledger has, and Redis has not.
async fn store(server: &Server, redis: Arc<RedisHot>, ledger: Arc<dyn Ledger>, id: &str) {
    let now = SystemClock::new().now();
    let request = ChangeRequest {
        account_id: account_id(id),
        key: None,
        payload: Vec::new(),
        wanted: Wanted::Create(creation(plan("starter", 500), OveragePolicy::Debt, now)),
        call: None,
    };
    ledger.submit(&request, now).await.unwrap();
    let direct = enforcer(redis.clone(), Arc::new(LedgerSource(ledger.clone())));
    direct.touch(&account_id(id)).await.unwrap();
    let batch = redis.outbox(0).await.unwrap();
    let end = batch.end();
    let settled = ledger.settle(&[batch], now).await.unwrap();
    assert!(!settled.cursor_conflict, "the ledger takes another history");
    redis.trim(end).await.unwrap();
    chill(server, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sidecars_that_ask_for_one_cold_account_load_it_once() {
    const SIDECARS: usize = 50;
    let server = Server::start(Kind::Redis);
    let database = shared().ledger().await;
    let ledger = database.open_at(SystemClock::new().now()).await;
    let connect = || {
        let options = RedisOptions {
            ledger: Some(Arc::new(Access(ledger.clone()))),
            ..options(&server.url(), Setup::default(), None)
        };
        Arc::new(RedisHot::connect(options).unwrap())
    };
    store(&server, connect(), ledger.clone(), "acme").await;
    let counting = Arc::new(Counting(LedgerSource(ledger.clone()), AtomicUsize::new(0)));

    // Two control planes look for work at once, all the time.
    let loaders: Vec<_> = (0..2)
        .map(|_| {
            let redis = connect();
            let enforcer = enforcer(redis.clone(), counting.clone());
            let loader = Loader { redis, enforcer };
            tokio::spawn(async move {
                loop {
                    loader.step().await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let sidecars: Vec<_> = (0..SIDECARS)
        .map(|_| {
            let redis = connect();
            let clock = Arc::new(SystemClock::new());
            let source = Arc::new(ColdSource::new(redis.clone(), clock, seconds(20)));
            enforcer(redis, source)
        })
        .collect();
    let id = account_id("acme");
    let asked = sidecars.iter().map(|sidecar| {
        let (sidecar, id) = (sidecar.clone(), id.clone());
        tokio::spawn(async move { sidecar.balance(&id).await })
    });
    let asked: Vec<_> = asked.collect();
    for answer in asked {
        let balance = answer.await.unwrap().unwrap();
        assert_eq!(balance.sequence, 1);
        assert_eq!(balance.available, 500);
    }
    for loader in loaders {
        loader.abort();
    }
    // Each request goes to one loader; a second one comes only from a sidecar that looked before
    // the first one was done, and at most to the other loader at the same moment.
    let read = counting.1.load(Ordering::SeqCst);
    assert!((1..=2).contains(&read), "read {read} times");
}
