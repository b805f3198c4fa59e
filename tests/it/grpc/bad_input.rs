//! What the wire can bring that is wrong: each gets a clear error with the field and what would
//! be accepted, and nothing changes. What the single fields accept is tested beside the parser.

use std::collections::HashMap;

use tollgate::pb::{self, reserve_request::Amount as Asked};
use tonic::{Code, Status};

use super::world::{World, action, commit, metadata, reason, reserve, violations};

async fn refused(world: &mut World, request: pb::ReserveRequest) -> Status {
    world.quota.reserve(request).await.unwrap_err()
}

#[tokio::test]
async fn every_violation_comes_with_its_field_and_nothing_changes() {
    let mut world = World::new().await;
    world.account("acme").await;
    let before = world.balance("acme").await;
    let labels = (0..17).map(|n| (format!("k{n}"), String::new())).collect();
    let request = pb::ReserveRequest {
        account_id: "a b".to_owned(),
        reservation_id: "x".repeat(129),
        action: Some(pb::Action {
            mode: "agent".to_owned(),
            labels,
            ..pb::Action::default()
        }),
        amount: Some(Asked::Credits(1 << 53)),
        ttl: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        ..pb::ReserveRequest::default()
    };
    let status = refused(&mut world, request).await;
    let fields: Vec<String> = violations(&status)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    let all = [
        "account_id",
        "reservation_id",
        "action.labels",
        "credits",
        "ttl",
    ];
    assert_eq!(fields, all);
    assert!(
        status.message().starts_with("account_id: has ' '"),
        "{status:?}"
    );
    assert_eq!(world.balance("acme").await, before);
}

#[tokio::test]
async fn unknown_names_are_answered_with_the_known_ones() {
    let mut world = World::new().await;
    world.account("acme").await;
    let mode = pb::ReserveRequest {
        action: action("chat", ""),
        ..reserve("acme", "r1", 1)
    };
    let found = violations(&refused(&mut world, mode).await);
    assert_eq!(found[0].0, "action.mode");
    assert!(
        found[0].1.contains("discuss, edit, agent, build"),
        "{found:?}"
    );
    let model = pb::ReserveRequest {
        action: action("edit", "llama"),
        ..reserve("acme", "r1", 1)
    };
    let found = violations(&refused(&mut world, model).await);
    assert_eq!(found[0].0, "action.model");
    assert!(found[0].1.contains("gemini-*flash*"), "{found:?}");
    let usage = pb::Usage {
        custom: HashMap::from([("gpu_seconds".to_owned(), 1)]),
        ..pb::Usage::default()
    };
    let meter = pb::ReserveRequest {
        amount: Some(Asked::Estimate(usage)),
        ..reserve("acme", "r1", 1)
    };
    let found = violations(&refused(&mut world, meter).await);
    assert_eq!(found[0].0, "estimate.custom[gpu_seconds]");
    assert!(found[0].1.contains("build_seconds"), "{found:?}");
    // Without a model tokens have no price.
    let usage = pb::Usage {
        input_tokens: 5,
        ..pb::Usage::default()
    };
    let tokens = pb::ReserveRequest {
        amount: Some(Asked::Estimate(usage)),
        ..reserve("acme", "r1", 1)
    };
    assert_eq!(
        violations(&refused(&mut world, tokens).await)[0].0,
        "estimate.input_tokens"
    );
    let nobody = refused(&mut world, reserve("nobody", "r1", 1)).await;
    assert_eq!(
        (nobody.code(), reason(&nobody).as_str()),
        (Code::NotFound, "ACCOUNT_NOT_FOUND")
    );
    assert_eq!(metadata(&nobody, "account_id"), "nobody");
    let request = pb::GetReservationRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r9".to_owned(),
    };
    let missing = world.quota.get_reservation(request).await.unwrap_err();
    assert_eq!(reason(&missing), "RESERVATION_NOT_FOUND");
}

#[tokio::test]
async fn debt_stays_in_the_range_that_every_store_keeps() {
    let mut world = World::new().await;
    world.account("acme").await;
    let most = (1 << 53) - 1;
    world
        .quota
        .commit(commit("acme", "x1", most))
        .await
        .unwrap();
    let status = world
        .quota
        .commit(commit("acme", "x2", most))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "AMOUNT_OUT_OF_RANGE",)
    );
}

#[tokio::test]
async fn a_message_of_ten_megabytes_is_refused_and_the_connection_lives() {
    let mut world = World::new().await;
    world.account("acme").await;
    let request = pb::ReleaseRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        reason: "x".repeat(10 << 20),
    };
    let status = world.quota.release(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE",)
    );
    assert_eq!(metadata(&status, "max_bytes"), "1048576");
    world.reserve("acme", "r1", 1).await;
}

#[tokio::test]
async fn a_service_of_another_role_is_not_served() {
    let config = super::world::config();
    let mut world = World::with(config, true, false).await;
    let status = world
        .admin
        .get_catalog(pb::GetCatalogRequest {})
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unimplemented, "METHOD_NOT_SERVED",)
    );
    assert!(
        status.message().contains("tollgate.v1.QuotaService"),
        "{status:?}"
    );
}
