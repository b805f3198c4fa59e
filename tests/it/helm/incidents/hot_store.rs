//! Redis is stopped, slow, and written by a newer version.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use tonic::Code;

use super::{
    drill::{Caller, Place, until},
    pair::{Pair, balance, create},
};
use crate::support::{
    postgres::shared,
    records::{account_key, make_foreign, put},
    servers::{Kind, Server},
};

pub const ALERTS: &[&str] = &[
    "TollgateErrorsBurnFast",
    "TollgateErrorsBurnSlow",
    "TollgateHotFaults",
    "TollgateHotStoreDown",
    "TollgateNotReady",
    "TollgateReservesSlowFast",
    "TollgateReservesSlowSlow",
];

/// What loses nothing when its process is killed, and does not call a script too long that is long on
/// a busy machine only.
const DURABLE: [&str; 6] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "everysec",
    "--lua-time-limit",
    "60000",
];
/// How far a slow script counts: about half a second.
const LONG: u64 = 60_000_000;

/// What `/readyz` says where the runbook says that it is asked.
fn readyz(pair: &Pair, place: &Place) -> String {
    let at = [("localhost:9464", place.http.as_str())];
    let (_, said) = pair
        .drill
        .run("TollgateNotReady", "curl -s localhost:9464", &at);
    said
}

async fn it_stops(pair: &Pair, redis: &mut Server) {
    let drill = &pair.drill;
    redis.kill();
    let stores = [("Stores that answer", "< 0.5"), ("Degraded answers", "> 0")];
    drill.fires("TollgateHotStoreDown", &stores).await;
    drill.fires("TollgateNotReady", &[("Ready", "== 0")]).await;
    let failures = [("Failures by method and status", "> 0")];
    drill.fires("TollgateErrorsBurnFast", &failures).await;
    drill.fires("TollgateErrorsBurnSlow", &failures).await;
    let said = readyz(pair, &pair.gateway_place);
    assert!(said.contains("stores: not ready"), "{said}");
    let url = redis.url();
    let at = [("URL", url.as_str())];
    let ping = || drill.run("TollgateHotStoreDown", "redis-cli -u URL ping", &at);
    assert_ne!(ping().0, Some(0));

    let binary = Kind::Redis.binary();
    tokio::task::block_in_place(|| redis.restart(&binary, &DURABLE));
    let (code, said) = ping();
    assert_eq!((code, said.trim()), (Some(0), "PONG"));
    // Nobody starts anything else anew.
    for alert in ["TollgateHotStoreDown", "TollgateNotReady"] {
        drill.ends(alert).await;
    }
    until("the gateway to have its stores", || {
        readyz(pair, &pair.gateway_place).contains("stores: ok")
    })
    .await;
    drill.ends("TollgateErrorsBurnFast").await;
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

async fn it_has_a_noisy_neighbour(pair: &Pair, redis: &Server) {
    let drill = &pair.drill;
    let neighbour = Neighbour::start(redis);
    let both = [("Reserve", "> 0.1"), ("Hot store, p99", "> 0.1")];
    drill.fires("TollgateReservesSlowFast", &both).await;
    let slow = [("Slow Reserves", "> 0.01")];
    drill.fires("TollgateReservesSlowSlow", &slow).await;
    let ask = drill.command("TollgateReservesSlowFast", "SLOWLOG GET");
    let ask = format!("redis-cli -u {} {ask}", redis.url());
    let (_, said) = drill.run_line(&ask, &[]);
    assert!(said.contains("sum = sum + i"), "{said}");
    let line = drill.command("TollgateReservesSlowFast", "slow call");
    pair.gateway_place.logs(&[&line, "Reserve", "hot_ms"]).await;
    tokio::task::block_in_place(|| drop(neighbour));
    drill.ends("TollgateReservesSlowFast").await;
}

async fn a_newer_version_has_written_a_record(pair: &Pair, redis: &Server) {
    let drill = &pair.drill;
    create(&pair.control, "newer", "pro").await;
    pair.is_served("newer").await;
    drill.ends("TollgateHotFaults").await;
    let key = account_key(redis, "newer");
    let was = make_foreign(redis, &key);
    let quota = pair.quota.clone();
    let caller = Caller::start(move |_| {
        let quota = quota.clone();
        async move { _ = balance(&quota, "newer").await }
    });
    drill.fires("TollgateHotFaults", &[("Faults", "> 0")]).await;
    assert_eq!(pair.balance("newer").await, Err(Code::Unavailable));
    pair.is_served("acme").await;
    let named = drill.command("TollgateHotFaults", "TOLLGATE");
    pair.gateway_place.logs(&[&named, "of format 99"]).await;
    // The upgrade is finished: whoever reads it now knows its format.
    put(redis, &key, was);
    drill.ends("TollgateHotFaults").await;
    drop(caller);
    pair.is_served("newer").await;
}

/// Plays them all.
pub async fn play() {
    let mut redis = Server::start_with(&Kind::Redis.binary(), &DURABLE);
    let database = shared().empty().await;
    let settings = ["log.slow_call_ms=100"];
    let pair = Pair::start(&redis, &database.url(), "pro", &settings, ALERTS).await;
    let load = pair.load();
    it_stops(&pair, &mut redis).await;
    it_has_a_noisy_neighbour(&pair, &redis).await;
    a_newer_version_has_written_a_record(&pair, &redis).await;
    drop(load);
    until("the gateway to be ready", || pair.gateway.is_ready()).await;
    pair.drill.done(ALERTS);
}
