//! An account that is not as the ledger has it takes the ledger's place, with the holds that the
//! ledger's grants still cover.

use tollgate::{
    domain::{
        account::{Account, OveragePolicy},
        command::{Repair, Reserve},
        decision::Refusal,
        entry::EntryKind,
        reservation::State,
    },
    hot::{HotStore, Stored},
};

use super::on_every_backend;
use crate::support::{
    Backend, Fixture, Setup,
    account::{create, open, plan},
    commands::{acme, charge, commit, release, reservation_id, reserve},
};

/// What the ledger's account has used in these tests, where the hot store's has used 100: then 120
/// are there for what is held.
const USED: u64 = 380;

/// An account of 500 that has used 100, and two holds: the one that is made later ends first.
async fn held(backend: &dyn Backend) -> Fixture {
    let fixture = backend.start(Setup::default()).await;
    let now = Setup::default().now;
    let creation = create(plan("starter", 500), OveragePolicy::Debt, now);
    open(&fixture, &acme(), creation).await;
    let store = &fixture.store;
    let charged = store.charge(&charge("c1", 100)).await;
    charged.expect("no fault").expect("charged");
    let long = Reserve {
        effective_ttl_ms: 120_000,
        ..reserve("long", 100)
    };
    for hold in [long, reserve("short", 60)] {
        let reserved = store.reserve(&hold).await;
        let reserved = reserved.expect("no fault").expect("an answer").value;
        assert!(reserved.result.is_ok(), "{reserved:?}");
    }
    fixture
}

async fn found(store: &dyn HotStore) -> Stored {
    let found = store.stored(&acme()).await.expect("no fault");
    found.expect("loaded")
}

/// The account as a ledger would have it that says another use.
fn of_ledger(hot: &Account) -> Repair {
    let mut stored = hot.clone();
    stored.grants[0].used = USED;
    stored.grants[0].held = 0;
    Repair {
        stored,
        version: hot.version,
        reason: "used is 100, not 380".to_owned(),
    }
}

async fn state(store: &dyn HotStore, id: &str) -> Option<State> {
    let view = store.reservation(&acme(), &reservation_id(id)).await;
    let view = view.expect("no fault").expect("no refusal").value;
    view.expect("known").state
}

#[test]
fn holds_stay_as_far_as_they_are_covered() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = held(backend).await;
        let store = store.as_ref();
        let before = found(store).await.account;
        assert_eq!((before.grants[0].used, before.grants[0].held), (100, 160));

        let done = store.repair(&of_ledger(&before)).await;
        let expired = done.expect("no fault").expect("no refusal").value;
        assert_eq!(expired, Some(1), "one is not covered");
        let after = found(store).await;
        assert_eq!(after.broken, None);
        let grant = &after.account.grants[0];
        assert_eq!((grant.used, grant.held), (USED, 60));
        // The one that ends first is served first.
        assert_eq!(state(store, "short").await, Some(State::Open));
        assert_eq!(state(store, "long").await, Some(State::Expired));
        assert_eq!(store.stats().await.expect("no fault").open, 1);

        let batch = store.outbox(0).await.expect("no fault");
        let entry = batch.entries.last().expect("an entry");
        assert_eq!(entry.kind, EntryKind::Repair);
        assert_eq!(entry.sequence, before.sequence + 1);
        assert_eq!(entry.reason, "used is 100, not 380");
        assert_eq!(after.account.sequence, entry.sequence);

        // Both are settled as their states say.
        let committed = store.commit(&commit("short", 60)).await;
        let committed = committed.expect("no fault").expect("charged").value;
        assert!(!committed.receipt.late);
        let late = store.commit(&commit("long", 50)).await;
        let late = late.expect("no fault").expect("charged").value;
        assert!(late.receipt.late);
        let last = found(store).await;
        assert_eq!(last.broken, None);
        assert_eq!(last.account.grants[0].used, USED + 60 + 50);
        let broken = store.broken_invariants(10).await.expect("no fault");
        assert!(broken.is_empty(), "{broken:?}");
    });
}

#[test]
fn what_has_moved_on_is_not_touched() {
    on_every_backend(async |backend| {
        let Fixture { store, .. } = held(backend).await;
        let store = store.as_ref();
        let compared = of_ledger(&found(store).await.account);
        // A hold that goes leaves the sequence as it is, and is seen all the same.
        let released = store.release(&release("long")).await;
        released.expect("no fault").expect("released");
        let now = found(store).await.account;
        let older = Repair {
            version: now.version,
            stored: Account {
                sequence: now.sequence - 1,
                ..compared.stored.clone()
            },
            ..compared.clone()
        };
        for stale in [compared, older] {
            let done = store.repair(&stale).await.expect("no fault");
            assert_eq!(done.expect("no refusal").value, None);
            assert_eq!(found(store).await.account, now);
        }
    });
}

#[test]
fn what_is_not_loaded_is_not_repaired() {
    on_every_backend(async |backend| {
        let now = Setup::default().now;
        let store = backend.start(Setup::default()).await.store;
        let blank = create(plan("starter", 500), OveragePolicy::Debt, now).blank_account(&acme());
        let repair = Repair {
            version: blank.version,
            stored: blank,
            reason: String::new(),
        };
        let done = store.repair(&repair).await.expect("no fault");
        assert_eq!(done.err(), Some(Refusal::NotLoaded));
    });
}
