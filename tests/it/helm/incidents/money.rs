//! Somebody writes to Redis by hand, it loses what it had, and it is replaced while it lives.

use tollgate::pb::{
    ChargeRequest, CreateAccountRequest, GetBalanceRequest, charge_request,
    quota_service_client::QuotaServiceClient,
};
use tonic::transport::Channel;

use super::drill::{Drill, Folder, Place, command_of, until};
use crate::{
    helm::render::file,
    process::Sidecar,
    support::{
        postgres::{Database, shared},
        replication::follow,
        requests::{commit_of, reserve_of},
        servers::{Kind, Server, wait},
    },
};

pub const ALERTS: &[&str] = &[
    "TollgateDrift",
    "TollgateEntriesLost",
    "TollgateHoldsDropped",
    "TollgateInvariantViolated",
    "TollgateShardsRecovered",
];

/// What a plan of the default catalogue allows, and what no account of it can have used.
const ALLOWANCE: u64 = 500;
const TOO_MUCH: u64 = 600;

struct World {
    drill: Drill,
    redis: Server,
    database: Database,
    control_place: Place,
    control: Sidecar,
    gateway_place: Place,
    gateway: Sidecar,
    folder: Folder,
}

fn settings(more: &[&'static str]) -> Vec<&'static str> {
    let own = [
        "redis.call_timeout_ms=3000",
        "redis.load_timeout_ms=10000",
        "grpc.request_timeout_ms=15000",
        "settle.ack=hot",
    ];
    own.iter()
        .chain(more)
        .flat_map(|one| ["--set", one])
        .collect()
}

fn start_control(place: &Place, redis: &Server, database: &Database) -> Sidecar {
    let (hot, ledger) = (url(redis), database.url());
    let args = [
        "--roles",
        "admin,settler",
        "--hot",
        &hot,
        "--ledger",
        &ledger,
    ];
    let own = settings(&["reconcile.repair=never", "reconcile.interval_ms=500"]);
    ready(place.start(&[&args[..], &own].concat()))
}

fn start_gateway(place: &Place, redis: &Server) -> Sidecar {
    let hot = url(redis);
    let args = ["--roles", "gateway", "--hot", &hot];
    ready(place.start(&[&args[..], &settings(&[])].concat()))
}

fn ready(sidecar: Sidecar) -> Sidecar {
    tokio::task::block_in_place(|| wait("readiness", || sidecar.is_ready()));
    sidecar
}

fn url(redis: &Server) -> String {
    format!("redis://{}", redis.address())
}

impl World {
    async fn start() -> Self {
        let redis = Server::start(Kind::Redis);
        let database = shared().empty().await;
        let folder = Folder::new();
        let (control_place, gateway_place) = (folder.place("control"), folder.place("gateway"));
        let control = start_control(&control_place, &redis, &database);
        let gateway = start_gateway(&gateway_place, &redis);
        let mut drill = Drill::start(&folder, &[&control_place, &gateway_place], &[]);
        drill.pod = vec![
            ("TOLLGATE_ENDPOINT", control.grpc.clone()),
            ("TOLLGATE_LEDGER", database.url()),
        ];
        let create = CreateAccountRequest {
            account_id: "acme".into(),
            plan_id: "starter".into(),
            ..CreateAccountRequest::default()
        };
        control.admin().await.create_account(create).await.unwrap();
        World {
            drill,
            redis,
            database,
            control_place,
            control,
            gateway_place,
            gateway,
            folder,
        }
    }

    /// How many entries the ledger has of charges with this id.
    async fn charged(&self, id: &str) -> usize {
        let query = format!("SELECT kind FROM entries WHERE reservation_id = '{id}'");
        self.database.texts(&query).await.len()
    }
}

async fn balance(quota: &mut QuotaServiceClient<Channel>) -> u64 {
    let request = GetBalanceRequest {
        account_id: "acme".into(),
    };
    let answer = quota.get_balance(request).await.unwrap().into_inner();
    answer.balance.unwrap().available
}

fn charge(id: &str) -> ChargeRequest {
    ChargeRequest {
        account_id: "acme".into(),
        charge_id: id.into(),
        action: reserve_of("acme", "", 1).action,
        amount: Some(charge_request::Amount::Credits(1)),
        ..ChargeRequest::default()
    }
}

/// Writes over what the account's grant has used.
fn use_up(redis: &Server) {
    let keys: Vec<String> = redis.ask(redis::cmd("KEYS").arg("*:a:acme"));
    let script = "local account = cmsgpack.unpack(redis.call('GET', KEYS[1]))
        account[#account][1][4] = tonumber(ARGV[1])
        redis.call('SET', KEYS[1], cmsgpack.pack(account))";
    let mut write = redis::cmd("EVAL");
    write.arg(script).arg(1).arg(&keys[0]).arg(TOO_MUCH);
    redis.ask::<()>(&write);
}

async fn a_record_is_written_by_hand(world: &World) {
    let drill = &world.drill;
    let mut quota = world.gateway.quota().await;
    assert_eq!(balance(&mut quota).await, ALLOWANCE);
    use_up(&world.redis);
    // The sidecar that meets it says so itself.
    let _ = balance(&mut quota).await;
    world
        .gateway_place
        .logs(&["ERROR", "an invariant is broken", "acme"])
        .await;
    let zero = [("Must be zero", "> 0")];
    drill.fires("TollgateInvariantViolated", &zero).await;
    let of_gateway = "tollgate_invariant_violations_total{job=\"gateway\"} > 0";
    assert!(!drill.prometheus.query(of_gateway).is_empty());
    drill.fires("TollgateDrift", &zero).await;
    let named = ["the hot store differs from the ledger", "acme"];
    world.control_place.logs(&named).await;

    let server = [(
        "unix:/var/lib/tollgate/tollgate.sock",
        world.control.grpc.as_str(),
    )];
    for alert in ["TollgateInvariantViolated", "TollgateDrift"] {
        let (code, said) = drill.run(alert, "tollgate reconcile", &server);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("acme") && said.contains("600"), "{said}");
    }
    let alert = "TollgateInvariantViolated";
    let (code, said) = drill.run(alert, "tollgate ledger acme", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("500"), "{said}");
    let (code, said) = drill.run(alert, "tollgate account suspend acme", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("suspended"), "{said}");

    // By hand, since reconcile.repair is "never" here.
    let readme = file("helm/tollgate/README.md");
    let repair = command_of(&readme, "tollgate reconcile --hot");
    let hot = url(&world.redis);
    let hot = [("redis://127.0.0.1:1", hot.as_str())];
    let (code, said) = drill.run_line(&repair, &hot);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 were put right"), "{said}");
    let (code, said) = drill.run_line(&repair, &hot);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = drill.run(alert, "tollgate account activate acme", &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(balance(&mut quota).await, ALLOWANCE);
    for alert in ["TollgateDrift", "TollgateInvariantViolated"] {
        drill.ends(alert).await;
    }
}

async fn redis_comes_back_from_an_old_file(world: &mut World) {
    let mut quota = world.gateway.quota().await;
    quota
        .reserve(reserve_of("acme", "settled", 70))
        .await
        .unwrap();
    world.redis.ask::<()>(&redis::cmd("SAVE"));
    quota
        .commit(commit_of("acme", "settled", 65))
        .await
        .unwrap();
    let settled = "max(tollgate_outbox_lag_seconds) < 1";
    until_charged(world, "settled").await;
    let drill = &world.drill;
    until("the outbox to drain", || {
        !drill.prometheus.query(settled).is_empty()
    })
    .await;
    let binary = Kind::Redis.binary();
    tokio::task::block_in_place(|| world.redis.restart(&binary, &[]));
    let rebuilt = [("Redis rebuilt", "> 0")];
    drill.fires("TollgateShardsRecovered", &rebuilt).await;
    drill.fires("TollgateHoldsDropped", &rebuilt).await;
    world.control_place.logs(&["acme", "settled"]).await;
    // Nobody runs anything: balances are the ledger's, and the retry of a commit counts once.
    tokio::task::block_in_place(|| wait("readiness", || world.gateway.is_ready()));
    let again = quota.commit(commit_of("acme", "settled", 65)).await;
    again.unwrap();
    until_charged(world, "settled").await;
    for alert in ["TollgateShardsRecovered", "TollgateHoldsDropped"] {
        drill.ends(alert).await;
    }
}

async fn until_charged(world: &World, id: &str) {
    for _ in 0..600 {
        if world.charged(id).await > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{id} is never in the ledger");
}

/// Two masters at once: what the old one takes is nowhere in the end.
async fn redis_is_replaced_while_it_lives(world: &World) {
    let drill = &world.drill;
    let mut behind = world.gateway.quota().await;
    let replica = Server::start(Kind::Redis);
    tokio::task::block_in_place(|| follow(&replica, &world.redis));
    // A server takes another name with its first replica: it is verified under that one first.
    behind.charge(charge("before")).await.unwrap();
    until_charged(world, "before").await;
    let offset = |server: &Server, name: &str| {
        let info: String = server.ask(redis::cmd("INFO").arg("replication"));
        let found = info.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().to_owned()
    };
    until("the replica to catch up", || {
        offset(&replica, "slave_repl_offset:") == offset(&world.redis, "master_repl_offset:")
    })
    .await;
    replica.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
    let (place, other) = (
        world.folder.place("control-2"),
        world.folder.place("gateway-2"),
    );
    let _control = start_control(&place, &replica, &world.database);
    let gateway = start_gateway(&other, &replica);
    let mut quota = gateway.quota().await;
    quota.charge(charge("new")).await.unwrap();
    until_charged(world, "new").await;

    behind.charge(charge("lost")).await.unwrap();
    let lost = [("Redis rebuilt", "> 0")];
    drill.fires("TollgateEntriesLost", &lost).await;
    world.control_place.logs(&["shard", "position"]).await;
    assert_eq!(world.charged("lost").await, 0);
    // The caller asks again with the same ids, where it counts now.
    for id in ["lost", "new", "before"] {
        quota.charge(charge(id)).await.unwrap();
    }
    for id in ["lost", "new", "before"] {
        until_charged(world, id).await;
        assert_eq!(world.charged(id).await, 1, "{id}");
    }
    drill.ends("TollgateEntriesLost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_says_something_else_than_the_ledger() {
    let mut world = World::start().await;
    world.drill.is_quiet(2, ALERTS).await;
    a_record_is_written_by_hand(&world).await;
    redis_comes_back_from_an_old_file(&mut world).await;
    redis_is_replaced_while_it_lives(&world).await;
    world.drill.done(ALERTS);
}
