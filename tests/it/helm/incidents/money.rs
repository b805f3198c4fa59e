//! Somebody writes to Redis by hand, it loses what it had, and it is replaced while it lives.

use tollgate::pb::{ChargeRequest, charge_request, quota_service_client::QuotaServiceClient};
use tonic::transport::Channel;

use super::{
    drill::{Wait, until},
    pair::{Pair, again, balance, entries, start_control, start_gateway},
};
use crate::{
    helm::render::file,
    support::{
        postgres::{Database, shared},
        records::use_up,
        replication::follow,
        requests::{commit_of, reserve_of},
        servers::{Kind, Server},
        texts::command_of,
    },
};

pub const ALERTS: &[&str] = &[
    "TollgateDrift",
    "TollgateEntriesLost",
    "TollgateHoldsDropped",
    "TollgateInvariantViolated",
    "TollgateShardsRecovered",
];

/// What differs is looked for often, and put right by hand.
const SETTINGS: &[&str] = &["reconcile.repair=never", "reconcile.interval_ms=500"];
/// What the account's plan allows, and what nobody can have used of it.
const ALLOWANCE: u64 = 500;
const TOO_MUCH: u64 = 600;

async fn charged(quota: &QuotaServiceClient<Channel>, id: &str) {
    let charge = ChargeRequest {
        account_id: "acme".into(),
        charge_id: id.into(),
        action: reserve_of("acme", "", 1).action,
        amount: Some(charge_request::Amount::Credits(1)),
        ..ChargeRequest::default()
    };
    again(|| {
        let (mut quota, charge) = (quota.clone(), charge.clone());
        async move { quota.charge(charge).await }
    })
    .await;
}

async fn a_record_is_written_by_hand(pair: &Pair, redis: &Server) {
    let drill = &pair.drill;
    until_left(&pair.quota, ALLOWANCE).await;
    use_up(redis, "acme", TOO_MUCH);
    // The sidecar that meets it says so itself.
    let _ = pair.balance("acme").await;
    pair.gateway_place
        .logs(&["ERROR", "an invariant is broken", "acme"])
        .await;
    let zero = [("Must be zero", "> 0")];
    drill.fires("TollgateInvariantViolated", &zero).await;
    let of_gateway = "tollgate_invariant_violations_total{job=\"gateway\"} > 0";
    until("the gateway to be scraped", || {
        !drill.prometheus.query(of_gateway).is_empty()
    })
    .await;
    drill.fires("TollgateDrift", &zero).await;
    let named = ["the hot store differs from the ledger", "acme"];
    pair.control_place.logs(&named).await;

    let server = [(
        "unix:/var/lib/tollgate/tollgate.sock",
        pair.control.grpc.as_str(),
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
    let hot = redis.url();
    let hot = [("\"$TOLLGATE_HOT\"", hot.as_str())];
    let (code, said) = drill.run_line(&repair, &hot);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 were put right"), "{said}");
    let (code, said) = drill.run_line(&repair, &hot);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = drill.run(alert, "tollgate account activate acme", &[]);
    assert_eq!(code, Some(0), "{said}");
    until_left(&pair.quota, ALLOWANCE).await;
    for alert in ["TollgateDrift", "TollgateInvariantViolated"] {
        drill.ends(alert).await;
    }
}

/// Waits until the ledger has entries of what goes by an id.
async fn until_charged(database: &Database, id: &str) {
    let wait = Wait::for_it();
    while entries(database, id).await == 0 {
        wait.look_again(id).await;
    }
}

/// Waits until so much is left.
async fn until_left(quota: &QuotaServiceClient<Channel>, credits: u64) {
    let wait = Wait::for_it();
    while balance(quota, "acme").await != Ok(credits) {
        wait.look_again("what is left").await;
    }
}

async fn redis_comes_back_from_an_old_file(pair: &Pair, redis: &mut Server, database: &Database) {
    let quota = &pair.quota;
    let held = || {
        let mut quota = quota.clone();
        async move { quota.reserve(reserve_of("acme", "settled", 70)).await }
    };
    again(held).await;
    redis.ask::<()>(&redis::cmd("SAVE"));
    let committed = || {
        let mut quota = quota.clone();
        async move { quota.commit(commit_of("acme", "settled", 65)).await }
    };
    again(committed).await;
    until_charged(database, "settled").await;
    let binary = Kind::Redis.binary();
    tokio::task::block_in_place(|| redis.restart(&binary, &[]));
    let drill = &pair.drill;
    let rebuilt = [("Redis rebuilt", "> 0")];
    drill.fires("TollgateShardsRecovered", &rebuilt).await;
    drill.fires("TollgateHoldsDropped", &rebuilt).await;
    let line = drill.command("TollgateHoldsDropped", "an open hold");
    let named = [line.as_str(), "account=acme", "reservation=settled"];
    pair.control_place.logs(&named).await;
    // Nobody runs anything: the balance is the ledger's, and a retry counts once in the end.
    until_left(&pair.quota, ALLOWANCE - 65).await;
    again(committed).await;
    until_left(&pair.quota, ALLOWANCE - 65).await;
    for alert in ["TollgateShardsRecovered", "TollgateHoldsDropped"] {
        drill.ends(alert).await;
    }
}

/// Makes a replica a master of its own once it has all of its master's.
async fn promote(replica: &Server, redis: &Server) {
    let offset = |server: &Server, name: &str| {
        let info: String = server.ask(redis::cmd("INFO").arg("replication"));
        let found = info.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().to_owned()
    };
    until("the replica to catch up", || {
        offset(replica, "slave_repl_offset:") == offset(redis, "master_repl_offset:")
    })
    .await;
    replica.ask::<()>(redis::cmd("REPLICAOF").arg("NO").arg("ONE"));
}

/// Two masters at once: what the old one takes is nowhere in the end.
async fn redis_is_replaced_while_it_lives(pair: &Pair, redis: &Server, database: &Database) {
    let behind = &pair.quota;
    let replica = Server::start(Kind::Redis);
    tokio::task::block_in_place(|| follow(&replica, redis));
    // A server takes another name with its first replica: it is verified under that one first.
    charged(behind, "before").await;
    until_charged(database, "before").await;
    promote(&replica, redis).await;
    let places = ["control-2", "gateway-2"].map(|name| pair.folder.place(name));
    let _control = start_control(&places[0], &replica, &database.url(), SETTINGS);
    let gateway = start_gateway(&places[1], &replica, SETTINGS);
    let quota = gateway.quota().await;
    charged(&quota, "new").await;
    until_charged(database, "new").await;

    charged(behind, "lost").await;
    let lost = [("Redis rebuilt", "> 0")];
    let alert = "TollgateEntriesLost";
    pair.drill.fires(alert, &lost).await;
    let line = pair.drill.command(alert, "an entry is lost");
    let named = [line.as_str(), "account=acme", "reservation=lost"];
    pair.control_place.logs(&named).await;
    assert_eq!(entries(database, "lost").await, 0);
    // The caller asks again with the same ids, where it counts now.
    for id in ["lost", "new", "before"] {
        charged(&quota, id).await;
        until_charged(database, id).await;
        assert_eq!(entries(database, id).await, 1, "{id}");
    }
    until_left(&quota, ALLOWANCE - 65 - 3).await;
    pair.drill.ends(alert).await;
}

/// Plays them all.
pub async fn play() {
    let mut redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let pair = Pair::start(&redis, &database.url(), "starter", SETTINGS, ALERTS).await;
    a_record_is_written_by_hand(&pair, &redis).await;
    redis_comes_back_from_an_old_file(&pair, &mut redis, &database).await;
    redis_is_replaced_while_it_lives(&pair, &redis, &database).await;
    pair.drill.done(ALERTS);
}
