//! The changes that AdminService asks for, parsed into what the ledger takes.
//!
//! A change's payload is what a retry is compared with: the request's fields in the contract's
//! order, but for the account and the idempotency key, which are the same or it is no retry.
//! Defaults that depend on the time or on the catalogue are left empty there.

use super::fields::Problems;
use crate::{
    domain::{
        account::{OveragePolicy, PlanTerm, Status},
        catalog::Catalog,
        change::Create,
        credits::Credits,
        cycle::Cycle,
        grant::{DEFAULT_PRIORITY, Grant, GrantKind},
        ids::{AccountId, ChangeId, GrantId, PlanId, ReservationId},
        timestamp::Timestamp,
    },
    enforcer::error::EnforceError,
    ledger::{ChangeRequest, Wanted},
    pb,
};

/// How far ahead a subscription may start: one year.
const SUBSCRIBED_AHEAD_MS_MAX: u64 = 366 * 86_400_000;

/// A new account.
pub fn create(
    request: pb::CreateAccountRequest,
    catalog: &Catalog,
    now: Timestamp,
) -> Result<ChangeRequest, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let plan = plan(&request.plan_id, catalog, &mut problems);
    let subscribed = problems.instant("subscribed_at", request.subscribed_at);
    let latest = now.plus_millis(SUBSCRIBED_AHEAD_MS_MAX);
    if let Some(Some(at)) = subscribed
        && at > latest
    {
        problems.add(
            "subscribed_at",
            format!("{at} is too far ahead: at most {latest}"),
        );
    }
    let overage = overage(request.overage_policy, &mut problems);
    let parsed = || {
        let (plan, overage, subscribed) = (plan?, overage?, subscribed?);
        let subscribed_at = subscribed.unwrap_or(now);
        Some(ChangeRequest {
            account_id: account_id?,
            key: Some("create".to_owned()),
            payload: payload([
                ("plan_id", plan.id.to_string()),
                ("subscribed_at", shown(subscribed)),
                ("overage_policy", overage.name().to_owned()),
            ]),
            wanted: Wanted::Create(Create {
                plan,
                subscribed_at,
                cycle: Cycle::at(subscribed_at, now),
                overage,
            }),
            call: None,
        })
    };
    problems.finish(parsed())
}

pub(super) fn overage(number: i32, problems: &mut Problems) -> Option<OveragePolicy> {
    let overages = [
        (pb::OveragePolicy::Unspecified, OveragePolicy::Debt),
        (pb::OveragePolicy::Debt, OveragePolicy::Debt),
        (pb::OveragePolicy::Absorb, OveragePolicy::Absorb),
    ];
    let name = pb::OveragePolicy::as_str_name;
    problems.choice("overage_policy", number, name, &overages)
}

/// Another status, and why.
pub fn set_status(
    request: pb::SetAccountStatusRequest,
) -> Result<(AccountId, Status, String), EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let statuses = [
        (pb::AccountStatus::Active, Status::Active),
        (pb::AccountStatus::Suspended, Status::Suspended),
        (pb::AccountStatus::Closed, Status::Closed),
    ];
    let name = pb::AccountStatus::as_str_name;
    let status = problems.choice("status", request.status, name, &statuses);
    let reason = problems.text("reason", request.reason);
    let parsed = || Some((account_id?, status?, reason?));
    problems.finish(parsed())
}

/// The change to a status that the account does not have.
pub fn status_change(account_id: AccountId, status: Status, reason: String) -> ChangeRequest {
    ChangeRequest {
        account_id,
        key: None,
        payload: payload([
            ("status", status.name().to_owned()),
            ("reason", reason.clone()),
        ]),
        wanted: Wanted::SetStatus { status, reason },
        call: None,
    }
}

/// Another plan.
pub fn change_plan(
    request: &pb::ChangePlanRequest,
    catalog: &Catalog,
) -> Result<ChangeRequest, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let change_id = problems.id("change_id", &request.change_id, ChangeId::new);
    let plan = plan(&request.plan_id, catalog, &mut problems);
    let at_renewal = request.at_renewal;
    let parsed = || {
        let plan = plan?;
        Some(ChangeRequest {
            account_id: account_id?,
            key: Some(format!("plan:{}", change_id?)),
            payload: payload([
                ("plan_id", plan.id.to_string()),
                ("at_renewal", shown(at_renewal)),
            ]),
            wanted: Wanted::ChangePlan { plan, at_renewal },
            call: None,
        })
    };
    problems.finish(parsed())
}

/// More credits.
pub fn grant(
    request: pb::GrantCreditsRequest,
    catalog: &Catalog,
    now: Timestamp,
) -> Result<ChangeRequest, EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let grant_id = new_grant_id(&request.grant_id, &mut problems);
    let kind = kind(request.kind, &mut problems);
    let amount = kind.and_then(|kind| grant_amount(&request, kind, catalog, &mut problems));
    let effective = problems.instant("effective_at", request.effective_at);
    let expires = problems.instant("expires_at", request.expires_at);
    if let (Some(effective), Some(Some(expires))) = (effective, expires) {
        let after = effective.unwrap_or(now).max(now);
        if kind == Some(GrantKind::Pack) {
            problems.add(
                "expires_at",
                "is not for a pack, which never expires: leave it out",
            );
        } else if expires <= after {
            problems.add(
                "expires_at",
                format!("{expires} is too early: after {after}"),
            );
        }
    }
    let payload = grant_payload(&request, kind, effective.flatten(), expires.flatten());
    let priority = request.priority.unwrap_or(DEFAULT_PRIORITY);
    let reason = problems.text("reason", request.reason);
    let parsed = || {
        let (id, reason, (credits, pack)) = (grant_id?, reason?, amount?);
        let key = Some(format!("grant:{id}"));
        let grant = Grant {
            id,
            kind: kind?,
            amount: credits.get(),
            used: 0,
            held: 0,
            expired: 0,
            priority,
            effective_at: effective?.unwrap_or(now),
            expires_at: expires?,
            voided_at: None,
            source: pack.unwrap_or_else(|| reason.clone()),
        };
        Some(ChangeRequest {
            account_id: account_id?,
            key,
            payload,
            wanted: Wanted::Grant {
                grant: Box::new(grant),
                reason,
            },
            call: None,
        })
    };
    problems.finish(parsed())
}

pub(super) fn kind(number: i32, problems: &mut Problems) -> Option<GrantKind> {
    let kinds = [
        (pb::GrantKind::Pack, GrantKind::Pack),
        (pb::GrantKind::Promo, GrantKind::Promo),
        (pb::GrantKind::Adjustment, GrantKind::Adjustment),
    ];
    problems.choice("kind", number, pb::GrantKind::as_str_name, &kinds)
}

/// An id that does not look like one of the system's own.
pub(super) fn new_grant_id(text: &str, problems: &mut Problems) -> Option<GrantId> {
    let id = problems.id("grant_id", text, GrantId::new)?;
    if id.is_system() {
        problems.add(
            "grant_id",
            "starts with plan:, refund: or correction:, which are the system's own grants",
        );
        return None;
    }
    Some(id)
}

/// What the grant gives, and the pack that it comes from.
fn grant_amount(
    request: &pb::GrantCreditsRequest,
    kind: GrantKind,
    catalog: &Catalog,
    problems: &mut Problems,
) -> Option<(Credits, Option<String>)> {
    use pb::grant_credits_request::Amount as Given;
    let packs = || one_of(catalog.packs.iter().map(|pack| pack.id.as_str()));
    match (kind, &request.amount) {
        (GrantKind::Pack, Some(Given::PackId(id))) => match catalog.pack(id) {
            Some(pack) => return Some((pack.credits, Some(pack.id.to_string()))),
            None => problems.add(
                "pack_id",
                format!("is no pack of the catalogue: {}", packs()),
            ),
        },
        (GrantKind::Pack, Some(Given::Credits(_))) => {
            let why = "is not for a pack, whose credits the catalogue says: give pack_id";
            problems.add("credits", format!("{why}, {}", packs()));
        }
        (GrantKind::Pack, None) => {
            problems.add("pack_id", format!("is missing: {}", packs()));
        }
        (GrantKind::Plan | GrantKind::Promo | GrantKind::Adjustment, Some(Given::PackId(_))) => {
            problems.add(
                "pack_id",
                "is for GRANT_KIND_PACK only: give credits instead",
            );
        }
        (
            GrantKind::Plan | GrantKind::Promo | GrantKind::Adjustment,
            Some(Given::Credits(credits)),
        ) => return Some((problems.some_credits("credits", *credits)?, None)),
        (GrantKind::Plan | GrantKind::Promo | GrantKind::Adjustment, None) => {
            problems.add("credits", "is missing: 1 to 9007199254740991 credits");
        }
    }
    None
}

pub(super) fn grant_payload(
    request: &pb::GrantCreditsRequest,
    kind: Option<GrantKind>,
    effective_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
) -> Vec<(String, String)> {
    use pb::grant_credits_request::Amount as Given;
    let (pack_id, credits) = match &request.amount {
        Some(Given::PackId(pack_id)) => (pack_id.clone(), String::new()),
        Some(Given::Credits(credits)) => (String::new(), credits.to_string()),
        None => (String::new(), String::new()),
    };
    let kind = match kind {
        Some(GrantKind::Plan) => "plan",
        Some(GrantKind::Pack) => "pack",
        Some(GrantKind::Promo) => "promo",
        Some(GrantKind::Adjustment) => "adjustment",
        None => "",
    };
    payload([
        ("kind", kind.to_owned()),
        ("pack_id", pack_id),
        ("credits", credits),
        ("effective_at", shown(effective_at)),
        ("expires_at", shown(expires_at)),
        ("priority", shown(request.priority)),
        ("reason", request.reason.clone()),
    ])
}

/// A grant to take back.
pub fn void(request: pb::VoidGrantRequest) -> Result<(ChangeRequest, GrantId), EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let grant_id = problems.id("grant_id", &request.grant_id, GrantId::new);
    let reason = problems.text("reason", request.reason);
    let parsed = || {
        let (grant_id, reason) = (grant_id?, reason?);
        let change = ChangeRequest {
            account_id: account_id?,
            key: Some(format!("void:{grant_id}")),
            payload: payload([("reason", reason.clone())]),
            wanted: Wanted::Void {
                grant_id: grant_id.clone(),
                reason,
            },
            call: None,
        };
        Some((change, grant_id))
    };
    problems.finish(parsed())
}

/// Charged credits to give back, and of which reservation.
pub fn refund(request: pb::RefundRequest) -> Result<(ChangeRequest, ReservationId), EnforceError> {
    let mut problems = Problems::default();
    let account_id = problems.id("account_id", &request.account_id, AccountId::new);
    let refund_id = problems.id("refund_id", &request.refund_id, ChangeId::new);
    let reservation_id = problems.id(
        "reservation_id",
        &request.reservation_id,
        ReservationId::new,
    );
    let credits = problems.credits("credits", request.credits);
    let reason = problems.text("reason", request.reason);
    let actor = problems.text("actor", request.actor);
    let parsed = || {
        let (reservation_id, credits) = (reservation_id?, credits?.get());
        let (reason, actor) = (reason?, actor?);
        let change = ChangeRequest {
            account_id: account_id?,
            key: Some(format!("refund:{}", refund_id?)),
            payload: payload([
                ("reservation_id", reservation_id.to_string()),
                ("credits", credits.to_string()),
                ("reason", reason.clone()),
                ("actor", actor.clone()),
            ]),
            wanted: Wanted::Refund {
                reservation_id: reservation_id.clone(),
                credits,
                reason,
                actor,
            },
            call: None,
        };
        Some((change, reservation_id))
    };
    problems.finish(parsed())
}

/// A plan of the catalogue, at its present allowance.
fn plan(id: &str, catalog: &Catalog, problems: &mut Problems) -> Option<PlanTerm> {
    let Some(plan) = catalog.plan(id) else {
        let plans = one_of(catalog.plans.iter().map(|plan| plan.id.as_str()));
        problems.add("plan_id", format!("is no plan of the catalogue: {plans}"));
        return None;
    };
    let id: PlanId = plan.id.clone();
    Some(PlanTerm {
        id,
        allowance: plan.allowance.get(),
    })
}

/// The accepted names, for a problem's text.
fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        "there is none".to_owned()
    } else {
        format!("one of {}", names.join(", "))
    }
}

pub(super) fn payload<const FIELDS: usize>(
    fields: [(&str, String); FIELDS],
) -> Vec<(String, String)> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A field that may be absent, as the payload has it.
pub(super) fn shown(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
