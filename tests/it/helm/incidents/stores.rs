//! A gateway's sidecar and a control plane whose Redis and Postgres are stopped, cut off and slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use tollgate::pb::{
    CreateAccountRequest, GetBalanceRequest, quota_service_client::QuotaServiceClient,
};
use tonic::{Code, transport::Channel};

use super::drill::{Caller, Drill, Folder, Place, until};
use crate::{
    process::Sidecar,
    support::{
        postgres::{Database, shared},
        proxy::{Network, Proxy},
        requests::{commit_of, reserve_of},
        servers::{Kind, Server, wait},
    },
};

pub const ALERTS: &[&str] = &[
    "TollgateErrorsBurnFast",
    "TollgateErrorsBurnSlow",
    "TollgateHotFaults",
    "TollgateHotStoreDown",
    "TollgateLedgerDown",
    "TollgateNotReady",
    "TollgateNothingSettles",
    "TollgateOutboxFull",
    "TollgateOutboxLag",
    "TollgateReservesSlowFast",
    "TollgateReservesSlowSlow",
    "TollgateWorkerStuck",
];

/// What loses nothing when it is killed.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
/// A format that no version has written yet.
const UNKNOWN_FORMAT: u8 = 99;
/// How far a slow script counts: most of a second.
const LONG: u64 = 60_000_000;

struct World {
    drill: Drill,
    redis: Server,
    database: Database,
    postgres: Proxy,
    place: Place,
    control: Sidecar,
    gateway: Sidecar,
    gateway_place: Place,
    quota: QuotaServiceClient<Channel>,
    _load: Caller,
    _folder: Folder,
}

impl World {
    async fn new() -> Self {
        let redis = Server::start_with(&Kind::Redis.binary(), &DURABLE);
        let database = shared().empty().await;
        let postgres = Proxy::start(shared().port()).await;
        let folder = Folder::new();
        let (place, gateway_place) = (folder.place("control"), folder.place("gateway"));
        let control = start_control(&place, &redis, &postgres, &database);
        let hot = format!("redis://{}", redis.address());
        let patient = patient();
        let args = [
            "--roles",
            "gateway",
            "--hot",
            &hot,
            "--set",
            "settle.ack=hot",
        ];
        let args = [&args[..], &patient[..]].concat();
        let gateway = gateway_place.start(&args);
        let mut drill = Drill::start(&folder, &[&place, &gateway_place], &[]);
        drill.pod = vec![
            ("TOLLGATE_ENDPOINT", control.grpc.clone()),
            ("TOLLGATE_LEDGER", database.url()),
        ];
        tokio::task::block_in_place(|| wait("readiness", || gateway.is_ready()));
        for account_id in ["acme", "newer"] {
            create(&control, account_id).await;
        }
        let quota = gateway.quota().await;
        let load = Caller::start(calls(&quota));
        World {
            drill,
            redis,
            database,
            postgres,
            place,
            control,
            gateway,
            gateway_place,
            quota,
            _load: load,
            _folder: folder,
        }
    }

    fn redis_url(&self) -> String {
        format!("redis://{}", self.redis.address())
    }
}

fn patient() -> Vec<&'static str> {
    let settings = [
        "redis.call_timeout_ms=3000",
        "redis.load_timeout_ms=10000",
        "grpc.request_timeout_ms=15000",
        "log.slow_call_ms=100",
        "postgres.acquire_timeout_ms=1500",
        "postgres.statement_timeout_ms=1000",
    ];
    settings.iter().flat_map(|one| ["--set", one]).collect()
}

fn start_control(place: &Place, redis: &Server, proxy: &Proxy, database: &Database) -> Sidecar {
    let hot = format!("redis://{}", redis.address());
    let (port, name) = (proxy.port, &database.name);
    let ledger = format!("postgres://tollgate@127.0.0.1:{port}/{name}?sslmode=disable");
    let args = [
        "--roles",
        "admin,settler",
        "--hot",
        &hot,
        "--ledger",
        &ledger,
    ];
    let control = place.start(&[&args[..], &patient()[..]].concat());
    tokio::task::block_in_place(|| wait("readiness", || control.is_ready()));
    control
}

async fn create(control: &Sidecar, account_id: &str) {
    let create = CreateAccountRequest {
        account_id: account_id.into(),
        plan_id: "pro".into(),
        ..CreateAccountRequest::default()
    };
    control.admin().await.create_account(create).await.unwrap();
}

/// A gateway's: it holds, and charges nothing in the end.
fn calls(quota: &QuotaServiceClient<Channel>) -> impl Fn(u64) -> Calls + Send + 'static + use<> {
    let quota = quota.clone();
    move |number| {
        let mut quota = quota.clone();
        Box::pin(async move {
            let id = format!("r{number}");
            // What fails is counted where it fails.
            let _ = quota.reserve(reserve_of("acme", &id, 1)).await;
            let _ = quota.commit(commit_of("acme", &id, 0)).await;
        })
    }
}

type Calls = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn balance(quota: &QuotaServiceClient<Channel>, account_id: &str) -> Result<u64, Code> {
    let request = GetBalanceRequest {
        account_id: account_id.to_owned(),
    };
    let answer = quota.clone().get_balance(request).await;
    let answer = answer.map_err(|status| status.code())?.into_inner();
    Ok(answer.balance.unwrap().available)
}

/// What `/readyz` says where the runbook says that it is asked.
fn readyz(world: &World, place: &Place) -> String {
    let at = [("localhost:9464", place.http.as_str())];
    let (_, said) = world
        .drill
        .run("TollgateNotReady", "curl -s localhost:9464", &at);
    said
}

async fn redis_stops(world: &mut World) {
    let drill = &world.drill;
    drill.is_quiet(2, ALERTS).await;
    world.redis.kill();
    let stores = [("Stores that answer", "< 0.5")];
    drill.fires("TollgateHotStoreDown", &stores).await;
    drill.fires("TollgateNotReady", &[("Ready", "== 0")]).await;
    let failures = [("Failures by method and status", "> 0")];
    drill.fires("TollgateErrorsBurnFast", &failures).await;
    drill.fires("TollgateErrorsBurnSlow", &failures).await;
    let said = readyz(world, &world.gateway_place);
    assert!(said.contains("stores: not ready"), "{said}");
    let url = world.redis_url();
    let ping = || {
        drill.run(
            "TollgateHotStoreDown",
            "redis-cli -u URL ping",
            &[("URL", &url)],
        )
    };
    assert_ne!(ping().0, Some(0));

    let binary = Kind::Redis.binary();
    tokio::task::block_in_place(|| world.redis.restart(&binary, &DURABLE));
    let (code, said) = ping();
    assert_eq!((code, said.trim()), (Some(0), "PONG"));
    // Nobody starts anything else anew.
    for alert in ["TollgateHotStoreDown", "TollgateNotReady"] {
        drill.ends(alert).await;
    }
    let said = readyz(world, &world.gateway_place);
    assert!(said.contains("stores: ok"), "{said}");
    drill.ends("TollgateErrorsBurnFast").await;
    drill.ends("TollgateHotFaults").await;
}

async fn postgres_is_cut_off(world: &World) {
    let drill = &world.drill;
    world.postgres.set(Network::Cuts);
    let down = [("Stores that answer", "== 0")];
    drill.fires("TollgateLedgerDown", &down).await;
    drill
        .fires("TollgateOutboxLag", &[("Outbox lag", "> 2")])
        .await;
    drill
        .fires("TollgateOutboxFull", &[("Outbox", "> 30")])
        .await;
    let stuck = [("Workers' last success", "> 3"), ("Faults", "> 0")];
    drill.fires("TollgateWorkerStuck", &stuck).await;
    // Why a round failed is in the log, under the target that the runbook names.
    let target = drill.command("TollgateOutboxLag", "tollgate::workers");
    world.place.logs(&[&target, "settler", "step failed"]).await;
    // Accounts that are loaded go on, and administration does not.
    balance(&world.quota, "acme").await.unwrap();
    let cold = balance(&world.quota, "nobody").await;
    assert_eq!(cold, Err(Code::Unavailable));

    world.postgres.set(Network::Works);
    let over = [
        "TollgateLedgerDown",
        "TollgateOutboxLag",
        "TollgateOutboxFull",
        "TollgateWorkerStuck",
    ];
    for alert in over {
        drill.ends(alert).await;
    }
    let settled = "SELECT count(*)::text FROM settlements";
    assert_ne!(world.database.texts(settled).await, ["0"]);
}

/// Somebody whose scripts take long on the same Redis.
struct Neighbour {
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn start(redis: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut connection) = (Arc::clone(&stop), redis.connection().unwrap());
        let running = thread::spawn(move || {
            let count = "local sum = 0 for i = 1, ARGV[1] do sum = sum + i end";
            let mut long = redis::cmd("EVAL");
            long.arg(count).arg(0).arg(LONG);
            while !told.load(Ordering::Relaxed) {
                long.query::<()>(&mut connection).unwrap();
            }
        });
        Neighbour {
            stop,
            running: Some(running),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.running.take().map(JoinHandle::join);
    }
}

async fn redis_has_a_noisy_neighbour(world: &World) {
    let drill = &world.drill;
    let neighbour = Neighbour::start(&world.redis);
    let both = [("Reserve", "> 0.1"), ("Hot store, p99", "> 0.1")];
    drill.fires("TollgateReservesSlowFast", &both).await;
    let slow = [("Slow Reserves", "> 0.01")];
    drill.fires("TollgateReservesSlowSlow", &slow).await;
    let ask = drill.command("TollgateReservesSlowFast", "SLOWLOG GET");
    let url = world.redis_url();
    let slowlog = [("ping", ask.as_str()), ("URL", &url)];
    let (_, said) = drill.run("TollgateHotStoreDown", "redis-cli -u URL ping", &slowlog);
    assert!(
        said.contains("EVAL") && said.contains("sum = sum + i"),
        "{said}"
    );
    let line = drill.command("TollgateReservesSlowFast", "slow call");
    world
        .gateway_place
        .logs(&[&line, "Reserve", "hot_ms"])
        .await;
    tokio::task::block_in_place(|| drop(neighbour));
    drill.ends("TollgateReservesSlowFast").await;
}

async fn a_newer_version_has_written_a_record(world: &World) {
    let drill = &world.drill;
    balance(&world.quota, "newer").await.unwrap();
    drill.ends("TollgateHotFaults").await;
    let keys: Vec<String> = world.redis.ask(redis::cmd("KEYS").arg("*:a:newer"));
    let was: Vec<u8> = world.redis.ask(redis::cmd("GET").arg(&keys[0]));
    let mut record = was.clone();
    record[if was[0] == 0xdc { 3 } else { 1 }] = UNKNOWN_FORMAT;
    let put = |record: Vec<u8>| {
        let mut set = redis::cmd("SET");
        world.redis.ask::<()>(set.arg(&keys[0]).arg(record));
    };
    put(record);
    let quota = world.quota.clone();
    let caller = Caller::start(move |_| {
        let quota = quota.clone();
        async move {
            let refused = balance(&quota, "newer").await;
            assert_ne!(refused, Err(Code::NotFound));
        }
    });
    drill.fires("TollgateHotFaults", &[("Faults", "> 0")]).await;
    balance(&world.quota, "acme").await.unwrap();
    let named = drill.command("TollgateHotFaults", "TOLLGATE");
    world.gateway_place.logs(&[&named, "of format 99"]).await;
    // The upgrade is finished: whoever reads it now knows its format.
    put(was);
    drill.ends("TollgateHotFaults").await;
    drop(caller);
    balance(&world.quota, "newer").await.unwrap();
}

async fn no_control_plane_runs(world: &mut World) {
    let drill = &world.drill;
    world.control.kill();
    let last = [("Workers' last success", ">= 0")];
    drill.fires("TollgateNothingSettles", &last).await;
    balance(&world.quota, "acme").await.unwrap();
    world.control = start_control(&world.place, &world.redis, &world.postgres, &world.database);
    drill.ends("TollgateNothingSettles").await;
    let empty = "max(tollgate_outbox_entries) == 0";
    until("the outbox to drain", || {
        let few = drill
            .prometheus
            .query("max(tollgate_outbox_lag_seconds) < 2");
        !few.is_empty() || !drill.prometheus.query(empty).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_break_and_come_back() {
    let mut world = World::new().await;
    redis_stops(&mut world).await;
    postgres_is_cut_off(&world).await;
    redis_has_a_noisy_neighbour(&world).await;
    a_newer_version_has_written_a_record(&world).await;
    no_control_plane_runs(&mut world).await;
    assert!(world.gateway.is_ready());
    world.drill.done(ALERTS);
}
