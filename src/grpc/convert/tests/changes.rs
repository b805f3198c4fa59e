//! AdminService's requests that change something.

use super::*;

fn grant_request() -> pb::GrantCreditsRequest {
    pb::GrantCreditsRequest {
        account_id: "acme".to_owned(),
        grant_id: "g1".to_owned(),
        kind: pb::GrantKind::Promo.into(),
        amount: Some(pb::grant_credits_request::Amount::Credits(10)),
        reason: "sorry".to_owned(),
        ..pb::GrantCreditsRequest::default()
    }
}

fn grant(change: impl FnOnce(&mut pb::GrantCreditsRequest)) -> Vec<(String, String)> {
    let mut request = grant_request();
    change(&mut request);
    violations(admin::grant(request, &catalogs::builtin(), NOW))
}

#[test]
fn each_wrong_field_of_a_grant_is_named() {
    use pb::grant_credits_request::Amount::{Credits, PackId};
    let pack = i32::from(pb::GrantKind::Pack);
    check(
        &grant(|g| g.kind = pb::GrantKind::Plan.into()),
        "kind",
        "GRANT_KIND_PACK (2)",
    );
    check(&grant(|g| g.kind = 0), "kind", "GRANT_KIND_PROMO (3)");
    check(&grant(|g| g.kind = 99), "kind", "99 is not accepted");
    check(
        &grant(|g| g.grant_id = "plan:3".into()),
        "grant_id",
        "system's own",
    );
    check(
        &grant(|g| g.grant_id = "refund:3".into()),
        "grant_id",
        "system's own",
    );
    check(
        &grant(|g| g.amount = Some(Credits(0))),
        "credits",
        "1 to 9007199254740991",
    );
    check(&grant(|g| g.amount = None), "credits", "is missing");
    check(
        &grant(|g| g.amount = Some(PackId("small".into()))),
        "pack_id",
        "GRANT_KIND_PACK only",
    );
    check(
        &grant(|g| g.kind = pack),
        "credits",
        "one of small, medium, large",
    );
    let unknown = grant(|g| (g.kind, g.amount) = (pack, Some(PackId("tiny".into()))));
    check(&unknown, "pack_id", "one of small, medium, large");
    let expiring = grant(|g| {
        (g.kind, g.amount) = (pack, Some(PackId("small".into())));
        g.expires_at = at(60);
    });
    check(&expiring, "expires_at", "never expires");
    check(
        &grant(|g| g.expires_at = at(0)),
        "expires_at",
        "2026-05-16T10:00:00Z",
    );
    check(
        &grant(|g| (g.effective_at, g.expires_at) = (at(60), at(60))),
        "expires_at",
        "after",
    );
    let wrong = Some(ProtoTimestamp {
        seconds: 0,
        nanos: -1,
    });
    check(
        &grant(|g| g.effective_at = wrong),
        "effective_at",
        "2000-01-01T00:00:00Z to",
    );
}

#[test]
fn a_pack_is_granted_as_the_catalogue_has_it() {
    let request = pb::GrantCreditsRequest {
        kind: pb::GrantKind::Pack.into(),
        amount: Some(pb::grant_credits_request::Amount::PackId(
            "small".to_owned(),
        )),
        ..grant_request()
    };
    let change = admin::grant(request, &catalogs::builtin(), NOW).unwrap();
    assert_eq!(change.key.as_deref(), Some("grant:g1"));
    let names: Vec<&str> = change
        .payload
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let all = [
        "kind",
        "pack_id",
        "credits",
        "effective_at",
        "expires_at",
        "priority",
        "reason",
    ];
    assert_eq!(names, all);
    let Wanted::Grant { grant, .. } = change.wanted else {
        panic!("no grant")
    };
    assert_eq!(
        (grant.kind, grant.amount, grant.source.as_str()),
        (GrantKind::Pack, 500, "small")
    );
    assert_eq!(
        (grant.effective_at, grant.expires_at, grant.priority),
        (NOW, None, 100)
    );
}

#[test]
fn accounts_and_changes_are_checked() {
    let catalog = catalogs::builtin();
    let request = pb::CreateAccountRequest {
        plan_id: "gold".to_owned(),
        subscribed_at: at(367 * 86_400),
        overage_policy: 9,
        ..pb::CreateAccountRequest::default()
    };
    let found = violations(admin::create(request, &catalog, NOW));
    let names: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        names,
        ["account_id", "plan_id", "subscribed_at", "overage_policy"]
    );
    assert!(
        found[1].1.contains("one of free, starter, pro"),
        "{found:?}"
    );
    let status = pb::SetAccountStatusRequest {
        account_id: "acme".to_owned(),
        ..pb::SetAccountStatusRequest::default()
    };
    check(
        &violations(admin::set_status(status)),
        "status",
        "ACCOUNT_STATUS_ACTIVE (1)",
    );
    let found = fields(admin::change_plan(
        &pb::ChangePlanRequest::default(),
        &catalog,
    ));
    assert_eq!(found, ["account_id", "change_id", "plan_id"]);
    let found = fields(admin::void(pb::VoidGrantRequest::default()));
    assert_eq!(found, ["account_id", "grant_id"]);
    let refund = pb::RefundRequest {
        credits: u64::MAX,
        ..pb::RefundRequest::default()
    };
    let found = fields(admin::refund(refund));
    assert_eq!(
        found,
        ["account_id", "refund_id", "reservation_id", "credits"]
    );
}
