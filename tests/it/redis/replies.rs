//! Every step's reply lost and the step asked again, every step lost before it happened: the
//! effect is there once, and the account is what a store without faults makes of the same steps.

use std::sync::Arc;

use tollgate::{
    clock::ManualClock,
    domain::{
        account::{Account, OveragePolicy, Status},
        change::{Change, ChangeBody},
        command::{Charge, Commit, Extend, Release, Reserve},
        decision::Refusal,
        entry::Entry,
        grant::GrantKind,
    },
    hot::{
        Answer, Certainty, HotFault, HotStore,
        memory::{MemoryHot, MemoryOptions},
        redis::RedisOptions,
    },
};

use super::{
    DEADLINE, in_time,
    proxy::{Loses, Proxy},
    store_with,
};
use crate::support::{
    Setup,
    account::{change, create, grant, granting, load, plan},
    commands::{acme, charge, commit, commit_open, extend, release, reserve},
    servers::{Kind, Server},
};

enum Ask {
    Reserve(Reserve),
    Extend(Extend),
    Commit(Commit),
    Release(Release),
    Charge(Charge),
    Apply(Change),
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
    }
}

fn script() -> Vec<Ask> {
    let now = Setup::default().now;
    let create = create(plan("starter", 500), OveragePolicy::Debt, now);
    let suspended = ChangeBody::SetStatus {
        status: Status::Suspended,
        reason: "because".to_owned(),
    };
    vec![
        Ask::Apply(change(1, ChangeBody::Create(create))),
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
        Ask::Apply(change(4, suspended)),
        Ask::Reserve(reserve("r3", 1)),
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
    let setup = Setup::default();
    let options = MemoryOptions {
        shards: 1,
        ..MemoryOptions::default()
    };
    let store = MemoryHot::new(options, Arc::new(ManualClock::new(setup.now)));
    let create = create(plan("starter", 500), OveragePolicy::Debt, setup.now);
    load(&store, create.blank_account(&acme())).await;
    for step in script() {
        ask(&store, &step)
            .await
            .expect("no fault")
            .expect("no refusal");
    }
    state(&store).await
}

async fn lose_and_ask_again(loses: Loses) {
    let server = Server::start(Kind::Redis);
    let proxy = Proxy::start(server.port).await;
    let setup = Setup::default();
    let store = store_with(RedisOptions {
        deadline: DEADLINE,
        shards: 1,
        connections: 1,
        unload_idle_ms: 0,
        clock: Some(Arc::new(ManualClock::new(setup.now))),
        ..RedisOptions::new(format!("redis://{}", proxy.address).parse().expect("a URL"))
    });
    let create = create(plan("starter", 500), OveragePolicy::Debt, setup.now);
    load(&*store, create.blank_account(&acme())).await;
    for (place, step) in script().iter().enumerate() {
        proxy.lose(loses);
        let fault = in_time(ask(&*store, step)).await.expect_err("it was lost");
        assert_eq!(
            fault.certainty,
            Certainty::Indeterminate,
            "{place}: {fault}"
        );
        proxy.lose(Loses::Nothing);
        let again = async |step: &Ask| {
            super::until_it_works(super::SLACK * 5, async || ask(&*store, step).await).await
        };
        match again(step).await {
            Ok(()) => {}
            // It happened after all, so that the reservation is known by now: the enforcer asks so.
            Err(Refusal::Reprice) => again(&as_known(step)).await.expect("no refusal"),
            Err(refusal) => panic!("{place}: {refusal}"),
        }
    }
    assert_eq!(state(&*store).await, without_faults().await, "{loses:?}");
    let broken = store.broken_invariants(10).await.expect("no fault");
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_lost_counts_once() {
    lose_and_ask_again(Loses::Replies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_lost_counts_once() {
    lose_and_ask_again(Loses::Requests).await;
}
