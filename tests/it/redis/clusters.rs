//! Failovers under load: a cluster's master killed, and a master behind Sentinels. No call hangs,
//! the store works again by itself, and nothing is charged twice or breaks an invariant.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tollgate::{
    domain::{command::Charge, entry::EntryKind, ids::AccountId},
    enforcer::acks::Acks,
    hot::{HotStore, Mark, redis::RedisHot},
    ledger::{Ledger, access::Access},
    workers::{Worker, follower::Follower, shares::Shares},
};

use super::{
    SLACK, in_time, open,
    recovery::{
        charged,
        plane::{Plane, SHARDS},
    },
    store, until_it_works,
};
use crate::support::{
    account_id,
    cluster::Cluster,
    commands::charge,
    postgres,
    replication::{IMPATIENT_MS, follow, sentinels},
    servers::{Kind, Server, now},
};

const ACCOUNTS: usize = 16;
const CLIENTS: usize = 8;
/// How long it may take until everything is served again after a master has died.
const FAILOVER: Duration = Duration::from_secs(30);

fn account(n: usize) -> AccountId {
    account_id(&format!("acct-{n}"))
}

/// How long before a master dies its last answers are that its replica may not have heard of.
const LAST_INSTANT: Duration = Duration::from_secs(1);

/// A charge: its account and its id.
type Key = (AccountId, String);

/// What the clients know: which charges were answered and when, and how often a call failed.
#[derive(Debug, Default)]
struct Tally {
    answered: Vec<(Key, Instant)>,
    failed: usize,
    /// The longest time without an answer.
    silence: Duration,
}

/// Charges one credit after the other until it is told to stop; every call in time.
async fn client(store: Arc<RedisHot>, id: usize, stop: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    let mut last = now();
    for call in 0.. {
        if stop.load(Ordering::SeqCst) {
            return tally;
        }
        let account_id = account((id + call) % ACCOUNTS);
        let charge_id = format!("c{id}-{call}");
        let command = Charge {
            account_id: account_id.clone(),
            force: true,
            ..charge(&charge_id, 1)
        };
        match in_time(store.charge(&command)).await {
            Ok(Ok(_)) => {
                tally.silence = tally.silence.max(last.elapsed());
                last = now();
                tally.answered.push(((account_id, charge_id), last));
            }
            Ok(Err(_)) | Err(_) => {
                tally.failed += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    tally
}

/// Kills somebody while clients are at work, and looks at what is left.
async fn survive(store: Arc<RedisHot>, kill: impl FnOnce()) {
    for n in 0..ACCOUNTS {
        until_it_works(FAILOVER, async || open(&store, &account(n)).await).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for id in 0..CLIENTS {
        clients.spawn(client(store.clone(), id, stop.clone()));
    }
    // What was opened is not of the last instant, which a slow replica may lack.
    tokio::time::sleep(2 * LAST_INSTANT).await;
    let killed = now();
    tokio::task::block_in_place(kill);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for n in 0..ACCOUNTS {
        let command = Charge {
            account_id: account(n),
            force: true,
            ..charge("after", 1)
        };
        let done = until_it_works(FAILOVER, async || store.charge(&command).await).await;
        done.expect("the account is there");
    }
    stop.store(true, Ordering::SeqCst);
    let tallies = clients.join_all().await;
    check(&store, &tallies, killed).await;
}

async fn check(store: &RedisHot, tallies: &[Tally], killed: Instant) {
    let mut found: BTreeMap<Key, usize> = BTreeMap::new();
    let mut sequences: BTreeMap<AccountId, u64> = BTreeMap::new();
    for shard in 0..store.shards() {
        loop {
            let batch = until_it_works(FAILOVER, async || store.outbox(shard).await).await;
            for entry in batch.entries.iter() {
                let next = sequences.entry(entry.account_id.clone()).or_default();
                *next += 1;
                assert_eq!(entry.sequence, *next, "{} has a gap", entry.account_id);
                if let (EntryKind::Usage, Some(id)) = (entry.kind, &entry.reservation_id) {
                    let key = (entry.account_id.clone(), id.to_string());
                    *found.entry(key).or_default() += 1;
                }
            }
            if batch.from == batch.to {
                break;
            }
            store.trim(batch.end()).await.expect("no fault");
        }
    }
    assert!(
        found.values().all(|count| *count == 1),
        "a charge counted twice"
    );
    let answered: usize = tallies.iter().map(|tally| tally.answered.len()).sum();
    let failed: usize = tallies.iter().map(|tally| tally.failed).sum();
    let silence = tallies.iter().map(|tally| tally.silence).max();
    let all = tallies.iter().flat_map(|tally| &tally.answered);
    let lost: Vec<_> = all.filter(|(key, _)| !found.contains_key(key)).collect();
    println!(
        "{answered} answered, {failed} failed, the longest silence {silence:?}, {} answered and \
         lost with the master",
        lost.len()
    );
    // Replication is asynchronous: what the dead master had not passed on is lost (DESIGN.md,
    // section 6), which is the last instant's, and nothing that was answered before or after.
    for (key, at) in lost {
        let is_last = *at + LAST_INSTANT > killed && *at < killed + SLACK;
        assert!(is_last, "{key:?} is lost");
    }
    let broken = store.broken_invariants(10).await.expect("no fault");
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_master_is_killed_goes_on() {
    let mut cluster = Cluster::start(3, 1, &[]);
    let store = store(&cluster.url());
    survive(store, || cluster.nodes[0].kill()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_behind_sentinels_fails_over() {
    let mut master = Server::start(Kind::Redis);
    let replica = Server::start(Kind::Redis);
    follow(&replica, &master);
    let (_sentinels, url) = sentinels(&master, IMPATIENT_MS);
    let store = store(&url);
    survive(store, || master.kill()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_holds_up_no_commit_on_the_others() {
    let mut cluster = Cluster::start(3, 0, &["--cluster-require-full-coverage", "no"]);
    let database = postgres::shared().ledger().await;
    let ledger: Arc<dyn Ledger> = database.open().await;
    let access = Arc::new(Access(Arc::clone(&ledger)));
    let plane = Plane::idle(&cluster.url(), &ledger, access);
    let mut marks = Vec::new();
    for n in 0..ACCOUNTS {
        let name = format!("acct-{n}");
        plane.create_by_hand(&name).await;
        marks.push(charged(&plane, &name, "c1", 1).await);
    }
    plane.settler.step().await.expect("a step");

    // The node that goes has the bell, and some of the shards that are waited for.
    let gone = cluster.owner("tg:bell");
    let is_sound = |mark: &Mark| cluster.owner(&format!("{{tg:{}}}:meta", mark.shard)) != gone;
    let (sound, lost): (Vec<Mark>, Vec<Mark>) = marks.into_iter().partition(is_sound);
    assert!(!sound.is_empty() && !lost.is_empty());
    cluster.nodes[gone].kill();
    let acks = Arc::new(Acks::new(SHARDS));
    let wait = |mark: Mark| {
        let acks = Arc::clone(&acks);
        async move { acks.settled(mark, FAILOVER).await }
    };
    let (mut answers, mut others) = (JoinSet::new(), JoinSet::new());
    sound.into_iter().for_each(|mark| {
        answers.spawn(wait(mark));
    });
    lost.into_iter().for_each(|mark| {
        others.spawn(wait(mark));
    });
    let follower = Follower {
        redis: Arc::clone(&plane.hot),
        acks: Arc::clone(&acks),
        shares: Arc::new(Shares::none()),
    };
    let following = tokio::spawn(async move {
        loop {
            // Whether it can tell of every shard is not what counts.
            let _ = follower.step().await;
            tokio::task::yield_now().await;
        }
    });
    let answered = answers.join_all().await;
    assert!(answered.iter().all(|is_settled| *is_settled));
    following.abort();
}
