//! Every field that can be wrong, named with what is accepted; and all of them at once.

use prost_types::{Duration, Timestamp as ProtoTimestamp};

use super::{Limits, action, admin, entry, fields::Problems, list, quota};
use crate::{
    catalogs,
    domain::{
        account::{AccountHead, OveragePolicy, PlanTerm, Status},
        credits::MAX_CREDITS,
        cycle::Cycle,
        entry::{Entry, EntryKind, Receipt, Settlement},
        grant::GrantKind,
        ids::{AccountId, PlanId, ReservationId},
        timestamp::Timestamp,
        usage::{Action, Amount, Outcome, Usage},
    },
    enforcer::error::EnforceError,
    ledger::{PageToken, Recorded, Wanted},
    pb,
};

const LIMITS: Limits = Limits {
    ttl_min_ms: 1000,
    ttl_max_ms: 60_000,
};
/// 2026-05-16T10:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_778_925_600_000);

fn at(offset_s: i64) -> Option<ProtoTimestamp> {
    Some(ProtoTimestamp {
        seconds: NOW.millis() / 1000 + offset_s,
        nanos: 0,
    })
}

fn action() -> pb::Action {
    pb::Action {
        mode: "agent".to_owned(),
        model: "claude-sonnet-4-5".to_owned(),
        ..pb::Action::default()
    }
}

fn reserve_request() -> pb::ReserveRequest {
    pb::ReserveRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        action: Some(action()),
        amount: Some(pb::reserve_request::Amount::Credits(60)),
        ..pb::ReserveRequest::default()
    }
}

fn violations<T>(result: Result<T, EnforceError>) -> Vec<(String, String)> {
    match result {
        Ok(_) => Vec::new(),
        Err(EnforceError::BadRequest(found)) => found
            .into_iter()
            .map(|one| (one.field, one.description))
            .collect(),
        Err(other) => panic!("{other:?}"),
    }
}

fn fields<T>(result: Result<T, EnforceError>) -> Vec<String> {
    violations(result)
        .into_iter()
        .map(|(field, _)| field)
        .collect()
}

fn reserve(change: impl FnOnce(&mut pb::ReserveRequest)) -> Vec<(String, String)> {
    let mut request = reserve_request();
    change(&mut request);
    let catalog = catalogs::builtin();
    violations(quota::reserve(request, &catalog.rate_card, &LIMITS))
}

/// Just one field is wrong, and the text says so.
fn check(found: &[(String, String)], field: &str, text: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, field);
    assert!(found[0].1.contains(text), "{found:?}");
}

#[test]
fn a_right_reserve_is_read_as_it_stands() {
    let catalog = catalogs::builtin();
    let mut request = reserve_request();
    request.ttl = Some(Duration {
        seconds: 1,
        nanos: 1,
    });
    request.min_credits = Some(60);
    let (read, labels) = quota::reserve(request, &catalog.rate_card, &LIMITS).unwrap();
    assert_eq!(read.ttl_ms, Some(1001), "rounded up");
    assert_eq!(read.min_credits.unwrap().get(), 60);
    assert_eq!((labels.mode, labels.tier), ("agent", "standard"));
}

#[test]
fn a_reserve_without_an_id_gets_one() {
    let catalog = catalogs::builtin();
    let made = || {
        let request = pb::ReserveRequest {
            reservation_id: String::new(),
            ..reserve_request()
        };
        quota::reserve(request, &catalog.rate_card, &LIMITS)
            .unwrap()
            .0
            .reservation_id
    };
    let (one, other) = (made(), made());
    assert_eq!(one.as_str().len(), 26);
    assert_ne!(one, other);
}

#[test]
fn each_wrong_field_of_a_reserve_is_named() {
    let long = "x".repeat(257);
    check(
        &reserve(|r| r.account_id.clear()),
        "account_id",
        "1 to 128 of",
    );
    check(
        &reserve(|r| r.account_id = "a b".into()),
        "account_id",
        "' '",
    );
    check(
        &reserve(|r| r.reservation_id = "x".repeat(129)),
        "reservation_id",
        "129 bytes",
    );
    check(
        &reserve(|r| r.action = None),
        "action",
        "discuss, edit, agent, build",
    );
    check(
        &reserve(|r| r.amount = None),
        "amount",
        "estimate or credits",
    );
    let amount = Some(pb::reserve_request::Amount::Credits(MAX_CREDITS + 1));
    check(
        &reserve(|r| r.amount = amount),
        "credits",
        "0 to 9007199254740991",
    );
    check(
        &reserve(|r| r.min_credits = Some(0)),
        "min_credits",
        "1 to 60",
    );
    check(
        &reserve(|r| r.min_credits = Some(61)),
        "min_credits",
        "1 to 60",
    );
    for ttl in [
        (0, 0),
        (0, 999_000_000),
        (60, 1),
        (-1, 0),
        (1, -1),
        (5, 1_000_000_000),
        (i64::MAX, 0),
    ] {
        let ttl = Some(Duration {
            seconds: ttl.0,
            nanos: ttl.1,
        });
        check(&reserve(|r| r.ttl = ttl), "ttl", "1s to 60s");
    }
    let act = |change: fn(&mut pb::Action, String)| {
        let long = long.clone();
        reserve(|r| change(r.action.as_mut().unwrap(), long))
    };
    check(
        &act(|a, _| a.mode = "chat".into()),
        "action.mode",
        "discuss, edit, agent, build",
    );
    check(
        &act(|a, _| a.model = "llama".into()),
        "action.model",
        "claude-haiku*",
    );
    check(&act(|a, long| a.mode = long), "action.mode", "at most 256");
    check(
        &act(|a, long| a.model = long),
        "action.model",
        "at most 256",
    );
    check(
        &act(|a, long| a.conversation_id = long),
        "action.conversation_id",
        "at most 256",
    );
    check(
        &act(|a, _| a.conversation_id = "\u{1b}[2J".into()),
        "action.conversation_id",
        "control",
    );
    let label = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        reserve(|r| drop(r.action.as_mut().unwrap().labels.insert(key, value)))
    };
    check(&label(&long, "v"), "action.labels", "key that is 257 bytes");
    check(&label("team", &long), "action.labels[team]", "at most 256");
    check(&label("", "v"), "action.labels", "empty key");
    let many = reserve(|r| {
        let labels = (0..17).map(|n| (format!("k{n}"), String::new()));
        r.action.as_mut().unwrap().labels = labels.collect();
    });
    check(&many, "action.labels", "at most 16");
}

fn estimate(usage: pb::Usage) -> Vec<(String, String)> {
    reserve(|r| r.amount = Some(pb::reserve_request::Amount::Estimate(usage)))
}

fn custom(meters: &[(&str, u64)]) -> pb::Usage {
    let custom = meters
        .iter()
        .map(|(meter, quantity)| ((*meter).to_owned(), *quantity));
    pb::Usage {
        custom: custom.collect(),
        ..pb::Usage::default()
    }
}

#[test]
fn each_wrong_quantity_is_named() {
    let much = pb::Usage {
        output_tokens: MAX_CREDITS + 1,
        ..pb::Usage::default()
    };
    check(
        &estimate(much),
        "estimate.output_tokens",
        "0 to 9007199254740991",
    );
    check(
        &estimate(custom(&[("tool_calls", 1)])),
        "estimate.custom[tool_calls]",
        "field of its own",
    );
    check(
        &estimate(custom(&[("gpu seconds", 1)])),
        "estimate.custom",
        "1 to 128 of",
    );
    check(
        &estimate(custom(&[("gpu", u64::MAX)])),
        "estimate.custom[gpu]",
        "out of range",
    );
    let names: Vec<String> = (0..33).map(|n| format!("m{n}")).collect();
    let meters: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    check(&estimate(custom(&meters)), "estimate.custom", "at most 32");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let found = reserve(|r| {
        r.account_id.clear();
        r.reservation_id = "é".into();
        r.action = Some(pb::Action {
            mode: "chat".to_owned(),
            model: "llama".to_owned(),
            ..pb::Action::default()
        });
        r.amount = None;
        r.min_credits = Some(0);
        r.ttl = Some(Duration::default());
    });
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    let all = [
        "account_id",
        "reservation_id",
        "action.mode",
        "action.model",
        "amount",
        "min_credits",
        "ttl",
    ];
    assert_eq!(fields, all);
    // What can't be priced is said besides.
    let found = reserve(|r| {
        r.account_id.clear();
        let usage = custom(&[("gpu_seconds", 1)]);
        r.amount = Some(pb::reserve_request::Amount::Estimate(usage));
    });
    let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["account_id", "estimate.custom[gpu_seconds]"]);
}

#[test]
fn quantities_survive_the_way_in_and_out() {
    let message = pb::Usage {
        input_tokens: 1,
        cached_input_tokens: 2,
        output_tokens: 3,
        tool_calls: 4,
        file_operations: 5,
        build_seconds: 6,
        ..custom(&[("gpu_seconds", 7)])
    };
    let mut problems = Problems::default();
    let usage = action::usage(&message, "usage", &mut problems).unwrap();
    assert_eq!(action::usage_message(&usage), message);
}

#[test]
fn extensions_commits_releases_and_charges_are_checked() {
    let extend = pb::ExtendRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        ..pb::ExtendRequest::default()
    };
    assert_eq!(
        fields(quota::extend(&extend, &LIMITS)),
        ["extension_id", "add_credits"]
    );
    let commit = pb::CommitRequest {
        account_id: "acme".to_owned(),
        reservation_id: "r1".to_owned(),
        outcome: 7,
        next_hold: 5,
        ..pb::CommitRequest::default()
    };
    let found = violations(quota::commit(commit));
    assert_eq!(
        found[0],
        (
            "amount".into(),
            "is missing: give either usage or credits".into()
        )
    );
    assert!(found[1].1.contains("OUTCOME_CANCELLED (3)"), "{found:?}");
    assert_eq!(found[2].0, "next_hold");
    let release = pb::ReleaseRequest {
        reason: "\n".to_owned(),
        ..pb::ReleaseRequest::default()
    };
    assert_eq!(
        fields(quota::release(release)),
        ["account_id", "reservation_id", "reason"]
    );
    let catalog = catalogs::builtin();
    let found = fields(quota::charge(
        pb::ChargeRequest::default(),
        &catalog.rate_card,
    ));
    assert_eq!(found, ["account_id", "charge_id", "action", "amount"]);
}

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
    let (change, _) = admin::grant(request, &catalogs::builtin(), NOW).unwrap();
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

#[test]
fn lists_are_checked() {
    let accounts = |page_size, page_token: &str| {
        let page_token = page_token.to_owned();
        list::accounts(&pb::ListAccountsRequest {
            page_size,
            page_token,
        })
    };
    assert_eq!(accounts(0, "").unwrap(), (None, 100));
    assert_eq!(accounts(5000, "acme").unwrap().1, 1000);
    assert_eq!(fields(accounts(-1, "a b")), ["page_size", "page_token"]);
    let none = pb::ListEntriesRequest {
        kinds: vec![0],
        from: at(5),
        until: at(5),
        page_token: "0.e1".to_owned(),
        ..pb::ListEntriesRequest::default()
    };
    let found = fields(list::entries(&none));
    assert_eq!(found, ["account_id", "kinds", "until", "page_token"]);
    assert_eq!(
        fields(list::conversation(pb::GetConversationRequest::default())),
        ["conversation_id"]
    );
}

#[test]
fn a_page_token_belongs_to_its_list() {
    let request = pb::ListEntriesRequest {
        account_id: "acme".to_owned(),
        ..pb::ListEntriesRequest::default()
    };
    let token = list::entries(&request)
        .unwrap()
        .token(PageToken::new("e3-19c111deb80-2a").unwrap());
    let next = pb::ListEntriesRequest {
        page_token: token.clone(),
        ..request.clone()
    };
    assert_eq!(
        list::entries(&next).unwrap().page,
        Some(PageToken::new("e3-19c111deb80-2a").unwrap())
    );
    // Another page size is the same list; another account is not.
    let wider = pb::ListEntriesRequest {
        page_size: 7,
        ..next.clone()
    };
    assert!(list::entries(&wider).is_ok());
    let other = pb::ListEntriesRequest {
        account_id: "other".to_owned(),
        ..next
    };
    assert_eq!(fields(list::entries(&other)), ["page_token"]);
    for wrong in [
        "",
        "e2a",
        "x.e2a",
        &token[1..],
        &format!("{token}0"),
        &"é".repeat(300),
    ] {
        let page_token = wrong.to_owned();
        let next = pb::ListEntriesRequest {
            page_token,
            ..request.clone()
        };
        let expected: &[&str] = if wrong.is_empty() {
            &[]
        } else {
            &["page_token"]
        };
        assert_eq!(fields(list::entries(&next)), expected, "{wrong:?}");
    }
}

fn settled(id: &str, output_tokens: u64, receipt: Receipt) -> Recorded {
    let mut usage = Usage::default();
    usage.set("output_tokens", output_tokens);
    let settlement = Settlement {
        commit: 1,
        last: true,
        action: Action::default().into(),
        amount: Amount::Usage(usage),
        outcome: Outcome::Succeeded,
        held_before: 0,
        receipt,
    };
    line(EntryKind::Usage, id, 0, Some(Box::new(settlement)))
}

fn line(kind: EntryKind, id: &str, credits: i64, settlement: Option<Box<Settlement>>) -> Recorded {
    let head = AccountHead {
        status: Status::Active,
        plan: PlanTerm {
            id: PlanId::new("free").unwrap(),
            allowance: 50,
        },
        next_plan: None,
        overage: OveragePolicy::Absorb,
        anchor: NOW,
        cycle: Cycle::at(NOW, NOW),
        debt: 0,
        applied_change: 0,
    };
    let entry = Entry {
        account_id: AccountId::new("acme").unwrap(),
        sequence: 1,
        kind,
        credits,
        available_after: 0,
        debt_after: 0,
        draws: Vec::new(),
        occurred_at: NOW,
        reason: String::new(),
        actor: String::new(),
        reservation_id: Some(ReservationId::new(id).unwrap()),
        settlement,
        change: None,
        moves: Vec::new(),
        head,
    };
    Recorded {
        entry,
        recorded_at: NOW,
    }
}

#[test]
fn a_conversation_adds_up_what_was_paid_for() {
    let receipt = |credits, written_off, corrected| Receipt {
        credits,
        written_off,
        corrected,
        ..Receipt::default()
    };
    let entries = [
        // Usage is cumulative: the last report of a reservation counts.
        settled("r1", 100, receipt(10, 0, 0)),
        settled("r1", 300, receipt(20, 5, 0)),
        // Gives back 8, of which 5 nobody had paid for.
        settled("r1", 250, receipt(0, 0, 8)),
        settled("r2", 50, receipt(7, 0, 0)),
        line(EntryKind::Refund, "r2", 4, None),
    ];
    let sum = entry::conversation(&entries);
    assert_eq!((sum.credits, sum.refunded), (10 + 15 - 3 + 7, 4));
    assert_eq!(sum.usage.unwrap().output_tokens, 300);
    assert_eq!(sum.entries.len(), 5);
}
