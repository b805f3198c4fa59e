//! Sweeping: holds end at their deadlines, answers are forgotten after their replay window, and
//! never more of either at once than was asked for.

use std::time::Duration;

use tollgate::{
    domain::{account::OveragePolicy, command::Commit, decision::Refusal, reservation::State},
    hot::{HotStore, Swept},
};

use super::on_every_backend;
use crate::support::{
    Backend, Fixture, Setup,
    account::{create, open, plan},
    commands::{TTL_MS, acme, charge, commit, commit_open, reservation_id, reserve},
};

const WINDOW_MS: u64 = 3_600_000;

async fn acme_on_500(backend: &dyn Backend) -> Fixture {
    let setup = Setup {
        replay_window_ms: WINDOW_MS,
        ..Setup::default()
    };
    let fixture = backend.start(setup).await;
    open(
        &fixture,
        &acme(),
        create(plan("starter", 500), OveragePolicy::Debt, setup.now),
    )
    .await;
    fixture
}

async fn sweep(store: &dyn HotStore, max: usize) -> (usize, usize) {
    let Swept {
        expired, forgotten, ..
    } = store.sweep(max).await.expect("no fault");
    (expired, forgotten)
}

async fn state(store: &dyn HotStore, id: &str) -> Option<State> {
    let found = store
        .reservation(&acme(), &reservation_id(id))
        .await
        .expect("no fault");
    found.expect("loaded").value.and_then(|view| view.state)
}

#[test]
fn due_holds_end_a_bounded_number_at_a_time() {
    on_every_backend(async |backend| {
        let Fixture { store, clock } = acme_on_500(backend).await;
        for n in 0..5 {
            store
                .reserve(&reserve(&format!("r{n}"), 10))
                .await
                .expect("no fault")
                .expect("held");
        }
        assert_eq!(store.stats().await.expect("no fault").open, 5);
        clock.advance(Duration::from_millis(TTL_MS));
        assert_eq!(sweep(&*store, 0).await, (0, 0));
        assert_eq!(sweep(&*store, 2).await, (2, 0));
        assert_eq!(store.stats().await.expect("no fault").open, 3);
        assert_eq!(sweep(&*store, 10).await, (3, 0));
        assert_eq!(sweep(&*store, 10).await, (0, 0));
        let balance = store
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("loaded")
            .value;
        assert_eq!((balance.available, balance.held), (500, 0));
    });
}

#[test]
fn answers_are_forgotten_after_the_replay_window_and_open_holds_never() {
    on_every_backend(async |backend| {
        let Fixture { store, clock } = acme_on_500(backend).await;
        store
            .reserve(&reserve("kept", 10))
            .await
            .expect("no fault")
            .expect("held");
        store
            .commit(&commit_open("kept", 5, 0))
            .await
            .expect("no fault")
            .expect("charged");
        store
            .charge(&charge("c1", 10))
            .await
            .expect("no fault")
            .expect("charged");
        store
            .charge(&charge("c2", 10))
            .await
            .expect("no fault")
            .expect("charged");
        clock.advance(Duration::from_millis(TTL_MS - 1));
        store
            .commit(&commit_open("kept", 6, 0))
            .await
            .expect("no fault")
            .expect("charged");
        clock.advance(Duration::from_millis(WINDOW_MS - TTL_MS));
        assert_eq!(
            sweep(&*store, 10).await,
            (1, 0),
            "the hold ended, the window has not"
        );
        clock.advance(Duration::from_millis(1));
        assert_eq!(sweep(&*store, 1).await, (0, 1));
        assert_eq!(sweep(&*store, 10).await, (0, 1));
        assert_eq!(
            (state(&*store, "c1").await, state(&*store, "c2").await),
            (None, None)
        );
        assert_eq!(state(&*store, "kept").await, Some(State::Expired));

        // Open again: its window has not begun.
        store
            .commit(&commit_open("kept", 7, 0))
            .await
            .expect("no fault")
            .expect("late");
        assert_eq!(state(&*store, "kept").await, Some(State::Open));
        if !backend.keeps_reservations() {
            let batch = store.outbox(0).await.expect("no fault");
            let gone = batch
                .reservations
                .iter()
                .filter(|(_, known)| known.is_none())
                .count();
            assert_eq!(gone, 2, "the ledger is told what was forgotten");
        }
        clock.advance(Duration::from_millis(TTL_MS));
        assert_eq!(sweep(&*store, 10).await, (1, 0), "it ended just now");
        clock.advance(Duration::from_millis(WINDOW_MS));
        assert_eq!(sweep(&*store, 10).await, (0, 1));
        assert_eq!(state(&*store, "kept").await, None);
    });
}

#[test]
fn what_is_forgotten_is_priced_as_unknown() {
    on_every_backend(async |backend| {
        let Fixture { store, clock } = acme_on_500(backend).await;
        store
            .reserve(&reserve("r1", 10))
            .await
            .expect("no fault")
            .expect("held");
        let known = commit("r1", 5);
        let unknown = Commit {
            known: false,
            ..commit("r1", 5)
        };
        let early = store.commit(&unknown).await.expect("no fault");
        assert_eq!(early.err(), Some(Refusal::Reprice), "it is known");
        store
            .commit(&known)
            .await
            .expect("no fault")
            .expect("charged");
        clock.advance(Duration::from_millis(WINDOW_MS));
        assert_eq!(sweep(&*store, 10).await, (0, 1));
        let late = store.commit(&known).await.expect("no fault");
        assert_eq!(
            late.err(),
            Some(Refusal::Reprice),
            "it is not known any more"
        );
        let again = store
            .commit(&unknown)
            .await
            .expect("no fault")
            .expect("charged")
            .value;
        assert!(
            again.receipt.late && !again.replayed,
            "the ledger finds this one and reverses it"
        );
    });
}
