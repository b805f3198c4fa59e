//! Postgres is cut off, and first the control plane is gone, then the sidecar.

use tonic::Code;

use super::{
    drill::{Wait, until},
    pair::{Pair, start_control, start_gateway},
};
use crate::support::{
    postgres::{Database, shared},
    proxy::{Network, Proxy},
    servers::{Kind, Server},
};

pub const ALERTS: &[&str] = &[
    "TollgateLedgerDown",
    "TollgateNoSidecar",
    "TollgateNothingSettles",
    "TollgateOutboxFull",
    "TollgateOutboxLag",
    "TollgateProcessDown",
    "TollgateWorkerStuck",
];

/// What is waited for Postgres is short, so that one that is away is given up soon.
const SHORT: &[&str] = &[
    "postgres.acquire_timeout_ms=1500",
    "postgres.statement_timeout_ms=1000",
];

async fn postgres_is_cut_off(pair: &Pair, postgres: &Proxy, database: &Database) {
    let drill = &pair.drill;
    postgres.set(Network::Cuts);
    let down = [("Stores that answer", "== 0")];
    drill.fires("TollgateLedgerDown", &down).await;
    let lag = [("Outbox lag", "> 2")];
    drill.fires("TollgateOutboxLag", &lag).await;
    drill
        .fires("TollgateOutboxFull", &[("Outbox", "> 30")])
        .await;
    let stuck = [("Workers' last success", "> 3"), ("Faults", "> 0")];
    drill.fires("TollgateWorkerStuck", &stuck).await;
    // Why a round failed is in the log, under the target that the runbook names.
    let target = drill.command("TollgateOutboxLag", "tollgate::workers");
    let failed = [target.as_str(), "settler", "step failed"];
    pair.control_place.logs(&failed).await;
    // Accounts that are loaded go on, and those that are not do not.
    pair.is_served("acme").await;
    assert_eq!(pair.balance("nobody").await, Err(Code::Unavailable));

    postgres.set(Network::Works);
    for alert in ALERTS {
        drill.ends(alert).await;
    }
    // An alert is over for a moment too where a scrape came too late.
    let settled = "SELECT count(*)::text FROM settlements";
    let wait = Wait::for_it();
    while database.texts(settled).await == ["0"] {
        wait.look_again("the ledger to be given anything").await;
    }
}

async fn no_control_plane_runs(pair: &mut Pair, redis: &Server, ledger: &str) {
    pair.control.kill();
    // A sidecar shows nothing of what waits.
    let last = [("Workers' last success", ">= 0"), ("Outbox lag", "== 0")];
    let alert = "TollgateNothingSettles";
    pair.drill.fires(alert, &last).await;
    let one = [("Versions and restarts", "== 1")];
    pair.drill.fires("TollgateProcessDown", &one).await;
    pair.is_served("acme").await;
    pair.control = start_control(&pair.control_place, redis, ledger, SHORT);
    for alert in [alert, "TollgateProcessDown"] {
        pair.drill.ends(alert).await;
    }
    let drains = "max(tollgate_outbox_lag_seconds) < 2";
    until("the outbox to drain", || {
        !pair.drill.prometheus.query(drains).is_empty()
    })
    .await;
}

async fn no_sidecar_runs(pair: &mut Pair, redis: &Server) {
    pair.gateway.kill();
    let ready = [("Ready", "== 1")];
    pair.drill.fires("TollgateNoSidecar", &ready).await;
    pair.gateway = start_gateway(&pair.gateway_place, redis, SHORT);
    pair.drill.ends("TollgateNoSidecar").await;
}

/// Plays them all.
pub async fn play() {
    let redis = Server::start(Kind::Redis);
    let database = shared().empty().await;
    let proxy = Proxy::start(shared().port()).await;
    let ledger = database.url_at(proxy.port);
    let mut pair = Pair::start(&redis, &ledger, "pro", SHORT, ALERTS).await;
    let load = pair.load();
    postgres_is_cut_off(&pair, &proxy, &database).await;
    no_control_plane_runs(&mut pair, &redis, &ledger).await;
    drop(load);
    no_sidecar_runs(&mut pair, &redis).await;
    pair.drill.done(ALERTS);
}
