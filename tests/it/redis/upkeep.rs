//! Workers that go through many accounts: one whose record can't be read holds up no other.

use std::sync::Arc;

use tollgate::{
    clock::{Clock, ManualClock, SystemClock},
    hot::HotStore,
    ledger::{Ledger, access::Access},
    workers::{Progress, StepError, Worker, applier::Applier, renewer::Renewer},
};

use super::recovery::plane::{ALLOWANCE, Plane, packing};
use crate::support::{
    account_id, postgres,
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
    let applier = Applier {
        ledger: Arc::clone(&world.plane.ledger),
        enforcer: Arc::clone(&world.plane.enforcer),
    };
    let step = applier.step().await;
    for account in world.others() {
        let answer = world.plane.hot.balance(&account_id(account)).await;
        let balance = answer.expect("no fault").expect("loaded").value;
        assert_eq!(balance.available, ALLOWANCE + 1_000, "{account}");
    }
    names_both(step);
}
