//! Administrative changes: numbered, idempotent by key, checked before they are taken.

use std::sync::Arc;

use tollgate::{
    domain::{
        account::Status,
        change::ChangeBody,
        credits::MAX_CREDITS,
        grant::{GRANTS_MAX, Grant, GrantKind},
    },
    ledger::{ChangeRequest, SubmitRefusal, Submitted, Wanted},
};

use super::{
    Backend,
    world::{World, account_id, grant_id, new, pack, plan, refund, request},
};

fn grant_request(account: &str, grant: Grant) -> ChangeRequest {
    let key = format!("grant:{}", grant.id);
    let wanted = Wanted::Grant {
        grant: Box::new(grant),
        reason: String::new(),
    };
    request(account, Some(&key), wanted)
}

fn void(grant: &str) -> Wanted {
    Wanted::Void {
        grant_id: grant_id(grant),
        reason: "fraud".to_owned(),
    }
}

async fn submit(world: &World, request: ChangeRequest) -> Submitted {
    world.ledger.submit(&request, world.now).await.unwrap()
}

pub async fn numbers_have_no_gaps(backend: Box<dyn Backend>) {
    let world = World::with_acme(backend.ledger()).await;
    for number in 2..=6 {
        let status = if number % 2 == 0 {
            Status::Suspended
        } else {
            Status::Active
        };
        let wanted = Wanted::SetStatus {
            status,
            reason: String::new(),
        };
        assert_eq!(
            new(submit(&world, request("acme", None, wanted)).await).number,
            number
        );
        let again = Wanted::SetStatus {
            status,
            reason: String::new(),
        };
        let answer = submit(&world, request("acme", None, again)).await;
        assert!(
            matches!(&answer, Submitted::Known(change) if change.number == number),
            "a retry is no other change: {answer:?}"
        );
        let missing = request("acme", None, void("none"));
        assert!(matches!(
            submit(&world, missing).await,
            Submitted::Refused(_)
        ));
    }
    let acme = account_id("acme");
    let changes = world.ledger.changes(&acme, 3, 2).await.unwrap();
    assert_eq!(
        changes
            .iter()
            .map(|change| change.number)
            .collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(world.ledger.changes(&acme, 7, 9).await.unwrap(), []);
    assert_eq!(
        world
            .ledger
            .changes(&account_id("none"), 1, 9)
            .await
            .unwrap(),
        []
    );
}

pub async fn a_key_is_taken_once(backend: Box<dyn Backend>) {
    let world = World::with_acme(backend.ledger()).await;
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut asked = grant_request("acme", pack("pack-1", 100));
    asked.payload = vec![field("kind", "pack"), field("pack_id", "small")];
    let change = new(submit(&world, asked.clone()).await);
    assert_eq!(
        submit(&world, asked.clone()).await,
        Submitted::Known(change.clone())
    );
    let conflict = |name: &str| Submitted::Conflict {
        field: name.to_owned(),
    };
    let mut other = asked.clone();
    other.payload = vec![field("kind", "promo"), field("pack_id", "large")];
    assert_eq!(submit(&world, other.clone()).await, conflict("kind"));
    other.payload = vec![field("kind", "pack")];
    assert_eq!(submit(&world, other.clone()).await, conflict("pack_id"));
    other.payload = vec![
        field("kind", "pack"),
        field("priority", "7"),
        field("pack_id", "small"),
    ];
    assert_eq!(submit(&world, other).await, conflict("priority"));
    // Another account's keys are its own.
    let creation = request("other", None, Wanted::Create(world.creation(10)));
    new(submit(&world, creation.clone()).await);
    assert!(matches!(
        submit(&world, creation).await,
        Submitted::Known(_)
    ));
    new(submit(
        &world,
        ChangeRequest {
            account_id: account_id("other"),
            ..asked
        },
    )
    .await);
    let again = request("acme", Some("again"), Wanted::Create(world.creation(10)));
    assert_eq!(submit(&world, again).await, conflict("account_id"));
}

pub async fn what_is_missing_is_refused(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    let refused = |refusal| Submitted::Refused(refusal);
    let asked = grant_request("nobody", pack("pack-1", 1));
    assert_eq!(
        submit(&world, asked).await,
        refused(SubmitRefusal::AccountNotFound)
    );
    let asked = request("acme", None, void("pack-1"));
    assert_eq!(
        submit(&world, asked.clone()).await,
        refused(SubmitRefusal::GrantNotFound)
    );
    new(submit(&world, grant_request("acme", pack("pack-1", 1))).await);
    new(submit(&world, asked).await);
    new(submit(&world, request("acme", None, void("plan:0"))).await);
    let asked = request("acme", None, refund("r1", 0));
    assert_eq!(
        submit(&world, asked).await,
        refused(SubmitRefusal::NothingSettled)
    );
    for change in world
        .ledger
        .changes(&account_id("acme"), 2, 10)
        .await
        .unwrap()
    {
        world.apply(&change);
    }
    world.check().await;
    assert_eq!(world.available("acme"), 0);
}

pub async fn a_refund_is_split_and_bounded(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.grant("acme", pack("pack-1", 100)).await;
    world.charge("acme", "c1", 560);
    world.flush().await;
    let change = world
        .change("acme", Some("refund:1"), refund("c1", 70))
        .await;
    let ChangeBody::Refund(first) = &change.body else {
        panic!("{change:?}")
    };
    let parts: Vec<_> = first
        .parts
        .iter()
        .map(|part| (part.grant.id.as_str(), part.credits))
        .collect();
    assert_eq!(parts, [("pack-1", 60), ("plan:0", 10)]);
    assert_eq!(first.parts[0].grant.used, 60);
    let too_much = request("acme", None, refund("c1", 491));
    let refused = SubmitRefusal::RefundTooMuch { refundable: 490 };
    assert_eq!(submit(&world, too_much).await, Submitted::Refused(refused));
    world
        .change("acme", Some("refund:2"), refund("c1", 0))
        .await;
    let nothing = request("acme", None, refund("c1", 0));
    let refused = SubmitRefusal::RefundTooMuch { refundable: 0 };
    assert_eq!(submit(&world, nothing).await, Submitted::Refused(refused));
    world.check().await;
    assert_eq!(world.available("acme"), 600);
}

/// All that was paid is back once, whichever of the two the ledger knew first.
pub async fn a_refund_and_a_correction_cross(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    for (round, reservation) in ["r1", "r2"].into_iter().enumerate() {
        world.reserve("acme", reservation, 100);
        world.commit("acme", reservation, 100, true);
        world.flush().await;
        let key = |name: &str| format!("{name}:{reservation}");
        let part = refund(reservation, 30);
        world.change("acme", Some(&key("part")), part).await;
        let (rest, wanted) = (key("rest"), refund(reservation, 0));
        let rest = request("acme", Some(&rest), wanted);
        // The correction is settled after the refund was taken, and before or after it is applied.
        if round == 0 {
            world.commit("acme", reservation, 60, false);
        }
        let change = new(submit(&world, rest).await);
        if round == 1 {
            world.commit("acme", reservation, 60, false);
            world.flush().await;
        }
        world.apply(&change);
        world.check().await;
        assert_eq!(world.available("acme"), 500, "{reservation}");
    }
}

/// A refund that is taken while the end of a grant is on its way goes to an adjustment.
pub async fn a_refund_follows_the_end_of_its_grant(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.grant("acme", pack("pack-1", 100)).await;
    world.charge("acme", "c1", 560);
    world.flush().await;
    world.change("acme", Some("void"), void("pack-1")).await;
    let voided = world
        .change("acme", Some("refund:1"), refund("c1", 40))
        .await;
    world.check().await;
    assert_eq!(world.available("acme"), 40);
    let adjusted = grant_id(&format!("refund:{}", voided.number));
    let id = account_id("acme");
    let kept = world.ledger.grant(&id, &adjusted).await.unwrap().unwrap();
    assert_eq!((kept.amount, kept.used), (40, 0));
    // The same of all grants, when the account is closed.
    let closing = Wanted::SetStatus {
        status: Status::Closed,
        reason: String::new(),
    };
    world.change("acme", None, closing).await;
    world
        .change("acme", Some("refund:2"), refund("c1", 0))
        .await;
    world.check().await;
    assert_eq!(world.available("acme"), 520);
}

pub async fn concurrent_refunds_give_back_once(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 100);
    world.flush().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (ledger, now) = (Arc::clone(&world.ledger), world.now);
        let asked = request("acme", Some(&format!("refund:{number}")), refund("c1", 30));
        tasks.spawn(async move { ledger.submit(&asked, now).await.unwrap() });
    }
    let (mut taken, mut refused) = (Vec::new(), 0);
    for submitted in tasks.join_all().await {
        match submitted {
            Submitted::New(change) => taken.push(change),
            Submitted::Refused(refusal) => {
                assert_eq!(refusal, SubmitRefusal::RefundTooMuch { refundable: 10 });
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((taken.len(), refused), (3, 17));
    taken.sort_by_key(|change| change.number);
    taken.iter().for_each(|change| world.apply(change));
    world.check().await;
    assert_eq!(world.available("acme"), 490);
}

pub async fn a_refund_of_nothing_says_so(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "free", 0);
    world.charge("acme", "owed", 510);
    world.flush().await;
    let refused = SubmitRefusal::RefundTooMuch { refundable: 0 };
    let asked = request("acme", None, refund("free", 0));
    assert_eq!(submit(&world, asked).await, Submitted::Refused(refused));
    // What became debt is taken off the debt first.
    let change = world.change("acme", None, refund("owed", 30)).await;
    let ChangeBody::Refund(owed) = &change.body else {
        panic!("{change:?}")
    };
    assert_eq!((owed.of_debt, owed.parts[0].credits), (10, 20));
    world.check().await;
    assert_eq!(world.available("acme"), 20);
}

pub async fn credits_stay_in_range(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    let refused = Submitted::Refused(SubmitRefusal::OutOfRange);
    let half = MAX_CREDITS / 2;
    let too_rich = request(
        "rich",
        None,
        Wanted::Create(world.creation(MAX_CREDITS + 1)),
    );
    assert_eq!(submit(&world, too_rich).await, refused);
    world.grant("acme", pack("pack-1", half)).await;
    // What waits to be applied counts.
    new(submit(&world, grant_request("acme", pack("pack-2", half - 600))).await);
    assert_eq!(
        submit(&world, grant_request("acme", pack("pack-3", 102))).await,
        refused
    );
    let pro = |allowance| Wanted::ChangePlan {
        plan: plan("pro", allowance),
        at_renewal: None,
    };
    assert_eq!(
        submit(&world, request("acme", None, pro(602))).await,
        refused
    );
    new(submit(&world, request("acme", None, pro(601))).await);
    assert_eq!(
        submit(&world, grant_request("acme", pack("pack-3", 1))).await,
        refused
    );
    for change in world
        .ledger
        .changes(&account_id("acme"), 3, 10)
        .await
        .unwrap()
    {
        world.apply(&change);
    }
    world.check().await;
    assert_eq!(world.available("acme"), MAX_CREDITS);
}

pub async fn grants_are_bounded(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.charge("acme", "c1", 500);
    let promotion = Grant {
        kind: GrantKind::Promo,
        expires_at: Some(world.now.plus_millis(365 * 24 * 60 * 60 * 1000)),
        ..pack("promo-1", 10)
    };
    world.grant("acme", promotion).await;
    for number in 2..GRANTS_MAX {
        world
            .grant("acme", pack(&format!("pack-{number}"), 10))
            .await;
        if number % 50 == 0 {
            world.flush().await;
        }
    }
    let one_more = grant_request("acme", pack("one-more", 10));
    let refused = Submitted::Refused(SubmitRefusal::TooManyGrants { max: GRANTS_MAX });
    assert_eq!(submit(&world, one_more.clone()).await, refused);
    world.flush().await;
    assert_eq!(submit(&world, one_more.clone()).await, refused);
    // One that is used up leaves room, also where it has not ended yet.
    world.charge("acme", "c2", 10);
    world.flush().await;
    let change = new(submit(&world, one_more).await);
    world.apply(&change);
    world.check().await;
}

pub async fn a_grant_id_is_taken_once(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    world.grant("acme", pack("pack-1", 10)).await;
    let mut again = grant_request("acme", pack("pack-1", 10));
    again.key = Some("another".to_owned());
    let conflict = Submitted::Conflict {
        field: "grant_id".to_owned(),
    };
    assert_eq!(submit(&world, again.clone()).await, conflict);
    world.flush().await;
    assert_eq!(submit(&world, again).await, conflict);
}

pub async fn unapplied_changes_are_listed(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    assert_eq!(world.ledger.unapplied(None, 10).await.unwrap(), []);
    let creation = request("young", None, Wanted::Create(world.creation(10)));
    new(submit(&world, creation).await);
    let change = new(submit(&world, grant_request("acme", pack("pack-1", 1))).await);
    let both = [account_id("acme"), account_id("young")];
    assert_eq!(world.ledger.unapplied(None, 10).await.unwrap(), both);
    let first = world.ledger.unapplied(None, 1).await.unwrap();
    assert_eq!(first, both[..1]);
    let next = world.ledger.unapplied(first.last(), 10).await.unwrap();
    assert_eq!(next, both[1..]);
    let none = world.ledger.unapplied(next.last(), 10).await.unwrap();
    assert_eq!(none, []);
    // It is there before it is applied, and is nobody's work but the applier's.
    let young = world
        .ledger
        .account(&account_id("young"), world.now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((young.sequence, young.head.applied_change), (0, 0));
    assert_eq!(
        young,
        world.creation(10).blank_account(&account_id("young"))
    );
    world.apply(&change);
    world.flush().await;
    assert_eq!(world.ledger.unapplied(None, 10).await.unwrap(), both[1..]);
}

pub async fn a_refund_of_more_than_the_last_price_adds_up(backend: Box<dyn Backend>) {
    let mut world = World::with_acme(backend.ledger()).await;
    for (reservation, refunded) in [("r1", 40), ("r2", 30)] {
        world.reserve("acme", reservation, 60);
        world.commit("acme", reservation, 40, true);
        world.flush().await;
        world
            .change("acme", Some(reservation), refund(reservation, refunded))
            .await;
        world.commit("acme", reservation, 5, false);
        world.check().await;
        assert_eq!(world.available("acme"), 500, "{reservation}");
    }
}
