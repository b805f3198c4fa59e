//! Two versions on one server: what a newer version wrote in a format that this one does not know
//! is refused by name and left as it is, and everything else goes on.

use std::sync::Arc;

use redis::Cmd;
use tollgate::{
    domain::{account::OveragePolicy, ids::AccountId},
    hot::{
        HotFault, HotStore,
        redis::{RedisHot, RedisOptions},
    },
};

use super::{is_determinate, open, store_with};
use crate::support::{
    account::{create, load, plan},
    account_id,
    commands::{acme, commit, release, reservation_id, reserve},
    records,
    redis::NO_DEADLINE,
    servers::{Kind, Server},
};

struct World {
    server: Server,
    store: Arc<RedisHot>,
}

async fn world(kind: Kind) -> World {
    let server = Server::start(kind);
    let store = another_process(&server);
    open(&store, &acme()).await.expect("no fault");
    World { server, store }
}

fn another_process(server: &Server) -> Arc<RedisHot> {
    let url = format!("redis://{}", server.address());
    store_with(RedisOptions {
        deadline: NO_DEADLINE,
        shards: 1,
        unload_idle_ms: 0,
        ..RedisOptions::new(url.parse().expect("a URL"))
    })
}

impl World {
    fn get(&self, key: &str) -> Vec<u8> {
        self.server.ask(&Cmd::get(key))
    }

    /// Puts another format into a record, and answers what it was before.
    fn make_foreign(&self, key: &str) -> Vec<u8> {
        records::make_foreign(&self.server, key)
    }
}

fn names_the_format(fault: &HotFault) {
    assert!(is_determinate(fault), "{fault:?}");
    let told = format!("{fault:?}");
    assert!(told.contains("of format 99"), "{told}");
}

#[tokio::test]
async fn an_account_of_another_version_is_refused_and_left_alone() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let world = world(kind).await;
        let other: AccountId = account_id("other");
        open(&world.store, &other).await.expect("no fault");
        let key = "{tg:0}:a:acme";
        let was = world.make_foreign(key);
        let foreign = world.get(key);
        let refused = world.store.reserve(&reserve("r1", 60)).await;
        names_the_format(&refused.expect_err("a foreign record"));
        let refused = world.store.balance(&acme()).await;
        names_the_format(&refused.expect_err("a foreign record"));
        // A load takes it for loaded, as it is: nothing overwrites what a newer version wrote.
        let now = world.store.now().await.expect("no fault");
        let create = create(plan("starter", 500), OveragePolicy::Debt, now);
        let blank = create.blank_account(&acme());
        load(&*world.store, blank).await;
        assert_eq!(world.get(key), foreign, "{}", kind.name());
        // Nobody else is affected.
        let balance = world.store.balance(&other).await.expect("no fault");
        assert_eq!(balance.expect("no refusal").value.available, 500);

        world.server.ask::<()>(&Cmd::set(key, was));
        let granted = world.store.reserve(&reserve("r1", 60)).await;
        granted.expect("no fault").expect("no refusal");
    }
}

#[tokio::test]
async fn a_hold_of_another_version_is_refused_and_left_alone() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let world = world(kind).await;
        for id in ["open", "ended"] {
            let granted = world.store.reserve(&reserve(id, 60)).await;
            granted.expect("no fault").expect("no refusal");
        }
        let ended = world.store.commit(&commit("ended", 10)).await;
        ended.expect("no fault").expect("no refusal");
        for id in ["open", "ended"] {
            let key = format!("{{tg:0}}:r:acme/{id}");
            let was = world.make_foreign(&key);
            let foreign = world.get(&key);
            let account = world.get("{tg:0}:a:acme");
            names_the_format(
                &world
                    .store
                    .commit(&commit(id, 10))
                    .await
                    .expect_err("foreign"),
            );
            names_the_format(
                &world
                    .store
                    .release(&release(id))
                    .await
                    .expect_err("foreign"),
            );
            names_the_format(
                &world
                    .store
                    .reserve(&reserve(id, 60))
                    .await
                    .expect_err("foreign"),
            );
            let read = world.store.reservation(&acme(), &reservation_id(id)).await;
            assert!(read.is_err(), "{read:?}");
            assert_eq!(world.get(&key), foreign, "{}", kind.name());
            assert_eq!(world.get("{tg:0}:a:acme"), account, "nothing was moved");
            world.server.ask::<()>(&Cmd::set(&key, was));
        }
        let charged = world.store.commit(&commit("open", 10)).await;
        charged.expect("no fault").expect("no refusal");
    }
}

/// The settler of an older version leaves to a newer one what it can't read.
#[tokio::test]
async fn an_entry_of_another_version_stays_in_the_outbox() {
    let world = world(Kind::Redis).await;
    let granted = world.store.reserve(&reserve("r1", 60)).await;
    granted.expect("no fault").expect("no refusal");
    let charged = world.store.commit(&commit("r1", 10)).await;
    charged.expect("no fault").expect("no refusal");
    let batch = world.store.outbox(0).await.expect("no fault");
    let count = batch.entries.len();
    assert!(count > 0);
    let mut range = redis::cmd("XREVRANGE");
    range
        .arg("{tg:0}:out")
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1);
    let last: Vec<(String, Vec<Vec<u8>>)> = world.server.ask(&range);
    let (id, fields) = &last[0];
    let mut foreign = fields[1].clone();
    // An entry is values without an array around them: the first is the format.
    foreign[0] = records::UNKNOWN_FORMAT;
    let (position, _) = id.split_once('-').expect("an id");
    let next = format!("{}-0", position.parse::<u64>().expect("a position") + 1);
    let mut add = redis::cmd("XADD");
    add.arg("{tg:0}:out")
        .arg(&next)
        .arg(&fields[0])
        .arg(foreign);
    world.server.ask::<String>(&add);
    let refused = world.store.outbox(0).await.expect_err("a foreign entry");
    assert!(
        format!("{refused:?}").contains("another format"),
        "{refused:?}"
    );
    let kept: usize = world.server.ask(redis::cmd("XLEN").arg("{tg:0}:out"));
    assert_eq!(kept, count + 1, "nothing was trimmed");
}
