//! Changes that may have been carried out already: a caller who did not hear the answer asks again,
//! and gets it whatever has become of the catalogue and the time since.
//!
//! Each is what `admin` makes of the same request, without what depends on these; `None` where that
//! is wrong already.

use super::{
    admin::{self, payload, shown},
    fields::Problems,
};
use crate::{
    domain::ids::{AccountId, ChangeId},
    ledger::{ChangeRequest, Wanted},
    pb,
};

/// A new account.
pub fn create(request: &pb::CreateAccountRequest) -> Option<ChangeRequest> {
    let mut problems = Problems::default();
    let subscribed = problems.instant("subscribed_at", request.subscribed_at)?;
    let overage = admin::overage(request.overage_policy, &mut problems)?;
    let payload = payload([
        ("plan_id", request.plan_id.clone()),
        ("subscribed_at", shown(subscribed)),
        ("overage_policy", overage.name().to_owned()),
    ]);
    again(&request.account_id, "create".to_owned(), payload)
}

/// Another plan.
pub fn change_plan(request: &pb::ChangePlanRequest) -> Option<ChangeRequest> {
    let change_id = ChangeId::new(&request.change_id).ok()?;
    let payload = payload([
        ("plan_id", request.plan_id.clone()),
        ("at_renewal", shown(request.at_renewal)),
    ]);
    again(&request.account_id, format!("plan:{change_id}"), payload)
}

/// More credits.
pub fn grant(request: &pb::GrantCreditsRequest) -> Option<ChangeRequest> {
    let mut problems = Problems::default();
    let grant_id = admin::new_grant_id(&request.grant_id, &mut problems)?;
    let kind = admin::kind(request.kind, &mut problems)?;
    let effective = problems.instant("effective_at", request.effective_at)?;
    let expires = problems.instant("expires_at", request.expires_at)?;
    let payload = admin::grant_payload(request, Some(kind), effective, expires);
    again(&request.account_id, format!("grant:{grant_id}"), payload)
}

fn again(account_id: &str, key: String, payload: Vec<(String, String)>) -> Option<ChangeRequest> {
    Some(ChangeRequest {
        account_id: AccountId::new(account_id).ok()?,
        key: Some(key),
        payload,
        wanted: Wanted::Again,
        call: None,
    })
}
