//! Accounts come in by set-if-absent, changes by their numbers, cycles by compare-and-set.

use tollgate::{
    clock::Clock,
    domain::{
        account::{OveragePolicy, Status},
        change::{Change, ChangeBody},
        command::Renewal,
        cycle::Cycle,
        decision::Refusal,
        entry::EntryKind,
        grant::GrantKind,
    },
    hot::HotStore,
};

use super::on_every_backend;
use crate::support::{
    Backend, Fixture, Setup,
    account::{change, create, grant, granting, load, open, plan},
    commands::{acme, charge, commit, extend, release, reservation_id, reserve},
    instant,
};

async fn acme_on_500(backend: &dyn Backend) -> Fixture {
    let fixture = backend.start(Setup::default()).await;
    let now = Setup::default().now;
    open(
        &fixture,
        &acme(),
        create(plan("starter", 500), OveragePolicy::Debt, now),
    )
    .await;
    fixture
}

fn first_renewal() -> Renewal {
    let anchor = Setup::default().now;
    let ended = Cycle::at(anchor, anchor);
    let cycle = Cycle::at(anchor, ended.end);
    Renewal {
        account_id: acme(),
        ended,
        cycle,
        plan: plan("pro", 5_000),
    }
}

/// Why the store refuses what callers ask for, in the order of the trait.
async fn refusals(store: &dyn HotStore) -> Vec<Option<Refusal>> {
    const FAULT: &str = "no fault";
    vec![
        store.reserve(&reserve("r1", 1)).await.expect(FAULT).err(),
        store
            .extend(&extend("r1", "x1", 1))
            .await
            .expect(FAULT)
            .err(),
        store.commit(&commit("r1", 1)).await.expect(FAULT).err(),
        store.release(&release("r1")).await.expect(FAULT).err(),
        store.charge(&charge("c1", 1)).await.expect(FAULT).err(),
        store.balance(&acme()).await.expect(FAULT).err(),
        store.account(&acme()).await.expect(FAULT).err(),
    ]
}

#[test]
fn what_is_not_loaded_says_so_to_every_request() {
    on_every_backend(async |backend| {
        let store = backend.start(Setup::default()).await.store;
        let grant = granting(1, grant("p1", GrantKind::Pack, 5, Setup::default().now));
        let mut answers = refusals(store.as_ref()).await;
        answers.extend([
            store
                .reservation(&acme(), &reservation_id("r1"))
                .await
                .expect("no fault")
                .err(),
            store.apply(&grant).await.expect("no fault").err(),
            store.renew(&first_renewal()).await.expect("no fault").err(),
        ]);
        assert!(
            answers
                .iter()
                .all(|refusal| *refusal == Some(Refusal::NotLoaded)),
            "{answers:?}"
        );
        assert_eq!(store.stats().await.expect("no fault").accounts, 0);
    });
}

#[test]
fn an_account_is_not_there_before_its_creation_is_applied() {
    on_every_backend(async |backend| {
        let Fixture { store, clock } = backend.start(Setup::default()).await;
        let create = create(plan("starter", 500), OveragePolicy::Debt, clock.now());
        load(store.as_ref(), create.blank_account(&acme())).await;
        // Not as one that has used up what it had.
        let answers = refusals(store.as_ref()).await;
        assert!(
            answers
                .iter()
                .all(|refusal| *refusal == Some(Refusal::NotLoaded)),
            "{answers:?}"
        );
        store.sweep(10).await.expect("a sweep");
        let entries = store.outbox(0).await.expect("no fault").entries;
        assert!(entries.is_empty(), "{entries:?}");
        let early = granting(2, grant("p1", GrantKind::Pack, 5, clock.now()));
        let refused = store.apply(&early).await.expect("no fault").err();
        assert_eq!(refused, Some(Refusal::ChangeGap { next: 1 }));

        let first = change(1, ChangeBody::Create(create));
        let applied = store.apply(&first).await.expect("no fault");
        assert!(applied.expect("no refusal").value.now);
        let balance = store.balance(&acme()).await.expect("no fault");
        assert_eq!(balance.expect("there").value.available, 500);
    });
}

#[test]
fn a_second_load_changes_nothing() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        let (stale, _) = store
            .account(&acme())
            .await
            .expect("no fault")
            .expect("loaded")
            .value;
        store
            .charge(&charge("c1", 120))
            .await
            .expect("no fault")
            .expect("charged");
        load(store.as_ref(), stale).await;
        let balance = store
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("loaded")
            .value;
        assert_eq!((balance.available, balance.sequence), (380, 2));
        assert_eq!(store.stats().await.expect("no fault").accounts, 1);
    });
}

#[test]
fn an_account_comes_in_as_the_ledger_had_it() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        store
            .charge(&charge("c1", 120))
            .await
            .expect("no fault")
            .expect("charged");
        let pack = granting(2, grant("p1", GrantKind::Pack, 70, Setup::default().now));
        store
            .apply(&pack)
            .await
            .expect("no fault")
            .expect("applied");
        let (account, before) = store
            .account(&acme())
            .await
            .expect("no fault")
            .expect("ok")
            .value;

        let other = backend.start(Setup::default()).await.store;
        load(other.as_ref(), account).await;
        let after = other
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("loaded")
            .value;
        assert_eq!(
            (after.available, after.plan_used, after.pack_remaining),
            (450, 120, 70)
        );
        assert_eq!(after.sequence, before.sequence);
        assert!(
            after.version >= before.version,
            "versions order any two answers"
        );
        let again = other
            .apply(&pack)
            .await
            .expect("no fault")
            .expect("applied before")
            .value;
        assert!(!again.now, "the ledger's account had this change already");
    });
}

#[test]
fn changes_are_applied_once_and_in_order() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = acme_on_500(backend).await;
        let pack =
            |number, id| granting(number, grant(id, GrantKind::Pack, 70, Setup::default().now));
        let early = store.apply(&pack(3, "p3")).await.expect("no fault");
        assert_eq!(early.err(), Some(Refusal::ChangeGap { next: 2 }));
        for (change, now, available) in [
            (pack(2, "p2"), true, 570),
            (pack(2, "p2"), false, 570),
            (pack(3, "p3"), true, 640),
            (pack(2, "p2"), false, 640),
            (pack(3, "p3"), false, 640),
        ] {
            let applied = store
                .apply(&change)
                .await
                .expect("no fault")
                .expect("applied")
                .value;
            assert_eq!(
                (applied.now, applied.balance.available),
                (now, available),
                "{change:?}"
            );
        }
        let entries = store.outbox(0).await.expect("no fault").entries;
        let changes: Vec<_> = entries
            .iter()
            .map(|entry| (entry.sequence, entry.change))
            .collect();
        assert_eq!(changes, [(1, Some(1)), (2, Some(2)), (3, Some(3))]);
    });
}

#[test]
fn a_cycle_is_renewed_once_and_from_the_cycle_that_is_named() {
    on_every_backend(async |backend| {
        let Fixture { store, clock } = acme_on_500(backend).await;
        store
            .charge(&charge("c1", 120))
            .await
            .expect("no fault")
            .expect("charged");
        let early = store.renew(&first_renewal()).await.expect("no fault");
        early.expect("a cycle that is not over is not renewed, and that is no refusal");
        clock.set(instant("2026-02-28T10:00:00Z"));
        let refused = store.balance(&acme()).await.expect("no fault").err();
        let Some(Refusal::CycleEnded(ended)) = refused else {
            panic!("{refused:?}")
        };
        let renewal = first_renewal();
        assert_eq!(
            (ended.ended, ended.now),
            (renewal.ended, instant("2026-02-28T10:00:00Z"))
        );
        assert_eq!((ended.plan_id.as_str(), ended.allowance), ("starter", 500));
        let wrong = Renewal {
            ended: renewal.cycle,
            ..renewal.clone()
        };
        for renewal in [&wrong, &renewal, &renewal, &wrong] {
            store
                .renew(renewal)
                .await
                .expect("no fault")
                .expect("a renewal is never refused");
        }
        let balance = store
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("renewed")
            .value;
        assert_eq!((balance.available, balance.plan_used), (5_000, 0));
        assert_eq!(balance.renews_at, instant("2026-03-31T10:00:00Z"));
        let entries = store.outbox(0).await.expect("no fault").entries;
        let kinds: Vec<_> = entries
            .iter()
            .map(|entry| (entry.kind, entry.credits))
            .collect();
        let expected = [
            (EntryKind::Grant, 500),
            (EntryKind::Usage, -120),
            (EntryKind::Expiry, -380),
            (EntryKind::Renewal, 5_000),
        ];
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_closed_account_gets_no_new_cycle() {
    on_every_backend(async |backend| {
        let Fixture { store, clock } = acme_on_500(backend).await;
        let closed = ChangeBody::SetStatus {
            status: Status::Closed,
            reason: String::new(),
        };
        let closed: Change = change(2, closed);
        store
            .apply(&closed)
            .await
            .expect("no fault")
            .expect("applied");
        clock.set(instant("2026-02-28T10:00:00Z"));
        store
            .renew(&first_renewal())
            .await
            .expect("no fault")
            .expect("nothing");
        let balance = store
            .balance(&acme())
            .await
            .expect("no fault")
            .expect("closed")
            .value;
        assert_eq!((balance.available, balance.sequence), (0, 2));
    });
}
