//! The open hold of an account that has stood for longest, which is not the one that ends first.

use std::time::Duration;

use tollgate::{
    domain::{account::OveragePolicy, command::Reserve},
    hot::HotStore,
};

use super::on_every_backend;
use crate::support::{
    Fixture, Setup,
    account::{create, open, plan},
    commands::{TTL_MS, acme, commit, commit_open, reserve},
};

/// The oldest hold's id, and how many milliseconds after the start it has stood since.
async fn oldest(store: &dyn HotStore) -> Option<(String, i64)> {
    let stored = store.stored(&acme()).await.expect("no fault");
    let oldest = stored.expect("loaded").oldest?;
    assert_eq!(oldest.account_id, acme());
    let since_ms = oldest.since.millis() - Setup::default().now.millis();
    Some((oldest.reservation_id.to_string(), since_ms))
}

fn hold(id: &str, since_ms: i64) -> Option<(String, i64)> {
    Some((id.to_owned(), since_ms))
}

#[test]
fn the_oldest_hold_is_the_one_that_was_not_prolonged_for_longest() {
    on_every_backend(async |backend| {
        let setup = Setup::default();
        let Fixture { store, clock } = backend.start(setup).await;
        let creation = create(plan("starter", 500), OveragePolicy::Debt, setup.now);
        let fixture = Fixture { store, clock };
        open(&fixture, &acme(), creation).await;
        let Fixture { store, clock } = fixture;
        let store = store.as_ref();
        assert_eq!(oldest(store).await, None);

        let first = store.reserve(&reserve("first", 10)).await;
        first.expect("no fault").expect("held");
        clock.advance(Duration::from_millis(1_000));
        let long = Reserve {
            effective_ttl_ms: 2 * TTL_MS,
            ..reserve("long", 10)
        };
        store.reserve(&long).await.expect("no fault").expect("held");
        assert_eq!(oldest(store).await, hold("first", 0));

        // A commit that keeps it open prolongs it; still it ends before the other one.
        clock.advance(Duration::from_millis(1_000));
        let kept = store.commit(&commit_open("first", 1, 5)).await;
        kept.expect("no fault").expect("charged");
        assert_eq!(oldest(store).await, hold("long", 1_000));

        let done = store.commit(&commit("long", 1)).await;
        done.expect("no fault").expect("charged");
        assert_eq!(oldest(store).await, hold("first", 2_000));
        let done = store.commit(&commit("first", 2)).await;
        done.expect("no fault").expect("charged");
        assert_eq!(oldest(store).await, None);
    });
}
