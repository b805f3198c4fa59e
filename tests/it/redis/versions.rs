//! Two versions on one server: each runs its own scripts, what a newer version wrote in a format that
//! this one does not know is refused by name and left as it is, and everything else goes on.

use std::{
    collections::HashMap,
    io::Result,
    sync::{Arc, Mutex},
};

use redis::{Cmd, Script};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
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
    commands::{acme, commit, extend, release, reservation_id, reserve},
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
    process_at(&server.address())
}

fn process_at(address: &str) -> Arc<RedisHot> {
    let url = format!("redis://{address}");
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

/// The scripts of another version, by the hash of this one's: they do the same, and the server takes
/// them for others.
type Others = Arc<Mutex<HashMap<Vec<u8>, String>>>;

/// What no server calls any script.
const NO_HASH: [u8; 40] = [b'0'; 40];

/// Makes a process that connects here one of another version, as far as its scripts are concerned.
async fn of_another_version(server: &Server, others: &Others) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (server, others) = (server.address(), Arc::clone(others));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("a server");
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            tokio::spawn(rewrite(from_client, to_server, Arc::clone(&others)));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    address
}

/// Passes commands on, until there are no more.
async fn rewrite(from: OwnedReadHalf, mut to: OwnedWriteHalf, others: Others) -> Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let mut words = Vec::new();
        for _ in 0..number(&mut from).await? {
            let mut word = vec![0; number(&mut from).await? + 2];
            from.read_exact(&mut word).await?;
            word.truncate(word.len() - 2);
            words.push(word);
        }
        match words[0].as_slice() {
            b"EVAL" => {
                let text = String::from_utf8_lossy(&words[1]).into_owned();
                let other = format!("{text}\n-- of another version");
                let hash = |text: &str| Script::new(text).get_hash().to_owned();
                let known = (hash(&text).into_bytes(), hash(&other));
                others.lock().unwrap().extend([known]);
                words[1] = other.into_bytes();
            }
            b"EVALSHA" => {
                let known = others.lock().unwrap().get(&words[1]).cloned();
                words[1] = known.map_or_else(|| NO_HASH.to_vec(), String::into_bytes);
            }
            _ => {}
        }
        let mut packed = Cmd::new();
        words.iter().for_each(|word| {
            packed.arg(word.as_slice());
        });
        to.write_all(&packed.get_packed_command()).await?;
    }
}

/// The number of a line, after what says of what.
async fn number(from: &mut BufReader<OwnedReadHalf>) -> Result<usize> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    let digits = line.trim_end().get(1..).unwrap_or_default();
    digits.parse().map_err(std::io::Error::other)
}

/// As in an upgrade: processes of two versions take turns on each reservation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sets_of_scripts_work_side_by_side() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let world = world(kind).await;
        let others = Others::default();
        let address = of_another_version(&world.server, &others).await;
        let (old, new) = (&world.store, process_at(&address));
        for (round, [first, second]) in [[old, &new], [&new, old]].into_iter().enumerate() {
            let id = |name: &str| format!("{name}-{round}");
            for name in ["used", "given-back"] {
                let held = first.reserve(&reserve(&id(name), 60)).await;
                held.expect("no fault")
                    .expect("loaded")
                    .value
                    .result
                    .expect("credits");
            }
            let added = second.extend(&extend(&id("used"), "more", 5)).await;
            added.expect("no fault").expect("no refusal");
            let used = first.commit(&commit(&id("used"), 45)).await;
            used.expect("no fault").expect("no refusal");
            let again = second.commit(&commit(&id("used"), 45)).await;
            let again = again.expect("no fault").expect("no refusal").value;
            assert!(again.replayed, "the other version has settled it");
            let back = second.release(&release(&id("given-back"))).await;
            back.expect("no fault").expect("no refusal");
        }
        for store in [old, &new] {
            let balance = store.balance(&acme()).await.expect("no fault");
            let balance = balance.expect("loaded").value;
            assert_eq!((balance.available, balance.held), (410, 0));
            assert_eq!(store.outbox(0).await.expect("no fault").entries.len(), 3);
            let broken = store.broken_invariants(10).await.expect("no fault");
            assert_eq!(broken, []);
        }
        // Both sets are there, and neither has run in the place of the other.
        let known: Vec<_> = others.lock().unwrap().clone().into_iter().collect();
        assert!(known.len() >= 5, "{} scripts", known.len());
        for (of_this, of_other) in known {
            let mut ask = redis::cmd("SCRIPT");
            ask.arg("EXISTS").arg(of_this).arg(of_other);
            assert_eq!(world.server.ask::<Vec<bool>>(&ask), [true, true]);
        }
    }
}
