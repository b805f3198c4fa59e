//! Accounts, grants and the catalogue, written out.

use super::{answer, fields::timestamp};
use crate::{
    domain::{
        account::{Account, OveragePolicy, Status},
        catalog::Catalog,
        decision::Balance,
        grant::{Grant, GrantKind},
    },
    pb,
};

/// An account with its live grants, in the order in which they are spent.
pub fn account(account: &Account, balance: &Balance) -> pb::Account {
    let head = &account.head;
    let status = match head.status {
        Status::Active => pb::AccountStatus::Active,
        Status::Suspended => pb::AccountStatus::Suspended,
        Status::Closed => pb::AccountStatus::Closed,
    };
    let overage_policy = match head.overage {
        OveragePolicy::Debt => pb::OveragePolicy::Debt,
        OveragePolicy::Absorb => pb::OveragePolicy::Absorb,
    };
    let next_plan = head.next_plan.as_ref();
    pb::Account {
        account_id: account.id.to_string(),
        status: status.into(),
        plan_id: head.plan.id.to_string(),
        next_plan_id: next_plan
            .map(|plan| plan.id.to_string())
            .unwrap_or_default(),
        overage_policy: overage_policy.into(),
        subscribed_at: Some(timestamp(head.anchor)),
        cycle_start: Some(timestamp(head.cycle.start)),
        cycle_end: Some(timestamp(head.cycle.end)),
        grants: account
            .grants
            .iter()
            .map(|grant| live_grant(account, grant))
            .collect(),
        balance: Some(answer::balance(balance)),
    }
}

/// A grant of an account that is live.
pub fn live_grant(account: &Account, live: &Grant) -> pb::Grant {
    pb::Grant {
        source: account.source_of(live).to_owned(),
        ..grant(live)
    }
}

/// A grant as the ledger remembers it.
pub fn grant(grant: &Grant) -> pb::Grant {
    let kind = match grant.kind {
        GrantKind::Plan => pb::GrantKind::Plan,
        GrantKind::Pack => pb::GrantKind::Pack,
        GrantKind::Promo => pb::GrantKind::Promo,
        GrantKind::Adjustment => pb::GrantKind::Adjustment,
    };
    pb::Grant {
        grant_id: grant.id.to_string(),
        kind: kind.into(),
        amount: grant.amount,
        used: grant.used,
        held: grant.held,
        expired: grant.expired,
        priority: grant.priority,
        effective_at: Some(timestamp(grant.effective_at)),
        expires_at: grant.expires_at.map(timestamp),
        voided_at: grant.voided_at.map(timestamp),
        source: grant.source.clone(),
    }
}

/// The catalogue.
pub fn catalog(catalog: &Catalog) -> pb::GetCatalogResponse {
    use pb::get_catalog_response::{Pack, Plan};
    let plans = catalog.plans.iter().map(|plan| Plan {
        plan_id: plan.id.to_string(),
        allowance: plan.allowance.get(),
    });
    let packs = catalog.packs.iter().map(|pack| Pack {
        pack_id: pack.id.to_string(),
        credits: pack.credits.get(),
    });
    pb::GetCatalogResponse {
        plans: plans.collect(),
        packs: packs.collect(),
        rate_card_version: catalog.version.as_ref().to_owned(),
        rate_card_yaml: catalog.yaml.as_ref().to_owned(),
    }
}
