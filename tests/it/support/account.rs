//! Accounts and their administrative changes, as the ledger would hand them to a hot store.

use tollgate::{
    domain::{
        account::{Account, OveragePolicy, PlanTerm},
        change::{Change, ChangeBody, Create},
        credits::Credits,
        cycle::Cycle,
        grant::{DEFAULT_PRIORITY, Grant, GrantKind},
        ids::{AccountId, GrantId, PlanId},
        timestamp::Timestamp,
    },
    hot::HotStore,
};

use super::{Fixture, commands::acme};

/// A plan of some allowance.
pub fn plan(id: &str, allowance: u64) -> PlanTerm {
    PlanTerm {
        id: PlanId::new(id).expect("an id"),
        allowance,
    }
}

/// A new account, subscribed at `at`.
pub fn create(plan: PlanTerm, overage: OveragePolicy, at: Timestamp) -> Create {
    Create {
        plan,
        subscribed_at: at,
        cycle: Cycle::at(at, at),
        overage,
    }
}

/// A change of the account that a suite talks about.
pub fn change(number: u64, body: ChangeBody) -> Change {
    Change {
        account_id: acme(),
        number,
        body,
    }
}

/// A grant of some credits that is active from `from` on and never expires.
pub fn grant(id: &str, kind: GrantKind, amount: u64, from: Timestamp) -> Grant {
    Grant {
        id: GrantId::new(id).expect("an id"),
        kind,
        amount: Credits::new(amount).expect("credits in range").get(),
        used: 0,
        held: 0,
        expired: 0,
        priority: DEFAULT_PRIORITY,
        effective_at: from,
        expires_at: None,
        voided_at: None,
        source: id.to_owned(),
    }
}

/// A change that adds a grant.
pub fn granting(number: u64, grant: Grant) -> Change {
    change(
        number,
        ChangeBody::Grant {
            grant: Box::new(grant),
            reason: String::new(),
        },
    )
}

/// Puts an account in that was just read.
pub async fn load(store: &dyn HotStore, account: Account) {
    let loading = store.loading(&account.id).await.expect("no fault");
    store.load(account, loading).await.expect("a load");
}

/// Puts an account into a store, with its first change applied.
pub async fn open(fixture: &Fixture, id: &AccountId, create: Create) {
    let store = &fixture.store;
    load(store.as_ref(), create.blank_account(id)).await;
    let body = ChangeBody::Create(create);
    let first = Change {
        account_id: id.clone(),
        number: 1,
        body,
    };
    let done = store
        .apply(&first)
        .await
        .expect("no fault")
        .expect("no refusal");
    assert!(done.value.now, "the account was there already");
}
