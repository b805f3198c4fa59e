//! What the account's owner can do about a denial.

use crate::domain::{
    catalog::Catalog,
    credits::Credits,
    decision::{Balance, Denial, DenialReason},
    ids::{PackId, PlanId},
    timestamp::Timestamp,
};

/// One thing that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Buy a pack.
    BuyPack {
        /// Which.
        pack_id: PackId,
        /// What it gives.
        credits: Credits,
    },
    /// Move to a larger plan.
    UpgradePlan {
        /// Which.
        plan_id: PlanId,
        /// What it gives each cycle.
        allowance: Credits,
    },
    /// Wait.
    WaitForRenewal {
        /// Until when.
        renews_at: Timestamp,
    },
}

/// The smallest pack that is enough (or the largest there is), the smallest plan whose upgrade
/// is enough, and the renewal if it brings enough. Nothing helps a suspended or closed account.
pub fn remedies(denial: &Denial, balance: &Balance, catalog: &Catalog) -> Vec<Remedy> {
    match denial.reason {
        DenialReason::AccountSuspended | DenialReason::AccountClosed => return Vec::new(),
        DenialReason::InsufficientCredits
        | DenialReason::BalanceExhausted
        | DenialReason::DebtOutstanding => {}
    }
    let wanted = denial.required + balance.debt;
    let missing = wanted.saturating_sub(denial.available);
    let mut remedies = Vec::new();
    let enough = catalog
        .packs
        .iter()
        .filter(|pack| pack.credits.get() >= missing);
    let pack = enough
        .min_by_key(|pack| pack.credits)
        .or_else(|| catalog.packs.iter().max_by_key(|pack| pack.credits));
    if let Some(pack) = pack {
        remedies.push(Remedy::BuyPack {
            pack_id: pack.id.clone(),
            credits: pack.credits,
        });
    }
    let plan = catalog
        .plans
        .iter()
        .filter(|plan| gained(balance, plan.allowance.get()) >= missing)
        .filter(|plan| plan.allowance.get() > balance.plan_allowance && can_grow(balance))
        .min_by_key(|plan| plan.allowance);
    if let Some(plan) = plan {
        let (plan_id, allowance) = (plan.id.clone(), plan.allowance);
        remedies.push(Remedy::UpgradePlan { plan_id, allowance });
    }
    if renewed_allowance(balance, catalog) + balance.pack_remaining >= wanted {
        remedies.push(Remedy::WaitForRenewal {
            renews_at: balance.renews_at,
        });
    }
    remedies
}

/// Whether an upgrade gives anything before the renewal: not where the plan's grant was voided, of
/// which nothing is left although less was used and held than it had.
fn can_grow(balance: &Balance) -> bool {
    balance.plan_remaining > 0 || balance.plan_used + balance.held >= balance.plan_allowance
}

/// What an upgrade brings: it keeps what was used and held, which may be more than the allowance of
/// a plan that was made smaller.
fn gained(balance: &Balance, allowance: u64) -> u64 {
    let spent = balance
        .plan_allowance
        .saturating_sub(balance.plan_remaining);
    let kept = spent.max(balance.plan_used) + balance.plan_remaining;
    allowance.saturating_sub(kept)
}

/// What the renewal brings: the allowance of the plan that the account will be on, as the
/// catalogue has it now.
fn renewed_allowance(balance: &Balance, catalog: &Catalog) -> u64 {
    let (id, allowance) = match &balance.next_plan {
        Some(next) => (&next.id, next.allowance),
        None => (&balance.plan_id, balance.plan_allowance),
    };
    catalog
        .plan(id.as_str())
        .map_or(allowance, |plan| plan.allowance.get())
}
