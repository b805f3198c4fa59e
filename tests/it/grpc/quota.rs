//! QuotaService: every method, over TCP and the Unix socket, with what its fields mean.

use prost_types::Duration;
use tollgate::pb::{
    self, commit_request::Amount as Used, quota_service_client::QuotaServiceClient, remedy::Remedy,
    reserve_request::Amount as Asked,
};
use tonic::Code;

use super::world::{World, action, at, channel, commit, metadata, reason, reserve};

/// PRODUCT.md's worked example.
fn example() -> pb::Usage {
    pb::Usage {
        input_tokens: 12_400,
        cached_input_tokens: 30_000,
        output_tokens: 1_850,
        tool_calls: 7,
        file_operations: 9,
        ..pb::Usage::default()
    }
}

fn granted(answer: pb::ReserveResponse) -> pb::Reservation {
    match answer.result.unwrap() {
        pb::reserve_response::Result::Reservation(reservation) => reservation,
        pb::reserve_response::Result::Denial(denial) => panic!("{denial:?}"),
    }
}

fn denied(answer: pb::ReserveResponse) -> pb::Denial {
    match answer.result.unwrap() {
        pb::reserve_response::Result::Denial(denial) => denial,
        pb::reserve_response::Result::Reservation(reservation) => panic!("{reservation:?}"),
    }
}

#[tokio::test]
async fn a_quote_shows_how_the_price_came_about() {
    let mut world = World::new().await;
    let request = pb::QuoteRequest {
        action: action("agent", "claude-sonnet-4-5"),
        estimate: Some(example()),
    };
    let price = world
        .quota
        .quote(request)
        .await
        .unwrap()
        .into_inner()
        .price
        .unwrap();
    assert_eq!(price.credits, 18);
    assert_eq!(
        (price.tier.as_str(), price.rate_card_version.as_str()),
        ("standard", "default-1")
    );
    assert_eq!(
        (price.subtotal.as_str(), price.multiplier.as_str()),
        ("11.71", "1.5")
    );
    assert_eq!(price.exact, "17.565");
    let items: Vec<(&str, u64, &str, &str)> = price
        .items
        .iter()
        .map(|item| {
            (
                item.meter.as_str(),
                item.quantity,
                item.rate.as_str(),
                item.amount.as_str(),
            )
        })
        .collect();
    assert_eq!(items[0], ("input_tokens", 12_400, "0.0004", "4.96"));
    assert_eq!(items.len(), 5);
}

#[tokio::test]
async fn a_hold_is_made_extended_committed_and_explained() {
    let mut world = World::new().await;
    world.account("acme").await;
    let request = pb::ReserveRequest {
        action: Some(pb::Action {
            mode: "agent".to_owned(),
            model: "claude-sonnet-4-5".to_owned(),
            conversation_id: "c1".to_owned(),
            labels: [("team".to_owned(), "red".to_owned())].into(),
        }),
        amount: Some(Asked::Estimate(example())),
        ttl: Some(Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..reserve("acme", "r1", 0)
    };
    let first = world
        .quota
        .reserve(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(!first.replayed && !first.degraded);
    assert_eq!(first.balance.as_ref().unwrap().available, 482);
    let hold = granted(first);
    assert_eq!(
        (hold.held, hold.charged, hold.state()),
        (18, 0, pb::ReservationState::Open)
    );
    assert_eq!(
        (hold.account_id.as_str(), hold.reservation_id.as_str()),
        ("acme", "r1")
    );
    assert_eq!(hold.action, request.action);
    assert_eq!(hold.expires_at, at(60));
    assert_eq!(hold.rate_card_version, "default-1");
    // 18 credits pay for 18 / 1.5 = 12 before the multiplier; 7.01 go to the rest.
    let rest = 4.96 + 1.2 + 1.4 + 0.45;
    assert_eq!(hold.max_output_tokens, Some(((12.0 - rest) / 0.002) as u64));
    let again = world.quota.reserve(request).await.unwrap().into_inner();
    assert!(again.replayed);

    let extend = pb::ExtendRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        extension_id: "e1".to_owned(),
        add_credits: 2,
        ttl: Some(Duration {
            seconds: 120,
            nanos: 0,
        }),
    };
    let extended = world.quota.extend(extend).await.unwrap().into_inner();
    let Some(pb::extend_response::Result::Reservation(hold)) = extended.result else {
        panic!("{extended:?}")
    };
    assert_eq!((hold.held, hold.expires_at), (20, at(120)));

    let request = pb::CommitRequest {
        amount: Some(Used::Usage(example())),
        outcome: pb::Outcome::Succeeded.into(),
        ..commit("acme", "r1", 0)
    };
    let done = world
        .quota
        .commit(request.clone())
        .await
        .unwrap()
        .into_inner();
    let receipt = done.receipt.as_ref().unwrap();
    assert_eq!(
        (receipt.credits, receipt.returned, receipt.overage),
        (18, 2, 0)
    );
    assert_eq!(receipt.price.as_ref().unwrap().exact, "17.565");
    assert_eq!(
        receipt.draws,
        [pb::GrantDraw {
            grant_id: "plan:0".to_owned(),
            credits: 18
        }]
    );
    assert_eq!(
        (receipt.reservation_id.as_str(), receipt.late),
        ("r1", false)
    );
    assert_eq!(
        done.reservation.as_ref().unwrap().state(),
        pb::ReservationState::Committed
    );
    let balance = done.balance.as_ref().unwrap();
    assert_eq!(
        (balance.available, balance.held, balance.plan_used),
        (482, 0, 18)
    );
    assert!(!done.replayed && !done.buffered && done.next_hold_denial.is_none());
    let again = world.quota.commit(request).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(again.receipt, done.receipt);

    let get = pb::GetReservationRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
    };
    let found = world.quota.get_reservation(get).await.unwrap().into_inner();
    assert_eq!(found.reservation.unwrap().charged, 18);
}

#[tokio::test]
async fn a_denial_is_an_answer_that_says_what_helps() {
    let mut world = World::new().await;
    world.account("acme").await;
    let answer = world
        .quota
        .reserve(reserve("acme", "r1", 700))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.balance.as_ref().unwrap().available, 500);
    let denial = denied(answer);
    assert_eq!(denial.reason(), pb::DenialReason::InsufficientCredits);
    assert_eq!((denial.required, denial.available), (700, 500));
    let remedies: Vec<Remedy> = denial
        .remedies
        .into_iter()
        .map(|one| one.remedy.unwrap())
        .collect();
    let pack = pb::remedy::BuyPack {
        pack_id: "small".to_owned(),
        credits: 500,
    };
    let plan = pb::remedy::UpgradePlan {
        plan_id: "pro".to_owned(),
        allowance: 5000,
    };
    assert_eq!(
        remedies[..2],
        [Remedy::BuyPack(pack), Remedy::UpgradePlan(plan)]
    );

    // Less will do, where the caller says so.
    let range = pb::ReserveRequest {
        min_credits: Some(100),
        ..reserve("acme", "r1", 700)
    };
    let hold = granted(world.quota.reserve(range).await.unwrap().into_inner());
    assert_eq!(hold.held, 500);
    let denial = denied(
        world
            .quota
            .reserve(reserve("acme", "r2", 1))
            .await
            .unwrap()
            .into_inner(),
    );
    assert_eq!(denial.reason(), pb::DenialReason::BalanceExhausted);

    let text = world.metrics.render().unwrap();
    for line in [
        r#"tollgate_decisions_total{mode="discuss",reason="none",result="reduced",rpc="Reserve",tier="none"} 1"#,
        r#"tollgate_decisions_total{mode="discuss",reason="balance_exhausted",result="denied",rpc="Reserve",tier="none"} 1"#,
        r#"tollgate_credits_total{kind="held"} 500"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_dry_run_holds_nothing_and_an_id_is_made_where_none_is_given() {
    let mut world = World::new().await;
    world.account("acme").await;
    let dry = pb::ReserveRequest {
        dry_run: true,
        ..reserve("acme", "", 60)
    };
    let hold = granted(world.quota.reserve(dry).await.unwrap().into_inner());
    assert_eq!(
        (hold.held, hold.state()),
        (60, pb::ReservationState::Unspecified)
    );
    assert_eq!(world.balance("acme").await.held, 0);
    let hold = world.reserve("acme", "", 60).await;
    assert_eq!(hold.reservation_id.len(), 26);
    assert_eq!(world.balance("acme").await.held, 60);
}

#[tokio::test]
async fn steps_are_committed_one_by_one_and_the_next_is_held() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.reserve("acme", "r1", 400).await;
    let step = pb::CommitRequest {
        keep_open: true,
        next_hold: 90,
        ..commit("acme", "r1", 410)
    };
    let done = world.quota.commit(step).await.unwrap().into_inner();
    let receipt = done.receipt.unwrap();
    assert_eq!((receipt.credits, receipt.overage), (410, 10));
    assert_eq!(done.reservation.unwrap().held, 90);
    let step = pb::CommitRequest {
        keep_open: true,
        next_hold: 200,
        ..commit("acme", "r1", 420)
    };
    let done = world.quota.commit(step).await.unwrap().into_inner();
    assert_eq!(done.receipt.unwrap().credits, 10);
    assert_eq!(done.next_hold_denial.unwrap().required, 200);
    // The end says less than the steps did: the difference is given back.
    let done = world
        .quota
        .commit(commit("acme", "r1", 400))
        .await
        .unwrap()
        .into_inner();
    let receipt = done.receipt.unwrap();
    assert_eq!((receipt.credits, receipt.corrected), (0, 20));
    assert_eq!(done.balance.unwrap().available, 100);
}

#[tokio::test]
async fn a_release_gives_back_and_a_charge_takes_at_once() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.reserve("acme", "r1", 60).await;
    let release = pb::ReleaseRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        reason: "cancelled".to_owned(),
    };
    let done = world
        .quota
        .release(release.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.returned, done.replayed), (60, false));
    assert_eq!(
        done.reservation.unwrap().state(),
        pb::ReservationState::Released
    );
    assert!(
        world
            .quota
            .release(release)
            .await
            .unwrap()
            .into_inner()
            .replayed
    );
    let late = world
        .quota
        .commit(commit("acme", "r1", 5))
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert_eq!(
        (reason(&late), metadata(&late, "state")),
        ("RESERVATION_NOT_OPEN".to_owned(), "released".to_owned(),)
    );

    let mut charge = pb::ChargeRequest {
        account_id: "acme".to_owned(),
        charge_id: "c1".to_owned(),
        action: action("build", ""),
        amount: Some(pb::charge_request::Amount::Credits(600)),
        force: false,
    };
    let done = world
        .quota
        .charge(charge.clone())
        .await
        .unwrap()
        .into_inner();
    let Some(pb::charge_response::Result::Denial(denial)) = done.result else {
        panic!("{done:?}")
    };
    assert_eq!(denial.required, 600);
    charge.force = true;
    let done = world.quota.charge(charge).await.unwrap().into_inner();
    let Some(pb::charge_response::Result::Receipt(receipt)) = done.result else {
        panic!("{done:?}")
    };
    assert_eq!((receipt.credits, receipt.debt_added), (600, 100));
    assert_eq!(receipt.reservation_id, "c1");
    let balance = world.balance("acme").await;
    assert_eq!((balance.available, balance.debt), (0, 100));
}

#[tokio::test]
async fn a_commit_after_the_deadline_counts_and_says_that_it_is_late() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.reserve("acme", "r1", 60).await;
    world.clock.advance(std::time::Duration::from_secs(601));
    let done = world
        .quota
        .commit(commit("acme", "r1", 45))
        .await
        .unwrap()
        .into_inner();
    let receipt = done.receipt.unwrap();
    assert_eq!(
        (receipt.credits, receipt.late, receipt.returned),
        (45, true, 0)
    );
    let text = world.metrics.render().unwrap();
    assert!(text.contains("tollgate_late_commits_total 1"), "{text}");
}

#[tokio::test]
async fn a_commit_of_what_nobody_knows_needs_to_say_what_it_was() {
    let mut world = World::new().await;
    world.account("acme").await;
    let usage = Some(Used::Usage(example()));
    let request = pb::CommitRequest {
        amount: usage,
        ..commit("acme", "lost", 0)
    };
    let refused = world.quota.commit(request.clone()).await.unwrap_err();
    assert_eq!(super::world::violations(&refused)[0].0, "action");
    let request = pb::CommitRequest {
        action: unreadable_action(),
        ..request
    };
    let refused = world.quota.commit(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(super::world::violations(&refused)[0].0, "action.labels");
    let request = pb::CommitRequest {
        action: action("agent", "claude-sonnet-4-5"),
        ..request
    };
    let done = world.quota.commit(request).await.unwrap().into_inner();
    let receipt = done.receipt.unwrap();
    assert!(receipt.late);
    assert_eq!(receipt.credits, 18);
}

/// An action with more labels than one may have.
fn unreadable_action() -> Option<pb::Action> {
    let labels = (0..17).map(|n| (format!("k{n}"), String::new()));
    Some(pb::Action {
        labels: labels.collect(),
        ..action("agent", "claude-sonnet-4-5").unwrap()
    })
}

#[tokio::test]
async fn a_commit_of_what_is_known_is_settled_whatever_its_action_says() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.reserve("acme", "r1", 60).await;
    let request = pb::CommitRequest {
        action: unreadable_action(),
        ..commit("acme", "r1", 45)
    };
    for is_again in [false, true] {
        let done = world.quota.commit(request.clone()).await.unwrap();
        let done = done.into_inner();
        assert_eq!(
            (done.receipt.unwrap().credits, done.replayed),
            (45, is_again)
        );
    }
}

#[tokio::test]
async fn an_id_that_is_used_again_is_an_error_that_names_the_field() {
    let mut world = World::new().await;
    world.account("acme").await;
    world.reserve("acme", "r1", 60).await;
    let other = world
        .quota
        .reserve(reserve("acme", "r1", 61))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert_eq!(
        (reason(&other), metadata(&other, "field")),
        ("ID_CONFLICT".to_owned(), "credits".to_owned(),)
    );
    let text = world.metrics.render().unwrap();
    assert!(
        text.contains(r#"tollgate_id_conflicts_total{rpc="Reserve"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn the_unix_socket_serves_the_same() {
    let mut world = World::new().await;
    world.account("acme").await;
    let address = format!("unix://{}", world.socket.display());
    let mut quota = QuotaServiceClient::new(channel(&address).await);
    let answer = quota
        .reserve(reserve("acme", "r1", 60))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(granted(answer).held, 60);
    assert_eq!(world.balance("acme").await.held, 60);
}
