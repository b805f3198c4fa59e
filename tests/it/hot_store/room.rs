//! How many used-up grants an account keeps, and for how long: none that never ends beyond the cycle,
//! the others until they end, and never more than an account may have.

use tollgate::{
    domain::{
        account::{Account, OveragePolicy},
        grant::{GRANTS_MAX, Grant, GrantKind},
    },
    hot::HotStore,
};

use super::on_every_backend;
use crate::support::{
    Setup,
    account::{create, grant, granting, open, plan},
    commands::{acme, charge},
};

const DAY_MS: u64 = 86_400_000;

/// How many packs are used up before the promotions are.
const PACKS: usize = 10;

/// Adds the account's next grant, of one credit that is spent before all others, and spends it.
async fn use_up(store: &dyn HotStore, kind: GrantKind, place: usize) {
    let setup = Setup::default();
    let ends_at = setup.now.plus_millis(DAY_MS);
    let grant = Grant {
        priority: 1,
        expires_at: (kind == GrantKind::Promo).then_some(ends_at),
        ..grant(&format!("g{place}"), kind, 1, setup.now)
    };
    let added = store.apply(&granting(place as u64, grant)).await;
    added.expect("no fault").expect("no refusal");
    let spent = store.charge(&charge(&format!("c{place}"), 1)).await;
    let spent = spent.expect("no fault").expect("no refusal").value.result;
    assert_eq!(
        spent.expect("enough").draws[0].grant_id.as_str(),
        format!("g{place}")
    );
}

async fn account(store: &dyn HotStore) -> Account {
    let found = store.account(&acme()).await;
    found.expect("no fault").expect("no refusal").value.0
}

#[test]
fn used_up_grants_make_room_those_that_never_end_first() {
    on_every_backend(async |backend| {
        let setup = Setup::default();
        let fixture = backend.start(setup).await;
        let creation = create(
            plan("starter", 500),
            OveragePolicy::Debt,
            Setup::default().now,
        );
        open(&fixture, &acme(), creation).await;
        let store = fixture.store.as_ref();
        for place in 2..2 + PACKS {
            use_up(store, GrantKind::Pack, place).await;
        }
        for place in 2 + PACKS..=GRANTS_MAX {
            use_up(store, GrantKind::Promo, place).await;
        }
        assert_eq!(account(store).await.grants.len(), GRANTS_MAX);
        use_up(store, GrantKind::Promo, GRANTS_MAX + 1).await;
        let kept = account(store).await.grants;
        assert_eq!(kept.len(), GRANTS_MAX + 1 - PACKS);
        assert!(kept.iter().all(|grant| grant.kind != GrantKind::Pack));
        for more in 2..=PACKS {
            use_up(store, GrantKind::Promo, GRANTS_MAX + more).await;
        }
        assert_eq!(account(store).await.grants.len(), GRANTS_MAX);
        // None of them never ends, so all of them make room for the new one, beside the plan's.
        use_up(store, GrantKind::Promo, GRANTS_MAX + PACKS + 1).await;
        assert_eq!(account(store).await.grants.len(), 2);
    });
}
