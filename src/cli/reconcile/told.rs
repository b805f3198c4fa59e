//! An account as a server tells it, put back into the domain's terms: so that one set of rules says
//! how it differs from the ledger's.

use prost_types::Timestamp as ProtoTimestamp;

use crate::{
    domain::{
        account::{Account, AccountHead, OveragePolicy, PlanTerm, Status},
        cycle::Cycle,
        grant::{Grant, GrantKind},
        ids::{AccountId, GrantId, PlanId},
        timestamp::Timestamp,
    },
    pb,
};

/// The account. What no message has is taken to be as the ledger has it: the next plan's allowance,
/// the number of the last change, and for which plan the present one's grant was made. `None` where
/// the message is none that a server sends.
pub(super) fn account(told: &pb::Account, stored: &Account) -> Option<Account> {
    let balance = told.balance.as_ref()?;
    let grants: Option<Vec<Grant>> = told
        .grants
        .iter()
        .map(|told| Some(as_made(grant(told)?, stored)))
        .collect();
    let status = match told.status() {
        pb::AccountStatus::Active => Status::Active,
        pb::AccountStatus::Suspended => Status::Suspended,
        pb::AccountStatus::Closed => Status::Closed,
        pb::AccountStatus::Unspecified => return None,
    };
    let overage = match told.overage_policy() {
        pb::OveragePolicy::Debt => OveragePolicy::Debt,
        pb::OveragePolicy::Absorb => OveragePolicy::Absorb,
        pb::OveragePolicy::Unspecified => return None,
    };
    let next_plan = match told.next_plan_id.as_str() {
        "" => None,
        id => Some(PlanTerm {
            id: PlanId::new(id).ok()?,
            allowance: next_allowance(stored),
        }),
    };
    Some(Account {
        id: AccountId::new(&told.account_id).ok()?,
        head: AccountHead {
            status,
            plan: PlanTerm {
                id: PlanId::new(&told.plan_id).ok()?,
                allowance: balance.plan_allowance,
            },
            next_plan,
            overage,
            anchor: instant(told.subscribed_at.as_ref())?,
            cycle: Cycle {
                start: instant(told.cycle_start.as_ref())?,
                end: instant(told.cycle_end.as_ref())?,
                ..stored.head.cycle
            },
            debt: balance.debt,
            applied_change: stored.head.applied_change,
        },
        grants: grants?,
        sequence: balance.sequence,
        version: balance.version,
    })
}

fn next_allowance(stored: &Account) -> u64 {
    let next_plan = stored.head.next_plan.as_ref();
    next_plan.map_or(0, |plan| plan.allowance)
}

/// A grant with the source that it was made with, where that is not the one that is answered.
fn as_made(told: Grant, stored: &Account) -> Grant {
    let known = stored.grant(&told.id);
    let source = match known.filter(|known| told.source == stored.source_of(known)) {
        Some(known) => known.source.clone(),
        None => told.source.clone(),
    };
    Grant { source, ..told }
}

fn grant(told: &pb::Grant) -> Option<Grant> {
    let kind = match told.kind() {
        pb::GrantKind::Plan => GrantKind::Plan,
        pb::GrantKind::Pack => GrantKind::Pack,
        pb::GrantKind::Promo => GrantKind::Promo,
        pb::GrantKind::Adjustment => GrantKind::Adjustment,
        pb::GrantKind::Unspecified => return None,
    };
    Some(Grant {
        id: GrantId::new(&told.grant_id).ok()?,
        kind,
        amount: told.amount,
        used: told.used,
        held: told.held,
        expired: told.expired,
        priority: told.priority,
        effective_at: instant(told.effective_at.as_ref())?,
        expires_at: instant(told.expires_at.as_ref()),
        voided_at: instant(told.voided_at.as_ref()),
        source: told.source.clone(),
    })
}

/// An instant, to the millisecond.
pub(super) fn instant(told: Option<&ProtoTimestamp>) -> Option<Timestamp> {
    let told = told?;
    let millis = told.seconds.checked_mul(1000)? + i64::from(told.nanos / 1_000_000);
    Some(Timestamp::from_millis(millis))
}

/// Where a balance is not what its own grants add up to, in a few words.
pub(super) fn contradictions(told: &pb::Account, account: &Account) -> Vec<String> {
    let Some((balance, now)) = told
        .balance
        .as_ref()
        .and_then(|balance| Some((balance, instant(balance.as_of.as_ref())?)))
    else {
        return vec!["it has no balance".to_owned()];
    };
    let own = account.balance(now);
    let numbers = [
        ("available", balance.available, own.available),
        ("held", balance.held, own.held),
        ("plan_used", balance.plan_used, own.plan_used),
        ("plan_remaining", balance.plan_remaining, own.plan_remaining),
        ("pack_remaining", balance.pack_remaining, own.pack_remaining),
    ];
    let off = numbers.iter().filter(|(_, told, own)| told != own);
    off.map(|(name, told, own)| format!("{name} is {told} where its grants have {own}"))
        .collect()
}
