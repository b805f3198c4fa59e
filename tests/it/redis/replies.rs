//! Every script's reply lost and the step asked again, every script lost before it ran: the
//! effect is there once, and the account is what a store without faults makes of the same steps.

use std::{sync::Arc, time::Duration};

use tollgate::{
    clock::ManualClock,
    domain::{
        account::{Account, OveragePolicy, Status},
        change::{Change, ChangeBody},
        command::{Charge, Commit, Extend, Release, Renewal, Repair, Reserve},
        cycle::Cycle,
        decision::Refusal,
        entry::{Entry, EntryKind},
        grant::{Grant, GrantKind},
        timestamp::Timestamp,
    },
    hot::{
        Answer, Certainty, HotFault, HotStore,
        memory::{MemoryHot, MemoryOptions},
        redis::{RedisHot, RedisOptions},
    },
};

use super::{in_time, store_with, until_it_works};
use crate::support::{
    Setup,
    account::{change, create, grant, granting, plan},
    commands::{
        TTL_MS, acme, charge, commit, commit_open, extend, release, reservation_id, reserve,
    },
    proxy::{Network, Proxy},
    redis::NO_DEADLINE,
    servers::{Kind, Server},
};

/// Short, since most calls here wait for it in vain; a healthy one that misses it is asked again.
const SHORT: Duration = Duration::from_millis(100);
/// The most calls that one step makes: more than any does.
const CALLS_MAX: usize = 12;
/// How long until a mute connection is left and a new one is made.
const RECOVERY: Duration = Duration::from_secs(20);
/// What of the second pack is used according to the ledger that the account is repaired by.
const REPAIRED_USED: u64 = 120;
/// How many holds fall due at once.
const HOLDS: usize = 3;

enum Ask {
    Reserve(Reserve),
    Extend(Extend),
    Commit(Commit),
    Release(Release),
    Charge(Charge),
    Apply(Change),
    Renew(Renewal),
    Load(Account),
    Repair,
    Sweep,
    Read,
}

async fn done<T>(answer: Answer<T>) -> Result<Result<(), Refusal>, HotFault> {
    Ok(answer?.map(|_| ()))
}

async fn ask(store: &dyn HotStore, ask: &Ask) -> Result<Result<(), Refusal>, HotFault> {
    match ask {
        Ask::Reserve(command) => done(store.reserve(command).await).await,
        Ask::Extend(command) => done(store.extend(command).await).await,
        Ask::Commit(command) => done(store.commit(command).await).await,
        Ask::Release(command) => done(store.release(command).await).await,
        Ask::Charge(command) => done(store.charge(command).await).await,
        Ask::Apply(change) => done(store.apply(change).await).await,
        Ask::Renew(renewal) => done(store.renew(renewal).await).await,
        Ask::Load(account) => {
            let loading = store.loading(&account.id).await?;
            Ok(Ok(store.load(account.clone(), loading).await?))
        }
        Ask::Repair => repair(store).await,
        Ask::Sweep => store.sweep(100).await.map(|_| Ok(())),
        Ask::Read => read(store).await.map(Ok),
    }
}

/// What the reconciler does with an account that is not as the ledger has it.
async fn repair(store: &dyn HotStore) -> Result<Result<(), Refusal>, HotFault> {
    let found = store.stored(&acme()).await?.expect("loaded");
    let version = found.account.version;
    let mut stored = found.account;
    let is_pack = |grant: &&mut Grant| grant.id.as_str() == "p2";
    let pack = stored.grants.iter_mut().find(is_pack).expect("a pack");
    if pack.used == REPAIRED_USED {
        return Ok(Ok(()));
    }
    pack.used = REPAIRED_USED;
    stored.grants.iter_mut().for_each(|grant| grant.held = 0);
    let repair = Repair {
        stored,
        version,
        reason: "another use".to_owned(),
    };
    let repaired = store.repair(&repair).await?;
    Ok(repaired.map(|done| assert!(done.value.is_some(), "nobody else was there")))
}

/// Everything that only reads.
async fn read(store: &dyn HotStore) -> Result<(), HotFault> {
    store.stats().await?;
    store.stored(&acme()).await?;
    store.outbox(0).await?;
    store.broken_invariants(10).await?;
    let _: Result<_, _> = store.balance(&acme()).await?;
    let _: Result<_, _> = store.reservation(&acme(), &reservation_id("r1")).await?;
    Ok(())
}

/// What is asked, and for how long time passes before it.
fn script() -> Vec<(u64, Ask)> {
    let now = Setup::default().now;
    let first = create(plan("starter", 500), OveragePolicy::Debt, now);
    let blank = first.blank_account(&acme());
    let status = |status| ChangeBody::SetStatus {
        status,
        reason: "because".to_owned(),
    };
    let mut script = vec![
        Ask::Load(blank.clone()),
        Ask::Apply(change(1, ChangeBody::Create(first))),
        Ask::Load(blank),
        Ask::Reserve(reserve("r1", 60)),
        Ask::Extend(extend("r1", "x1", 20)),
        Ask::Commit(commit_open("r1", 10, 0)),
        Ask::Commit(commit_open("r1", 30, 40)),
        Ask::Commit(commit("r1", 25)),
        Ask::Reserve(reserve("r2", 100)),
        Ask::Release(release("r2")),
        Ask::Apply(granting(2, grant("p1", GrantKind::Pack, 70, now))),
        Ask::Charge(charge("c1", 500)),
        Ask::Charge(Charge {
            force: true,
            ..charge("c2", 100)
        }),
        Ask::Apply(granting(3, grant("p2", GrantKind::Pack, 1_000, now))),
        Ask::Commit(Commit {
            known: false,
            ..commit("late", 5)
        }),
        Ask::Apply(change(4, status(Status::Suspended))),
        Ask::Reserve(reserve("r3", 1)),
        Ask::Apply(change(5, status(Status::Active))),
        Ask::Reserve(reserve("r4", 1)),
        Ask::Repair,
        Ask::Release(release("r4")),
        Ask::Read,
    ];
    // All that there is, so that the next ones have to reclaim it once it is due.
    script.extend((0..HOLDS).map(|n| Ask::Reserve(reserve(&format!("all{n}"), 290))));
    let mut script: Vec<(u64, Ask)> = script.into_iter().map(|step| (0, step)).collect();
    script.push((TTL_MS, Ask::Reserve(reserve("reclaims", 400))));
    script.push((TTL_MS, Ask::Sweep));
    script.extend(renewal(now));
    script.push((Setup::default().replay_window_ms, Ask::Sweep));
    script
}

/// The month passes, and the next one begins.
fn renewal(anchor: Timestamp) -> [(u64, Ask); 2] {
    let ended = Cycle::at(anchor, anchor);
    let month_ms = ended.end.millis() - anchor.millis();
    let renewal = Renewal {
        account_id: acme(),
        ended,
        cycle: Cycle::at(anchor, ended.end),
        plan: plan("starter", 500),
    };
    [
        (month_ms.unsigned_abs(), Ask::Renew(renewal)),
        (0, Ask::Charge(charge("c3", 7))),
    ]
}

fn as_known(step: &Ask) -> Ask {
    let Ask::Commit(command) = step else {
        panic!("only a commit is priced again");
    };
    Ask::Commit(Commit {
        known: true,
        ..command.clone()
    })
}

async fn state(store: &dyn HotStore) -> (Account, Vec<Entry>) {
    let answer = store.account(&acme()).await.expect("no fault");
    let batch = store.outbox(0).await.expect("no fault");
    let entries = batch.entries.iter().map(|line| (***line).clone()).collect();
    (answer.expect("loaded").value.0, entries)
}

/// The same steps without a fault.
async fn without_faults() -> (Account, Vec<Entry>) {
    let clock = Arc::new(ManualClock::new(Setup::default().now));
    let options = MemoryOptions {
        shards: 1,
        replay_window_ms: Setup::default().replay_window_ms,
        ..MemoryOptions::default()
    };
    let store = MemoryHot::new(options, clock.clone());
    for (wait_ms, step) in script() {
        clock.advance(Duration::from_millis(wait_ms));
        let answer = ask(&store, &step).await.expect("no fault");
        answer.expect("no refusal");
    }
    state(&store).await
}

/// A store behind a network, the same one without a network, and the hand on their clock.
struct Far {
    _server: Server,
    proxy: Proxy,
    clock: Arc<ManualClock>,
    store: Arc<RedisHot>,
    near: Arc<RedisHot>,
}

impl Far {
    async fn start() -> Self {
        let server = Server::start(Kind::Redis);
        let proxy = Proxy::start(server.port).await;
        let setup = Setup::default();
        let clock = Arc::new(ManualClock::new(setup.now));
        let at = |address: &str, deadline| {
            store_with(RedisOptions {
                deadline,
                shards: 1,
                connections: 1,
                replay_window_ms: setup.replay_window_ms,
                unload_idle_ms: 0,
                clock: Some(clock.clone()),
                ..RedisOptions::new(format!("redis://{address}").parse().expect("a URL"))
            })
        };
        let store = at(&proxy.address, SHORT);
        let near = at(&server.address(), NO_DEADLINE);
        Far {
            _server: server,
            proxy,
            clock,
            store,
            near,
        }
    }

    async fn works(&self) {
        self.proxy.set(Network::Works);
        until_it_works(RECOVERY, async || self.store.now().await).await;
        until_it_works(RECOVERY, async || self.store.stats().await).await;
        until_it_works(RECOVERY, async || self.store.verified(SHORT).await).await;
    }

    /// Asks a step whose first call is lost, then its second, and so on until it has so few that
    /// none is lost any more; answers how many were.
    async fn lose_each_call(&self, network: Network, step: &Ask) -> usize {
        let mut priced = None;
        for call in 0..CALLS_MAX {
            self.works().await;
            self.proxy.set_after(call, network);
            let step = priced.as_ref().unwrap_or(step);
            let answer = in_time(ask(&*self.store, step)).await;
            match answer {
                Err(fault) => {
                    let is_sent = fault.certainty == Certainty::Indeterminate;
                    assert!(is_sent, "call {call}: {fault}");
                }
                // It happened after all, so that the reservation is known by now: the enforcer
                // asks so.
                Ok(Err(Refusal::Reprice)) => priced = Some(as_known(step)),
                Ok(Err(refusal)) => panic!("call {call}: {refusal}"),
                Ok(Ok(())) => return call,
            }
        }
        panic!("a step of more than {CALLS_MAX} calls");
    }
}

async fn lose_and_ask_again(network: Network) {
    let far = Far::start().await;
    let mut lost = 0;
    for (wait_ms, step) in script() {
        far.clock.advance(Duration::from_millis(wait_ms));
        lost += far.lose_each_call(network, &step).await;
    }
    // Each step lost a call, and those of several calls more than one.
    assert!(lost > script().len(), "{lost} calls were lost");
    let expected = without_faults().await;
    let kinds: Vec<EntryKind> = expected.1.iter().map(|entry| entry.kind).collect();
    assert!(kinds.contains(&EntryKind::Repair), "{kinds:?}");
    assert_eq!(state(&*far.near).await, expected);
    let broken = far.near.broken_invariants(10).await.expect("no fault");
    assert!(broken.is_empty(), "{broken:?}");
    settle_and_unload(&far, network).await;
}

/// What no other store has: the ledger takes everything, and the account goes and comes back.
async fn settle_and_unload(far: &Far, network: Network) {
    let (account, _) = state(&*far.near).await;
    let settled = far.near.outbox(0).await.expect("no fault");
    let to = settled.to;
    let mut trims = 0;
    loop {
        far.works().await;
        far.proxy.set_after(trims, network);
        if in_time(far.store.trim(settled.end())).await.is_ok() {
            break;
        }
        trims += 1;
    }
    assert!(trims > 0, "nothing was lost");
    let batch = far.near.outbox(0).await.expect("no fault");
    assert_eq!((batch.from, batch.to, batch.entries.len()), (to, to, 0));
    far.works().await;
    far.proxy.set(network);
    let lost = in_time(far.store.unload(&acme(), 0)).await;
    lost.expect_err("it was lost");
    match far.near.unload(&acme(), 0).await.expect("no fault") {
        Ok(done) => assert!(done.value, "nothing keeps it"),
        // It went the first time.
        Err(refusal) => assert_eq!(refusal, Refusal::NotLoaded),
    }
    let load = Ask::Load(account.clone());
    // Which history the shard has, and the load itself.
    assert_eq!(far.lose_each_call(network, &load).await, 2);
    let (again, _) = state(&*far.near).await;
    assert_eq!(
        (again.worth(), again.sequence),
        (account.worth(), account.sequence)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_lost_counts_once() {
    lose_and_ask_again(Network::LosesReplies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_lost_counts_once() {
    lose_and_ask_again(Network::LosesRequests).await;
}
