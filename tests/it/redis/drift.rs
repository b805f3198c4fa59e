//! Records that somebody has written wrongly into Redis: found, named, and put right by the
//! ledger, with an entry that says so.

use std::sync::Arc;

use tollgate::{
    domain::{account::Account, entry::EntryKind},
    hot::HotStore,
    ledger::Ledger,
    telemetry::Metrics,
    workers::{Worker, reconciler::Reconciler},
};

use super::recovery::plane::{Plane, SHARDS, retried};
use crate::{
    process::run,
    support::{
        account_id, postgres,
        postgres::Database,
        records::{account_key, make_foreign, packed_grants_key, put, use_up},
        servers::{Kind, Server},
    },
};

/// More open holds than are read at once.
const MANY_HOLDS: u64 = 300;

struct World {
    server: Server,
    database: Database,
    ledger: Arc<dyn Ledger>,
    plane: Plane,
}

async fn world(kind: Kind) -> World {
    let server = Server::start(kind);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let scheme = match kind {
        Kind::Redis | Kind::Valkey => "redis",
        Kind::Cluster => "redis+cluster",
    };
    let plane = Plane::start(&format!("{scheme}://{}", server.address()), &ledger);
    for account in ["a0", "a1", "a2"] {
        plane.create(account).await;
        plane.charge(account, "c1", 100).await;
        plane.reserve(account, "r1", 60).await;
        plane.settled(account).await;
    }
    World {
        server,
        database,
        ledger,
        plane,
    }
}

impl World {
    fn reconciler(&self, repair: bool) -> Reconciler {
        Reconciler {
            hot: self.plane.hot.clone(),
            ledger: Arc::clone(&self.ledger),
            metrics: Arc::new(Metrics::new().expect("metrics")),
            batch_max: 100,
            repair,
            place: Default::default(),
            oldest: Default::default(),
        }
    }

    async fn account(&self, account: &str) -> Account {
        let id = account_id(account);
        let found = retried(async || self.plane.hot.stored(&id).await).await;
        found.expect("loaded").account
    }

    async fn repairs(&self, account: &str) -> usize {
        let id = account_id(account);
        self.plane.entries(&id, EntryKind::Repair).await
    }
}

fn has(reconciler: &Reconciler, line: &str) -> bool {
    let text = reconciler.metrics.render().expect("metrics");
    text.lines().any(|found| found == line)
}

fn counted(reconciler: &Reconciler) -> (bool, bool) {
    (
        has(reconciler, "tollgate_drift_accounts_total 1"),
        has(reconciler, "tollgate_repaired_accounts_total 1"),
    )
}

async fn found_and_repaired(kind: Kind) {
    let world = world(kind).await;
    let reconciler = world.reconciler(true);
    reconciler.step().await.expect("a step");
    assert_eq!(counted(&reconciler), (false, false), "nothing is off");

    use_up(&world.server, "a1", 40);
    let looking = world.reconciler(false);
    looking.step().await.expect("a step");
    assert_eq!(counted(&looking), (true, false), "it is only named");
    assert_eq!(world.account("a1").await.grants[0].used, 40);

    reconciler.step().await.expect("a step");
    assert_eq!(counted(&reconciler), (true, true));
    let repaired = world.account("a1").await;
    assert_eq!(
        (repaired.grants[0].used, repaired.grants[0].held),
        (100, 60)
    );
    world.plane.check("a1", 100).await;
    assert_eq!(world.repairs("a1").await, 1);
    assert_eq!(world.repairs("a0").await, 0);
    reconciler.step().await.expect("a step");
    assert_eq!(counted(&reconciler), (true, true), "once is enough");

    // The hold is as good as it was.
    world.plane.commit("a1", "r1", 60, false).await;
    world.plane.check("a1", 160).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_record_is_found_and_repaired() {
    found_and_repaired(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_record_in_valkey_is_found_and_repaired() {
    found_and_repaired(Kind::Valkey).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_record_in_a_cluster_is_found_and_repaired() {
    found_and_repaired(Kind::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_the_ledger_can_not_cover_expires() {
    let world = world(Kind::Redis).await;
    // Somebody gave the account credits that it does not have, and it held them.
    let keys: Vec<String> = world.server.ask(redis::cmd("KEYS").arg("*:a:a2"));
    let script = "local account = cmsgpack.unpack(redis.call('GET', KEYS[1]))
        account[#account][1][3] = 9000000
        redis.call('SET', KEYS[1], cmsgpack.pack(account))";
    let mut write = redis::cmd("EVAL");
    write.arg(script).arg(1).arg(&keys[0]);
    world.server.ask::<()>(&write);
    world.plane.reserve("a2", "too-much", 2_000_000).await;
    world.reconciler(true).step().await.expect("a step");
    world.plane.check("a2", 100).await;
    assert_eq!(world.plane.held("a2").await, 60);
    // What was used is charged all the same, as late.
    world.plane.commit("a2", "too-much", 5, false).await;
    world.plane.check("a2", 105).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_grants_that_are_lost_come_back() {
    for kind in [Kind::Redis, Kind::Valkey, Kind::Cluster] {
        let world = world(kind).await;
        for pack in ["p1", "p2", "p3", "p4"] {
            world.plane.grant("a1", pack, 1_000).await;
        }
        world.plane.settled("a1").await;
        let packed = packed_grants_key(&world.server, "a1");
        world.server.ask::<()>(&redis::Cmd::del(&packed));
        // What needs none of them goes on; what does is refused, and changes nothing.
        world.plane.reserve("a1", "r2", 10).await;
        let charged = world.plane.try_charge("a1", "c2", 1_000_500).await;
        let refused = format!("{:?}", charged.expect_err("no packed grants"));
        assert!(refused.contains("packed grants"), "{refused}");

        let reconciler = world.reconciler(true);
        reconciler.step().await.expect("a step");
        assert_eq!(counted(&reconciler), (true, true), "{}", kind.name());
        assert_eq!(world.plane.held("a1").await, 70);
        world.plane.charge("a1", "c2", 1_000_500).await;
        // What is left is 100 and the grants less than what there was at first.
        world.plane.check("a1", 100 + 1_000_500 - 4_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_many_holds_is_compared_and_repaired() {
    let world = world(Kind::Redis).await;
    for number in 0..MANY_HOLDS {
        let id = format!("many-{number}");
        world.plane.reserve("a1", &id, 10).await;
    }
    let looked_at = retried(async || world.plane.hot.stored(&account_id("a1")).await).await;
    let looked_at = looked_at.expect("loaded");
    assert_eq!(looked_at.holds as u64, MANY_HOLDS + 1);
    assert_eq!(looked_at.broken, None);
    assert_eq!(
        looked_at.oldest.expect("a hold").reservation_id.as_str(),
        "r1"
    );

    use_up(&world.server, "a1", 40);
    let reconciler = world.reconciler(true);
    reconciler.step().await.expect("a step");
    assert_eq!(counted(&reconciler), (true, true));
    assert_eq!(world.plane.held("a1").await, 60 + 10 * MANY_HOLDS);
    world.plane.check("a1", 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_finds_it_and_repairs_it() {
    let world = world(Kind::Redis).await;
    let hot = format!("redis://{}", world.server.address());
    let url = world.database.url();
    let reconcile = |more: &[&str]| {
        let args = ["reconcile", "--ledger", &url, "--hot", &hot];
        let output = run(&[&args, more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), format!("{said}{errors}"))
    };
    let (code, said) = reconcile(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("3 accounts compared"), "{said}");
    use_up(&world.server, "a0", 7);
    let (code, said) = reconcile(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("used is 7, not 100"), "{said}");
    assert!(said.contains("0 were put right"), "{said}");
    let (code, said) = reconcile(&["--repair"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 were put right"), "{said}");
    world.plane.check("a0", 100).await;
    let (code, said) = reconcile(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(world.repairs("a0").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_can_not_be_read_are_named_and_hold_up_no_other() {
    let world = world(Kind::Redis).await;
    let key = account_key(&world.server, "a0");
    make_foreign(&world.server, &key);
    let foreign: Vec<u8> = world.server.ask(&redis::Cmd::get(&key));
    put(&world.server, &account_key(&world.server, "a1"), vec![0]);
    use_up(&world.server, "a2", 40);
    let reconciler = world.reconciler(true);
    reconciler.step().await.expect("a step");
    assert!(has(&reconciler, "tollgate_drift_accounts_total 3"));
    assert!(has(&reconciler, "tollgate_repaired_accounts_total 1"));
    assert_eq!(*reconciler.place.lock(), Default::default(), "a round");
    assert_eq!(world.plane.used("a2").await, 100);
    // A newer version may have written it.
    assert_eq!(world.server.ask::<Vec<u8>>(&redis::Cmd::get(&key)), foreign);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_not_verified_holds_up_no_other() {
    let world = world(Kind::Redis).await;
    let shard = |account: &str| -> u32 {
        let key = account_key(&world.server, account);
        let shards = 0..SHARDS;
        let mut found = shards.filter(|shard| key.starts_with(&format!("{{tg:{shard}}}")));
        found.next().expect("a shard")
    };
    let mut placed = ["a0", "a1", "a2"].map(|account| (shard(account), account));
    placed.sort_unstable();
    let [(first, _), _, (last, account)] = placed;
    assert_ne!(first, last);
    use_up(&world.server, account, 40);
    // Another process verifies the first of them.
    let (seconds, _): (u64, u64) = world.server.ask(&redis::cmd("TIME"));
    let meta = format!("{{tg:{first}}}:meta");
    let mut claim = redis::cmd("HSET");
    claim.arg(&meta).arg("claim").arg("somebody");
    claim.arg("claimed_at").arg(seconds * 1_000);
    world.server.ask::<()>(&claim);
    world
        .server
        .ask::<()>(redis::cmd("HDEL").arg(&meta).arg("server"));

    let reconciler = world.reconciler(true);
    let failed = reconciler.step().await.expect_err("one shard");
    assert!(failed.to_string().contains("not verified"), "{failed}");
    reconciler.step().await.expect("the other shards");
    assert_eq!(counted(&reconciler), (true, true));
}
