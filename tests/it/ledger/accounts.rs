//! Accounts, grants, reservations and catalogues, as they are read back.

use tollgate::{
    domain::{
        account::Status,
        grant::{Grant, GrantKind},
        ids::AccountId,
        reservation::Reservation,
        timestamp::Timestamp,
    },
    hot::KeptReservation,
    ledger::{StoredCatalog, Wanted},
};

use super::{
    Backend,
    world::{START, TTL_MS, World, account_id, grant_id, pack},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn promo(id: &str, amount: u64, expires_at: Timestamp) -> Grant {
    Grant {
        kind: GrantKind::Promo,
        expires_at: Some(expires_at),
        ..pack(id, amount)
    }
}

pub async fn an_account_has_its_live_grants(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.grant("acme", pack("pack-1", 100)).await;
    world.grant("acme", pack("pack-2", 100)).await;
    world.reserve("acme", "r1", 570);
    world.commit("acme", "r1", 570, false);
    world.renew("acme");
    world.charge("acme", "c1", 530);
    world.reserve("acme", "r2", 40);
    world.flush().await;
    let acme = account_id("acme");
    let stored = world
        .ledger
        .account(&acme, world.now)
        .await
        .unwrap()
        .unwrap();
    let left: Vec<_> = stored
        .grants
        .iter()
        .map(|grant| (grant.id.as_str(), grant.amount - grant.used, grant.held))
        .collect();
    // Of the used-up grants that never end, none is there; holds are not the ledger's.
    assert_eq!(left, [("plan:1", 0, 0), ("pack-2", 100, 0)]);
    let gone = world
        .ledger
        .grant(&acme, &grant_id("plan:0"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((gone.used, gone.remaining()), (500, 0));
    assert_eq!(
        world.ledger.grant(&acme, &grant_id("none")).await.unwrap(),
        None
    );
    assert_eq!(
        world
            .ledger
            .account(&account_id("none"), world.now)
            .await
            .unwrap(),
        None
    );
    world.check().await;
}

/// A correction gives back to a grant that is used up for as long as its time is not over.
pub async fn what_is_used_up_is_there_until_it_ends(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    for (id, amount, days) in [("first", 10, 2), ("second", 20, 40), ("taken-back", 30, 50)] {
        let gift = promo(id, amount, START.plus_millis(days * DAY_MS));
        let gift = Grant {
            priority: 1,
            ..gift
        };
        world.grant("acme", gift).await;
    }
    world.charge("acme", "c1", 60);
    let void = Wanted::Void {
        grant_id: grant_id("taken-back"),
        reason: String::new(),
    };
    world.change("acme", None, void).await;
    world.flush().await;
    let acme = account_id("acme");
    let grants = async |world: &World| {
        let ledger = &world.ledger;
        let alone = ledger.account(&acme, world.now).await.unwrap();
        let page = ledger.accounts(None, 10, world.now).await.unwrap();
        let named = ledger.accounts_of(std::slice::from_ref(&acme)).await;
        assert_eq!(alone.as_slice(), page);
        assert_eq!(named.unwrap(), page);
        let grants = page[0].grants.iter();
        grants.map(|grant| grant.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(grants(&world).await, ["first", "second", "plan:0"]);
    world.renew("acme");
    world.flush().await;
    assert_eq!(grants(&world).await, ["second", "plan:1"]);
    world.renew("acme");
    world.flush().await;
    assert_eq!(grants(&world).await, ["plan:2"]);
    world.check().await;
}

pub async fn accounts_are_paged_by_id(backend: Box<dyn Backend>) {
    let mut world = World::new(backend.ledger());
    for number in 0..25u64 {
        let name = format!("account-{number:02}");
        world.create(&name, number).await;
        if number % 3 == 0 {
            world.grant(&name, pack("pack-1", 10)).await;
        }
    }
    world.flush().await;
    let mut seen = Vec::new();
    let mut after: Option<AccountId> = None;
    loop {
        let page = world
            .ledger
            .accounts(after.as_ref(), 7, world.now)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for account in page {
            let alone = world.ledger.account(&account.id, world.now).await.unwrap();
            assert_eq!(alone.as_ref(), Some(&account));
            let hot = world.books[&account.id].account();
            assert_eq!(account.grants, hot.grants);
            seen.push(account.id);
        }
    }
    assert!(seen.iter().eq(world.books.keys()));
}

pub async fn time_has_work_where_it_is_due(backend: Box<dyn Backend>) {
    let mut world = World::new(backend.ledger());
    for name in ["a", "b", "closed", "used"] {
        world.create(name, 50).await;
    }
    let tomorrow = START.plus_millis(DAY_MS);
    world.grant("a", promo("promo-1", 10, tomorrow)).await;
    world.grant("used", promo("promo-1", 10, tomorrow)).await;
    world.charge("used", "c1", 10);
    let close = Wanted::SetStatus {
        status: Status::Closed,
        reason: String::new(),
    };
    world.change("closed", None, close).await;
    world.flush().await;
    let due = async |world: &World, max| world.ledger.due(world.now, max).await.unwrap();
    assert_eq!(due(&world, 10).await, []);
    world.now = tomorrow;
    assert_eq!(due(&world, 10).await, [account_id("a")]);
    // The next step on it lets the promotion expire, and then there is nothing to do.
    world.charge("a", "c1", 0);
    world.flush().await;
    assert_eq!(due(&world, 10).await, []);
    world.now = START.plus_millis(40 * DAY_MS);
    let monthly = [account_id("a"), account_id("b"), account_id("used")];
    assert_eq!(due(&world, 10).await, monthly);
    assert_eq!(due(&world, 2).await.len(), 2);
    ["a", "b", "used"]
        .into_iter()
        .for_each(|name| world.renew(name));
    world.check().await;
    assert_eq!(due(&world, 10).await, []);
}

pub async fn reservations_are_kept_until_they_are_forgotten(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.create("other", 50).await;
    world.reserve("other", "a", 5);
    for name in ["r1", "r2", "r3"] {
        world.reserve("acme", name, 10);
    }
    world.flush().await;
    world.commit("acme", "r2", 7, true);
    world.commit("acme", "r3", 7, false);
    world.flush().await;
    let all = kept(&world).await;
    let names: Vec<&str> = all.iter().map(|kept| kept.id.as_str()).collect();
    assert_eq!(names, ["a", "r1", "r2", "r3"]);
    for kept in &all {
        let hot = world.books[&kept.account_id].reservation(&kept.id).unwrap();
        assert_eq!(Some(kept), hot.as_ref());
    }
    assert_eq!(all[2].expires_at, START.plus_millis(TTL_MS));
    world.forget("acme", "r3");
    world.flush().await;
    assert_eq!(kept(&world).await, all[..3]);
    world.check().await;
}

/// Every reservation by id, read in the smallest pages.
async fn kept(world: &World) -> Vec<Reservation> {
    let mut all: Vec<Reservation> = Vec::new();
    loop {
        let after = all
            .last()
            .map(|last| (last.account_id.clone(), last.id.clone()));
        let page = world.ledger.reservations(after.as_ref(), 1).await.unwrap();
        if page.is_empty() {
            break;
        }
        let unpack = |((account_id, id), packed): KeptReservation| packed.unpack(&account_id, &id);
        all.extend(page.into_iter().map(|kept| unpack(kept).unwrap()));
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all
}

pub async fn catalogues_are_kept_by_version(backend: Box<dyn Backend>) {
    let ledger = backend.ledger();
    let one = StoredCatalog {
        version: "1".to_owned(),
        yaml: "a: 1".to_owned(),
    };
    let two = StoredCatalog {
        version: "2".to_owned(),
        yaml: "a: 2".to_owned(),
    };
    let changed = StoredCatalog {
        yaml: "a: 3".to_owned(),
        ..one.clone()
    };
    assert!(ledger.put_catalog(&one, START).await.unwrap());
    assert!(
        ledger
            .put_catalog(&one, START.plus_millis(5))
            .await
            .unwrap()
    );
    assert!(
        ledger
            .put_catalog(&two, START.plus_millis(9))
            .await
            .unwrap()
    );
    assert!(!ledger.put_catalog(&changed, START).await.unwrap());
    assert_eq!(ledger.catalogs().await.unwrap(), [one, two]);
}

pub async fn everything_is_there_after_reopening(mut backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.grant("acme", pack("pack-1", 100)).await;
    world.reserve("acme", "r1", 510);
    world.commit("acme", "r1", 505, true);
    world.flush().await;
    let cursors = world.ledger.cursors().await.unwrap();
    let mut world = world.reopen(backend.as_mut()).await;
    assert_eq!(world.ledger.cursors().await.unwrap(), cursors);
    assert_eq!(world.ledger.reservations(None, 10).await.unwrap().len(), 1);
    world.commit("acme", "r1", 510, false);
    world.check().await;
    assert_eq!(world.available("acme"), 90);
}
