//! Two control planes, of which either may die: who settles, and what becomes of a change that
//! was half done.

use tollgate::pb::{GrantCreditsRequest, GrantKind, ListAuditRequest, grant_credits_request};

use super::*;
use crate::{
    reload::metrics,
    support::{
        proxy::{Network, Proxy},
        records::{account_key, make_foreign, put},
    },
};

/// How many accounts there are: enough for both of two control planes to have some.
const ACCOUNTS: usize = 12;

fn members(stage: &Stage) -> usize {
    stage.redis.ask(redis::cmd("ZCARD").arg("tg:settlers"))
}

fn settled_by(control: &Sidecar) -> u64 {
    let text = metrics(control);
    let after = text.split("\ntollgate_settler_entries_total ").nth(1);
    after.unwrap().lines().next().unwrap().parse().unwrap()
}

/// A hold and a commit on every account, answered once the ledger has them.
async fn round(quota: &mut QuotaServiceClient<Channel>, name: &str) {
    for number in 0..ACCOUNTS {
        let account = format!("a{number}");
        let id = format!("r-{name}");
        quota.reserve(reserve(&account, &id, 20)).await.unwrap();
        quota.commit(commit(&account, &id, 10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_planes_share_the_shards_and_take_over_from_each_other() {
    let stage = Stage::new().await;
    let mut first = stage.control(&[]);
    let mut second = stage.control(&[]);
    wait("both", || members(&stage) == 2);
    for number in 0..ACCOUNTS {
        create(&first, &format!("a{number}")).await;
    }
    let gateway = stage.gateway(&["--set", "settle.ack=ledger"]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    round(&mut quota, "shared").await;
    let (by_first, by_second) = (settled_by(&first), settled_by(&second));
    assert!(by_first > 0 && by_second > 0, "{by_first} and {by_second}");

    // Killed: every answer comes, and the other one has all of it after seconds.
    first.kill();
    round(&mut quota, "killed").await;
    wait("the other one alone", || members(&stage) == 1);
    let third = stage.control(&[]);
    wait("both", || members(&stage) == 2);
    // Stopped: it says so itself.
    let (status, _) = second.terminate();
    assert_eq!(status.code(), Some(0));
    assert_eq!(members(&stage), 1);
    round(&mut quota, "stopped").await;
    assert!(settled_by(&third) >= ACCOUNTS as u64);
    for number in 0..ACCOUNTS {
        let account = format!("a{number}");
        assert_eq!(balance(&mut quota, &account).await, (470, 0), "{account}");
    }
    let each = stage
        .database
        .texts("SELECT DISTINCT count(*)::text FROM settlements GROUP BY account_id");
    assert_eq!(each.await, ["3"]);
    let lost = stage.database.texts(
        "SELECT account_id FROM entries GROUP BY account_id
         HAVING max(sequence) <> count(*)",
    );
    assert_eq!(lost.await, [""; 0]);
}

/// It reaches Redis all the while, so it could go on saying that it lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_without_the_ledger_leaves_shards_and_lead_to_the_other() {
    let stage = Stage::new().await;
    let proxy = Proxy::start(shared().port()).await;
    let ledger = stage.database.url_at(proxy.port);
    let cut = ["--roles", "admin,settler", "--ledger", &ledger];
    let cut = stage.start(&stage.hot(), &cut);
    wait_ready(&cut);
    let other = stage.control(&[]);
    wait("both", || members(&stage) == 2);
    for number in 0..ACCOUNTS {
        create(&other, &format!("a{number}")).await;
    }
    let gateway = stage.gateway(&["--set", "settle.ack=ledger"]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;

    proxy.set(Network::Cuts);
    // It comes back for a moment whenever it looks whether there are others.
    let is_alone = || {
        std::thread::sleep(Duration::from_millis(20));
        members(&stage) == 1
    };
    wait("the other one alone", || (0..10).all(|_| is_alone()));
    let before = settled_by(&other);
    round(&mut quota, "cut").await;
    assert_eq!(settled_by(&other) - before, ACCOUNTS as u64);
    let said = readyz(&cut);
    assert!(said.contains("ledger: not ready"), "{said}");

    proxy.set(Network::Works);
    wait("both", || members(&stage) == 2);
    round(&mut quota, "both").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_process_is_killed_half_way_is_finished_by_another() {
    let stage = Stage::new().await;
    let proxy = Proxy::start(stage.redis.port).await;
    let mut first = stage.control_at(&format!("redis://{}", proxy.address), &[]);
    wait_ready(&first);
    create(&first, "acme").await;
    let second = stage.control(&[]);

    // The ledger is slow, and when it has the change at last Redis can't be reached any more.
    let mut lock = stage.database.connect().await;
    let mut lock = sqlx::Connection::begin(&mut lock).await.unwrap();
    sqlx::query("LOCK TABLE changes IN SHARE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let grant = GrantCreditsRequest {
        account_id: "acme".into(),
        grant_id: "pack-17".into(),
        kind: GrantKind::Promo.into(),
        amount: Some(grant_credits_request::Amount::Credits(250)),
        ..GrantCreditsRequest::default()
    };
    let mut admin = first.admin().await;
    let asked = grant.clone();
    let answer = tokio::spawn(async move { admin.grant_credits(asked).await });
    let waiting = "SELECT pid::text FROM pg_locks
                   WHERE NOT granted AND relation = 'changes'::regclass";
    until(&stage, waiting, 1).await;
    proxy.set(Network::LosesRequests);
    lock.commit().await.unwrap();
    until(
        &stage,
        "SELECT number::text FROM changes WHERE account_id = 'acme'",
        2,
    )
    .await;
    first.kill();
    assert!(answer.await.unwrap().is_err(), "nobody was answered");
    // Who asked for the change is known all the same.
    let audited = "SELECT key || ' ' || outcome FROM admin_calls WHERE method = 'GrantCredits'";
    assert_eq!(stage.database.texts(audited).await, ["pack-17 OK"]);

    // The other one applies it by itself, whoever asks.
    let gateway = stage.gateway(&[]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    for _ in 0..400 {
        if balance(&mut quota, "acme").await == (750, 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(balance(&mut quota, "acme").await, (750, 0));
    // The caller who was not answered asks again, and it counts once.
    let mut admin = second.admin().await;
    let answer = admin.grant_credits(grant).await.unwrap().into_inner();
    assert_eq!(answer.balance.unwrap().available, 750);
    assert_eq!(stage.database.texts(audited).await, ["pack-17 OK"; 2]);
    let entries = "SELECT sequence::text FROM entries WHERE account_id = 'acme'";
    until(&stage, entries, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_finds_its_way_into_a_redis_that_was_flushed_under_living_control_planes() {
    let stage = Stage::new().await;
    let control = stage.control(&[]);
    create(&control, "acme").await;
    stage.redis.ask::<()>(&redis::cmd("FLUSHALL"));
    // No connection was closed, so nobody sets the store up by connecting.
    let gateway = stage.gateway(&[]);
    wait_ready(&gateway);
    let mut quota = gateway.quota().await;
    quota.reserve(reserve("acme", "r1", 60)).await.unwrap();
    quota.commit(commit("acme", "r1", 45)).await.unwrap();
    assert_eq!(balance(&mut quota, "acme").await, (455, 0));
}

/// Waits until a query has so many rows.
async fn until(stage: &Stage, sql: &str, rows: usize) {
    for _ in 0..400 {
        if stage.database.texts(sql).await.len() == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for {rows} rows of {sql}");
}

/// The change's own line is written with it; that its caller was told something else is one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_made_and_not_answered_has_both_lines() {
    let stage = Stage::new().await;
    let control = stage.control(&[]);
    create(&control, "acme").await;
    let mut admin = control.admin().await;
    let mut grant = async || {
        let request = GrantCreditsRequest {
            account_id: "acme".into(),
            grant_id: "g1".into(),
            kind: GrantKind::Adjustment as i32,
            amount: Some(grant_credits_request::Amount::Credits(7)),
            ..GrantCreditsRequest::default()
        };
        admin.grant_credits(request).await
    };
    // Redis has a record that this version can't read: no change of the account reaches it.
    let key = account_key(&stage.redis, "acme");
    let was = make_foreign(&stage.redis, &key);
    let refused = grant().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    let lines = async || {
        let ask = ListAuditRequest {
            method: "GrantCredits".into(),
            ..ListAuditRequest::default()
        };
        let listed = control.admin().await.list_audit(ask).await.unwrap();
        listed.into_inner().entries
    };
    let found = lines().await;
    let outcomes: Vec<&str> = found.iter().map(|line| line.outcome.as_str()).collect();
    assert_eq!(outcomes, ["UNAVAILABLE", "OK"], "newest first");
    assert_eq!(found[0].request_id, found[1].request_id);
    assert_eq!(found[0].key, "g1");

    put(&stage.redis, &key, was);
    let again = grant().await.unwrap().into_inner();
    let found = lines().await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].outcome, "OK");
    assert_ne!(found[0].request_id, found[1].request_id);
    assert_eq!(again.balance.unwrap().available, 507);
}
