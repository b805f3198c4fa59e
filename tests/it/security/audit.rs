//! The audit log, as calls leave it.

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tollgate::{
    config::{AdminConfig, GrpcConfig},
    pb,
};
use tonic::{Code, Request};

use super::{AccessFolder, principal};
use crate::grpc::{
    wire,
    world::{World, config, reason},
};

fn as_caller<T>(message: T, token: &str, request_id: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
    if !request_id.is_empty() {
        metadata.insert("x-request-id", request_id.parse().unwrap());
    }
    request
}

async fn listed(world: &mut World, ask: pb::ListAuditRequest, token: &str) -> Vec<pb::AuditEntry> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let ask = pb::ListAuditRequest {
            page_token,
            ..ask.clone()
        };
        let page = world.admin.list_audit(as_caller(ask, token, "")).await;
        let page = page.unwrap().into_inner();
        found.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn every_call_leaves_who_what_and_how_it_ended() {
    let (billing, bill) = principal("bill", "\"billing\"", "");
    let (support, sue) = principal("sue", "\"support\", \"viewer\"", "");
    let access = AccessFolder::new(&format!("{billing}{support}"));
    let admin = AdminConfig::default();
    let mut world = World::guarded(config(), &admin, access.security(), (true, true)).await;

    let create = crate::grpc::world::create("acme");
    world
        .admin
        .create_account(as_caller(create, &bill, "req-1"))
        .await
        .unwrap();
    let grant = pb::GrantCreditsRequest {
        account_id: "acme".to_owned(),
        grant_id: "g1".to_owned(),
        kind: pb::GrantKind::Pack.into(),
        amount: Some(pb::grant_credits_request::Amount::PackId(
            "small".to_owned(),
        )),
        ..Default::default()
    };
    for _ in 0..2 {
        let grant = as_caller(grant.clone(), &bill, "");
        world.admin.grant_credits(grant).await.unwrap();
    }
    let refund = pb::RefundRequest {
        account_id: "acme".to_owned(),
        refund_id: "r1".to_owned(),
        reservation_id: "none".to_owned(),
        reason: "x".to_owned(),
        actor: "kim".to_owned(),
        credits: 0,
    };
    let refused = world
        .admin
        .refund(as_caller(refund.clone(), &sue, ""))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "NOTHING_SETTLED");
    let kept_out = world
        .admin
        .refund(as_caller(refund, &bill, ""))
        .await
        .unwrap_err();
    assert_eq!(kept_out.code(), Code::PermissionDenied);

    // The last one is written without anybody waiting for it.
    let ask = pb::ListAuditRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut found = listed(&mut world, ask.clone(), &sue).await;
    while !found
        .iter()
        .any(|entry| entry.outcome == "PERMISSION_DENIED")
    {
        tokio::task::yield_now().await;
        found = listed(&mut world, ask.clone(), &sue).await;
    }
    found.retain(|entry| entry.method != "ListAudit");
    found.reverse();
    let shown: Vec<[&str; 6]> = found
        .iter()
        .map(|entry| {
            [
                entry.principal.as_str(),
                &entry.method,
                &entry.account_id,
                &entry.key,
                &entry.outcome,
                &entry.reason,
            ]
        })
        .collect();
    let expected = [
        ["bill", "CreateAccount", "acme", "acme", "OK", ""],
        ["bill", "GrantCredits", "acme", "g1", "OK", ""],
        ["bill", "GrantCredits", "acme", "g1", "OK", ""],
        [
            "sue",
            "Refund",
            "acme",
            "r1",
            "FAILED_PRECONDITION",
            "NOTHING_SETTLED",
        ],
        [
            "bill",
            "Refund",
            "",
            "",
            "PERMISSION_DENIED",
            "ROLE_MISSING",
        ],
    ];
    assert_eq!(shown, expected);
    assert_eq!(found[0].request_id, "req-1");
    assert!(found.iter().all(|entry| !entry.request_id.is_empty()));
    assert!(
        found
            .iter()
            .all(|entry| entry.peer.starts_with("tcp 127.0.0.1:"))
    );

    let of_sue = pb::ListAuditRequest {
        principal: "sue".to_owned(),
        method: "Refund".to_owned(),
        ..Default::default()
    };
    assert_eq!(listed(&mut world, of_sue, &sue).await.len(), 1);
    let nonsense = pb::ListAuditRequest {
        method: "Steal".to_owned(),
        page_token: "x".to_owned(),
        ..Default::default()
    };
    let error = world
        .admin
        .list_audit(as_caller(nonsense, &sue, ""))
        .await
        .unwrap_err();
    let fields: Vec<String> = crate::grpc::world::violations(&error)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["method", "page_token"]);
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let (viewer, token) = principal("viewer", "\"viewer\"", "");
    let access = AccessFolder::new(&viewer);
    let admin = AdminConfig::default();
    let mut world = World::guarded(config(), &admin, access.security(), (true, true)).await;
    for _ in 0..120 {
        let path = "/tollgate.v1.AdminService/GrantCredits";
        let answer = wire::call(&world.address, path, &[], vec![0; 5]).await;
        assert_eq!(wire::status(&answer).code(), Code::Unauthenticated);
    }
    let text = world.metrics.render().unwrap();
    for (audited, count) in [("yes", 100), ("no", 20)] {
        let line = format!("tollgate_admin_refusals_total{{audited=\"{audited}\"}} {count}");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let ask = pb::ListAuditRequest {
        method: "GrantCredits".to_owned(),
        ..Default::default()
    };
    // They are written in the background, in order: a call that is answered comes after them.
    let found = listed(&mut world, ask, &token).await;
    assert!(found.len() <= 100, "{}", found.len());
    assert!(found.iter().all(|entry| entry.principal.is_empty()));
    assert!(found.iter().all(|entry| entry.reason == "CALLER_UNKNOWN"));
}

#[tokio::test]
async fn a_call_that_is_no_message_or_one_too_many_has_its_line() {
    let (viewer, token) = principal("viewer", "\"billing\", \"viewer\"", "");
    let access = AccessFolder::new(&viewer);
    let admin = AdminConfig::default();
    let config = GrpcConfig {
        calls_max: 1,
        max_message_bytes: 1024,
        ..config()
    };
    let mut world = World::guarded(config, &admin, access.security(), (true, true)).await;
    let path = "/tollgate.v1.AdminService/CreateAccount";
    let bearer: &'static str = format!("Bearer {token}").leak();
    let headers = [("authorization", bearer)];
    let garbage = wire::framed(4, &[0xff; 4]);
    let large = wire::framed(2000, &[0; 2000]);
    for (body, expected) in [
        (garbage, Code::InvalidArgument),
        (large, Code::ResourceExhausted),
    ] {
        let answer = wire::call(&world.address, path, &headers, body).await;
        assert_eq!(wire::status(&answer).code(), expected);
    }
    // One that never sends its message takes the only place.
    let address = world.address.clone();
    let waits = tokio::spawn(async move { wire::call_without_end(&address, path, &headers).await });
    while world.metrics.calls_in_progress() == 0 {
        tokio::task::yield_now().await;
    }
    let mut late = world.admin.clone();
    let refused = async {
        let create = crate::grpc::world::create("acme");
        late.create_account(as_caller(create, &token, "req-9"))
            .await
    };
    assert_eq!(reason(&refused.await.unwrap_err()), "TOO_MANY_CALLS");
    waits.abort();

    let ask = pb::ListAuditRequest {
        method: "CreateAccount".to_owned(),
        ..Default::default()
    };
    // Its place is free once the server has seen that it is gone, and nobody waits for these lines.
    let found = loop {
        match world
            .admin
            .list_audit(as_caller(ask.clone(), &token, ""))
            .await
        {
            Ok(page) if page.get_ref().entries.len() >= 3 => break page.into_inner().entries,
            Ok(_) => {}
            Err(status) => assert_eq!(reason(&status), "TOO_MANY_CALLS"),
        }
        tokio::task::yield_now().await;
    };
    // The one that was given up may have been seen to end in the middle of its message.
    let oldest: Vec<_> = found.iter().rev().take(3).collect();
    let shown: Vec<[&str; 3]> = oldest
        .iter()
        .map(|entry| [&*entry.principal, &*entry.outcome, &*entry.reason])
        .collect();
    let expected = [
        ["viewer", "INVALID_ARGUMENT", "NOT_A_MESSAGE"],
        ["viewer", "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE"],
        ["viewer", "RESOURCE_EXHAUSTED", "TOO_MANY_CALLS"],
    ];
    assert_eq!(shown, expected);
    assert_eq!(oldest[2].request_id, "req-9");
}

#[tokio::test]
async fn a_call_without_a_line_is_not_answered() {
    let mut world = World::new().await;
    world.account("acme").await;
    let options = SqliteConnectOptions::new().filename(world.folder().join("ledger.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("ALTER TABLE admin_calls RENAME TO away")
        .execute(&mut connection)
        .await
        .unwrap();
    let ask = || pb::GetAccountRequest {
        account_id: "acme".to_owned(),
    };
    let error = world.admin.get_account(ask()).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Unavailable, "STORE_UNAVAILABLE")
    );
    // Nor is a change made whose line can't be.
    let suspend = || pb::SetAccountStatusRequest {
        account_id: "acme".to_owned(),
        status: pb::AccountStatus::Suspended.into(),
        reason: "review".to_owned(),
    };
    let error = world.admin.set_account_status(suspend()).await;
    assert_eq!(reason(&error.unwrap_err()), "STORE_UNAVAILABLE");
    // The hot path has nothing to do with it.
    world.balance("acme").await;
    sqlx::raw_sql("ALTER TABLE away RENAME TO admin_calls")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let found = world.admin.get_account(ask()).await.unwrap().into_inner();
    let status = found.account.unwrap().status();
    assert_eq!(status, pb::AccountStatus::Active);
    world.admin.set_account_status(suspend()).await.unwrap();
}
