//! AdminService: every method, and each change a second time.

use std::{collections::HashMap, time::Duration};

use tollgate::{
    domain::{account::Status, ids::AccountId, timestamp::Timestamp},
    ledger::{ChangeRequest, Wanted},
    pb::{self, grant_credits_request::Amount as Given},
};
use tonic::Code;

use super::world::{
    START_S, World, action, at, commit, create, metadata, reason, reserve, violations,
};

fn grant(id: &str, kind: pb::GrantKind, amount: Given) -> pb::GrantCreditsRequest {
    pb::GrantCreditsRequest {
        account_id: "acme".to_owned(),
        grant_id: id.to_owned(),
        kind: kind.into(),
        amount: Some(amount),
        ..pb::GrantCreditsRequest::default()
    }
}

fn refund(id: &str, reservation_id: &str, credits: u64) -> pb::RefundRequest {
    pb::RefundRequest {
        account_id: "acme".to_owned(),
        refund_id: id.to_owned(),
        reservation_id: reservation_id.to_owned(),
        credits,
        reason: "it was our fault".to_owned(),
        actor: "support@platform".to_owned(),
    }
}

fn of_account(account_id: &str) -> pb::ListEntriesRequest {
    pb::ListEntriesRequest {
        account_id: account_id.to_owned(),
        ..pb::ListEntriesRequest::default()
    }
}

#[tokio::test]
async fn an_account_is_made_once_and_shown() {
    let mut world = World::new().await;
    let request = pb::CreateAccountRequest {
        subscribed_at: at(-86_400),
        overage_policy: pb::OveragePolicy::Absorb.into(),
        ..create("acme")
    };
    let made = world
        .admin
        .create_account(request.clone())
        .await
        .unwrap()
        .into_inner();
    let account = made.account.unwrap();
    assert_eq!(
        (account.status(), account.overage_policy()),
        (pb::AccountStatus::Active, pb::OveragePolicy::Absorb,)
    );
    assert_eq!(
        (account.subscribed_at, account.cycle_start),
        (at(-86_400), at(-86_400))
    );
    assert_eq!(
        account.balance.as_ref().unwrap().renews_at,
        account.cycle_end
    );
    assert_eq!(account.grants[0].source, "starter");
    assert_eq!(account.grants[0].kind(), pb::GrantKind::Plan);
    let again = world
        .admin
        .create_account(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.account.unwrap().grants, account.grants);
    let other = pb::CreateAccountRequest {
        plan_id: "pro".to_owned(),
        ..create("acme")
    };
    let conflict = world.admin.create_account(other).await.unwrap_err();
    assert_eq!(
        (conflict.code(), metadata(&conflict, "field")),
        (Code::AlreadyExists, "plan_id".to_owned(),)
    );
    let request = pb::GetAccountRequest {
        account_id: "acme".to_owned(),
    };
    let found = world.admin.get_account(request).await.unwrap().into_inner();
    assert_eq!(found.account.unwrap().grants, account.grants);
    let request = pb::GetAccountRequest {
        account_id: "nobody".to_owned(),
    };
    let missing = world.admin.get_account(request).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "ACCOUNT_NOT_FOUND")
    );
}

#[tokio::test]
async fn accounts_are_listed_page_by_page() {
    let mut world = World::new().await;
    for number in 0..5 {
        world.account(&format!("a{number}")).await;
    }
    world.reserve("a1", "r1", 60).await;
    let mut pages = Vec::new();
    let mut request = pb::ListAccountsRequest {
        page_size: 2,
        page_token: String::new(),
    };
    for _ in 0..3 {
        let page = world
            .admin
            .list_accounts(request.clone())
            .await
            .unwrap()
            .into_inner();
        request.page_token = page.next_page_token;
        pages.push(page.accounts);
    }
    assert_eq!(request.page_token, "");
    // As the hot store has them, holds included.
    assert_eq!(pages[0][1].balance.as_ref().unwrap().held, 60);
    let ids: Vec<String> = pages
        .into_iter()
        .flatten()
        .map(|one| one.account_id)
        .collect();
    assert_eq!(ids, ["a0", "a1", "a2", "a3", "a4"]);
}

#[tokio::test]
async fn an_account_is_suspended_closed_and_activated() {
    let mut world = World::new().await;
    world.account("acme").await;
    let set = |status: pb::AccountStatus| pb::SetAccountStatusRequest {
        account_id: "acme".to_owned(),
        status: status.into(),
        reason: "unpaid".to_owned(),
    };
    let suspended = set(pb::AccountStatus::Suspended);
    let done = world
        .admin
        .set_account_status(suspended.clone())
        .await
        .unwrap()
        .into_inner();
    let account = done.account.unwrap();
    assert_eq!(account.status(), pb::AccountStatus::Suspended);
    // The status that it has already: nothing changes.
    let again = world
        .admin
        .set_account_status(suspended)
        .await
        .unwrap()
        .into_inner();
    let sequence = account.balance.unwrap().sequence;
    assert_eq!(again.account.unwrap().balance.unwrap().sequence, sequence);
    let answer = world
        .quota
        .reserve(reserve("acme", "r1", 1))
        .await
        .unwrap()
        .into_inner();
    let Some(pb::reserve_response::Result::Denial(denial)) = answer.result else {
        panic!("{answer:?}")
    };
    assert_eq!(denial.reason(), pb::DenialReason::AccountSuspended);
    assert!(denial.remedies.is_empty());
    for status in [pb::AccountStatus::Active, pb::AccountStatus::Closed] {
        let done = world
            .admin
            .set_account_status(set(status))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(done.account.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_status_comes_after_what_the_ledger_had_taken_before() {
    let mut world = World::new().await;
    world.account("acme").await;
    // Of a call that got no further than the ledger.
    let lost = ChangeRequest {
        account_id: AccountId::new("acme").unwrap(),
        key: None,
        payload: Vec::new(),
        wanted: Wanted::SetStatus {
            status: Status::Suspended,
            reason: "fraud".to_owned(),
        },
        call: None,
    };
    let now = Timestamp::from_millis(START_S * 1000);
    world.ledger.submit(&lost, now).await.unwrap();
    let wanted = pb::SetAccountStatusRequest {
        account_id: "acme".to_owned(),
        status: pb::AccountStatus::Active.into(),
        reason: "cleared".to_owned(),
    };
    let answer = world.admin.set_account_status(wanted).await.unwrap();
    let account = answer.into_inner().account.unwrap();
    assert_eq!(account.status(), pb::AccountStatus::Active);
    // Every change applies those before it.
    let gift = grant("g1", pb::GrantKind::Promo, Given::Credits(10));
    world.admin.grant_credits(gift).await.unwrap();
    let request = pb::GetAccountRequest {
        account_id: "acme".to_owned(),
    };
    let answer = world.admin.get_account(request).await.unwrap();
    let account = answer.into_inner().account.unwrap();
    assert_eq!(account.status(), pb::AccountStatus::Active);
}

#[tokio::test]
async fn an_upgrade_keeps_what_was_used() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.reserve("acme", "r1", 100).await;
    world.quota.commit(commit("acme", "r1", 100)).await.unwrap();
    let mut change = pb::ChangePlanRequest {
        account_id: "acme".to_owned(),
        change_id: "up".to_owned(),
        plan_id: "pro".to_owned(),
        at_renewal: None,
    };
    for _ in 0..2 {
        let done = world
            .admin
            .change_plan(change.clone())
            .await
            .unwrap()
            .into_inner();
        let account = done.account.unwrap();
        let balance = account.balance.unwrap();
        assert_eq!((balance.available, balance.plan_used), (4900, 100));
        assert_eq!(account.grants[0].source, "pro", "whose credits it has now");
    }
    change.at_renewal = Some(true);
    let conflict = world.admin.change_plan(change).await.unwrap_err();
    assert_eq!(metadata(&conflict, "field"), "at_renewal");
    let down = pb::ChangePlanRequest {
        account_id: "acme".to_owned(),
        change_id: "down".to_owned(),
        plan_id: "free".to_owned(),
        at_renewal: None,
    };
    let account = world
        .admin
        .change_plan(down)
        .await
        .unwrap()
        .into_inner()
        .account
        .unwrap();
    assert_eq!(
        (account.plan_id.as_str(), account.next_plan_id.as_str()),
        ("pro", "free")
    );
}

#[tokio::test]
async fn credits_are_granted_once_and_taken_back() {
    let mut world = World::new().await;
    world.account("acme").await;
    let pack = grant("p1", pb::GrantKind::Pack, Given::PackId("small".to_owned()));
    for _ in 0..2 {
        let done = world
            .admin
            .grant_credits(pack.clone())
            .await
            .unwrap()
            .into_inner();
        let made = done.grant.unwrap();
        assert_eq!(
            (made.amount, made.source.as_str(), made.expires_at),
            (500, "small", None)
        );
        assert_eq!(made.effective_at, at(0));
        assert_eq!(done.balance.unwrap().pack_remaining, 500);
    }
    let promo = pb::GrantCreditsRequest {
        expires_at: at(3600),
        priority: Some(5),
        reason: "welcome".to_owned(),
        ..grant("w1", pb::GrantKind::Promo, Given::Credits(10))
    };
    let made = world
        .admin
        .grant_credits(promo.clone())
        .await
        .unwrap()
        .into_inner()
        .grant
        .unwrap();
    assert_eq!(
        (made.priority, made.source.as_str(), made.expires_at),
        (5, "welcome", at(3600))
    );
    let conflict = grant("p1", pb::GrantKind::Promo, Given::Credits(500));
    let conflict = world.admin.grant_credits(conflict).await.unwrap_err();
    assert_eq!(metadata(&conflict, "field"), "kind");

    let void = pb::VoidGrantRequest {
        account_id: "acme".to_owned(),
        grant_id: "p1".to_owned(),
        reason: "charged back".to_owned(),
    };
    for _ in 0..2 {
        let done = world
            .admin
            .void_grant(void.clone())
            .await
            .unwrap()
            .into_inner();
        let gone = done.grant.unwrap();
        assert_eq!((gone.expired, gone.voided_at), (500, at(0)));
        assert_eq!(done.balance.unwrap().pack_remaining, 10);
    }
    let unknown = pb::VoidGrantRequest {
        grant_id: "p2".to_owned(),
        ..void
    };
    let unknown = world.admin.void_grant(unknown).await.unwrap_err();
    assert_eq!(
        (unknown.code(), reason(&unknown).as_str()),
        (Code::NotFound, "GRANT_NOT_FOUND")
    );

    // The answer was lost, and the promotion is over: it was given all the same.
    world.clock.advance(Duration::from_secs(7200));
    let again = world.admin.grant_credits(promo.clone()).await;
    let again = again.unwrap().into_inner().grant.unwrap();
    assert_eq!((again.grant_id.as_str(), again.amount), ("w1", 10));
    // Another one would come too late.
    for late in [
        pb::GrantCreditsRequest {
            grant_id: "w2".to_owned(),
            ..promo.clone()
        },
        pb::GrantCreditsRequest {
            reason: "once more".to_owned(),
            ..promo
        },
    ] {
        let late = world.admin.grant_credits(late).await.unwrap_err();
        assert_eq!(super::world::violations(&late)[0].0, "expires_at");
    }
}

async fn settled(world: &mut World, id: &str, conversation_id: &str, credits: u64) {
    let mut request = reserve("acme", id, credits);
    request.action.as_mut().unwrap().conversation_id = conversation_id.to_owned();
    world.quota.reserve(request).await.unwrap();
    world
        .quota
        .commit(commit("acme", id, credits))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dispute_is_looked_up_and_refunded() {
    let mut world = World::new().await;
    world.account("acme").await;
    settled(&mut world, "r1", "c1", 100).await;
    settled(&mut world, "r2", "c1", 30).await;
    let build = pb::ChargeRequest {
        account_id: "acme".to_owned(),
        charge_id: "b1".to_owned(),
        action: action("build", "").map(|mut action| {
            action.conversation_id = "c1".to_owned();
            action
        }),
        amount: Some(pb::charge_request::Amount::Usage(pb::Usage {
            build_seconds: 50,
            custom: HashMap::new(),
            ..pb::Usage::default()
        })),
        force: false,
    };
    world.quota.charge(build).await.unwrap();
    let mut first = None;
    for _ in 0..2 {
        let done = world
            .admin
            .refund(refund("f1", "r1", 40))
            .await
            .unwrap()
            .into_inner();
        let entry = done.entry.unwrap();
        assert_eq!((entry.kind(), entry.credits), (pb::EntryKind::Refund, 40));
        assert_eq!(
            (entry.reason.as_str(), entry.actor.as_str()),
            ("it was our fault", "support@platform",)
        );
        assert_eq!(done.balance.unwrap().available, 500 - 100 - 30 - 10 + 40);
        assert_eq!(*first.get_or_insert(entry.clone()), entry);
    }
    let rest = world
        .admin
        .refund(refund("f2", "r1", 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(rest.entry.unwrap().credits, 60);
    let more = world.admin.refund(refund("f3", "r1", 1)).await.unwrap_err();
    assert_eq!(
        (more.code(), reason(&more).as_str()),
        (Code::FailedPrecondition, "REFUND_TOO_MUCH")
    );
    assert_eq!(metadata(&more, "refundable"), "0");
    let nothing = world.admin.refund(refund("f4", "r9", 1)).await.unwrap_err();
    assert_eq!(reason(&nothing), "NOTHING_SETTLED");

    let get = |id: &str| pb::GetConversationRequest {
        conversation_id: id.to_owned(),
        ..Default::default()
    };
    let found = world
        .admin
        .get_conversation(get("c1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((found.credits, found.refunded), (140, 100));
    assert_eq!(found.usage.as_ref().unwrap().build_seconds, 50);
    let kinds: Vec<pb::EntryKind> = found.entries.iter().map(pb::Entry::kind).collect();
    assert_eq!(kinds[..3], [pb::EntryKind::Usage; 3]);
    assert_eq!(kinds[3..], [pb::EntryKind::Refund; 2]);
    let receipt = found.entries[0].receipt.as_ref().unwrap();
    assert_eq!(
        (receipt.credits, receipt.reservation_id.as_str()),
        (100, "r1")
    );
    pages(&mut world, &found).await;
    let missing = world.admin.get_conversation(get("c2")).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "CONVERSATION_NOT_FOUND",)
    );
    let text = world.metrics.render().unwrap();
    assert!(
        text.contains(r#"tollgate_credits_total{kind="refunded"} 100"#),
        "{text}"
    );
}

#[tokio::test]
async fn the_ledger_is_listed_newest_first() {
    let mut world = World::new().await;
    world.account("acme").await;
    for number in 0..4 {
        settled(&mut world, &format!("r{number}"), "c1", 10).await;
    }
    let mut request = pb::ListEntriesRequest {
        page_size: 2,
        ..of_account("acme")
    };
    let mut sequences = Vec::new();
    loop {
        let page = world
            .admin
            .list_entries(request.clone())
            .await
            .unwrap()
            .into_inner();
        sequences.extend(page.entries.iter().map(|entry| entry.sequence));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sequences, [5, 4, 3, 2, 1]);
    let first = pb::ListEntriesRequest {
        page_size: 2,
        ..of_account("acme")
    };
    let page = world.admin.list_entries(first).await.unwrap().into_inner();
    // Of another list: refused, not answered with something else.
    let stray = pb::ListEntriesRequest {
        page_token: page.next_page_token,
        ..of_account("other")
    };
    let refused = world.admin.list_entries(stray).await.unwrap_err();
    assert_eq!(super::world::violations(&refused)[0].0, "page_token");

    let one = pb::ListEntriesRequest {
        reservation_id: "r2".to_owned(),
        kinds: vec![pb::EntryKind::Usage.into()],
        from: at(0),
        until: at(1),
        ..pb::ListEntriesRequest::default()
    };
    let found = world.admin.list_entries(one).await.unwrap().into_inner();
    let entry = &found.entries[0];
    assert_eq!(
        (found.entries.len(), entry.reservation_id.as_str()),
        (1, "r2")
    );
    assert_eq!((entry.credits, entry.available_after), (-10, 470));
    assert_eq!(
        (entry.outcome(), entry.occurred_at),
        (pb::Outcome::Succeeded, at(0))
    );
    assert!(entry.recorded_at.is_some() && entry.usage.is_none());
    // No account, and one without entries in a time, are told apart.
    let unknown = world.admin.list_entries(of_account("acne")).await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(metadata(&unknown, "account_id"), "acne");
    let later = pb::ListEntriesRequest {
        from: at(1),
        ..of_account("acme")
    };
    assert!(
        world
            .admin
            .list_entries(later)
            .await
            .unwrap()
            .into_inner()
            .entries
            .is_empty()
    );
}

#[tokio::test]
async fn the_catalogue_is_shown_as_it_was_written() {
    let mut world = World::new().await;
    let found = world
        .admin
        .get_catalog(pb::GetCatalogRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.rate_card_version, "default-1");
    assert_eq!((found.plans.len(), found.packs[0].credits), (3, 500));
    assert!(found.rate_card_yaml.contains("claude-haiku*"));
}

/// However long its pages are, a conversation has the same sums and entries.
async fn pages(world: &mut World, whole: &pb::GetConversationResponse) {
    for page_size in [1, 2, 1001] {
        let mut request = pb::GetConversationRequest {
            conversation_id: "c1".to_owned(),
            page_size,
            page_token: String::new(),
        };
        let mut entries = Vec::new();
        loop {
            let page = world.admin.get_conversation(request.clone()).await;
            let page = page.unwrap().into_inner();
            assert_eq!(
                (page.credits, page.refunded, page.usage),
                (whole.credits, whole.refunded, whole.usage.clone())
            );
            assert!(page.entries.len() <= page_size as usize);
            entries.extend(page.entries);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
            let other = pb::GetConversationRequest {
                conversation_id: "c2".to_owned(),
                ..request.clone()
            };
            let refused = world.admin.get_conversation(other).await.unwrap_err();
            assert_eq!(violations(&refused)[0].0, "page_token");
        }
        assert_eq!(entries, whole.entries);
    }
}
