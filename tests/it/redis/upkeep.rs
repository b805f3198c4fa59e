//! Workers that go through many accounts: one whose record can't be read holds up no other.

use std::{sync::Arc, time::Duration};

use tollgate::{
    clock::{Clock, ManualClock, SystemClock},
    domain::{command::Charge, entry::EntryKind},
    hot::HotStore,
    ledger::{EntryFilter, Ledger, access::Access},
    workers::{
        Progress, StepError, Worker,
        applier::{ACCOUNTS_MAX, Applier},
        renewer::Renewer,
    },
};

use super::recovery::plane::{ALLOWANCE, Plane, creation, packing};
use crate::support::{
    account_id,
    commands::charge,
    postgres,
    postgres::Database,
    records::{account_key, make_foreign},
    servers::{Kind, Server},
};

/// By then every cycle is over.
const LATER_MS: u64 = 40 * 86_400_000;
const ACCOUNTS: [&str; 6] = ["a0", "a1", "a2", "a3", "a4", "a5"];
/// The first and one in between, in whatever order they come.
const BROKEN: [&str; 2] = ["a0", "a3"];

struct World {
    server: Server,
    _database: Database,
    plane: Plane,
}

async fn world() -> World {
    let server = Server::start(Kind::Redis);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let access = Arc::new(Access(Arc::clone(&ledger)));
    let plane = Plane::idle(&server.url(), &ledger, access);
    for account in ACCOUNTS {
        plane.create_by_hand(account).await;
    }
    for account in BROKEN {
        make_foreign(&server, &account_key(&server, account));
    }
    World {
        server,
        _database: database,
        plane,
    }
}

impl World {
    fn applier(&self) -> Applier {
        Applier {
            ledger: Arc::clone(&self.plane.ledger),
            enforcer: Arc::clone(&self.plane.enforcer),
            place: Default::default(),
        }
    }

    fn others(&self) -> impl Iterator<Item = &'static str> {
        ACCOUNTS.into_iter().filter(|id| !BROKEN.contains(id))
    }
}

/// That a step has failed because of both broken accounts, and of no other.
fn names_both(step: Result<Progress, StepError>) {
    let error = step.expect_err("two accounts are broken").to_string();
    assert!(error.starts_with("2 of 6 accounts failed"), "{error}");
    assert!(error.contains("of format 99"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_can_not_be_renewed_holds_up_no_other() {
    let world = world().await;
    for account in world.others() {
        let key = account_key(&world.server, account);
        world.server.ask::<()>(&redis::Cmd::del(key));
    }
    let later = SystemClock::new().now().plus_millis(LATER_MS);
    let renewer = Renewer {
        ledger: Arc::clone(&world.plane.ledger),
        enforcer: Arc::clone(&world.plane.enforcer),
        clock: Arc::new(ManualClock::new(later)),
        batch_max: 100,
    };
    let step = renewer.step().await;
    // Each of the others was touched: it is there again.
    for account in world.others() {
        let answer = world.plane.hot.balance(&account_id(account)).await;
        answer.expect("no fault").expect("it was touched");
    }
    names_both(step);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_can_not_be_changed_holds_up_no_other() {
    let world = world().await;
    for account in ACCOUNTS {
        let request = packing(account, "p1", 1_000);
        let submitted = world
            .plane
            .ledger
            .submit(&request, SystemClock::new().now());
        submitted.await.expect("no fault");
    }
    let step = world.applier().step().await;
    for account in world.others() {
        let answer = world.plane.hot.balance(&account_id(account)).await;
        let balance = answer.expect("no fault").expect("loaded").value;
        assert_eq!(balance.available, ALLOWANCE + 1_000, "{account}");
    }
    names_both(step);
}

/// Nothing settles here, so every account stays listed, whatever was applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_can_not_settle_leave_their_turn_to_the_others() {
    let world = world().await;
    let many: Vec<String> = (0..=ACCOUNTS_MAX).map(|n| format!("b{n:03}")).collect();
    for account in &many {
        let now = SystemClock::new().now();
        let submitted = world.plane.ledger.submit(&creation(account), now).await;
        submitted.expect("no fault");
    }
    let last = account_id(&many[ACCOUNTS_MAX]);
    let applier = world.applier();
    for loaded in [false, true, true] {
        applier.step().await.expect("no fault");
        let balance = world.plane.hot.balance(&last).await.expect("no fault");
        assert_eq!(balance.is_ok(), loaded, "{balance:?}");
    }
    // The round is over: whatever came meanwhile with an earlier id has its turn.
    let packed = packing("a1", "p1", 1_000);
    let now = SystemClock::new().now();
    world
        .plane
        .ledger
        .submit(&packed, now)
        .await
        .expect("no fault");
    for _ in 0..2 {
        applier.step().await.expect("no fault");
    }
    let balance = world.plane.hot.balance(&account_id("a1")).await;
    let balance = balance.expect("no fault").expect("loaded").value;
    assert_eq!(balance.available, ALLOWANCE + 1_000);
}

/// Nobody can tell what is in it, so nobody may say that nothing waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_that_can_not_be_read_holds_up_no_other_and_counts_as_lag() {
    let world = world().await;
    let (lost, sound) = ("a1", "a2");
    let out = account_key(&world.server, lost).replace(&format!(":a:{lost}"), ":out");
    assert!(!account_key(&world.server, sound).starts_with(out.trim_end_matches("out")));
    for id in ["c1", "c2"] {
        for account in [lost, sound] {
            let command = Charge {
                account_id: account_id(account),
                ..charge(id, 1)
            };
            let charged = world.plane.hot.charge(&command).await;
            charged.expect("no fault").expect("loaded");
        }
    }
    let mut first = redis::cmd("XRANGE");
    first.arg(&out).arg("-").arg("+").arg("COUNT").arg(1);
    let first: Vec<(String, redis::Value)> = world.server.ask(&first);
    world
        .server
        .ask::<()>(redis::cmd("XDEL").arg(&out).arg(&first[0].0));

    let settler = &world.plane.settler;
    settler.step().await.expect("the others are settled");
    let lag = || -> f64 {
        let text = settler.metrics.render().unwrap();
        let lag = text.split("\ntollgate_outbox_lag_seconds ").nth(1).unwrap();
        lag.lines().next().unwrap().parse().unwrap()
    };
    let before = lag();
    tokio::time::sleep(Duration::from_millis(50)).await;
    settler.step().await.expect("nothing waits but there");
    assert!(lag() >= before + 0.05, "{before} and {}", lag());
    for (account, settled) in [(lost, 0), (sound, 2)] {
        let filter = EntryFilter {
            account_id: Some(account_id(account)),
            kinds: vec![EntryKind::Usage],
            ..EntryFilter::default()
        };
        let page = world.plane.ledger.entries(&filter, None, 10).await.unwrap();
        assert_eq!(page.entries.len(), settled, "{account}");
    }
}
