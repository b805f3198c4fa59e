//! What the account's owner can do about a denial.

use crate::domain::{
    catalog::Catalog,
    credits::Credits,
    decision::{Balance, Denial, DenialReason, PlanGrant},
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
        .filter(|plan| plan.allowance.get() > balance.plan_allowance)
        .min_by_key(|plan| plan.allowance);
    if let Some(plan) = plan {
        let (plan_id, allowance) = (plan.id.clone(), plan.allowance);
        remedies.push(Remedy::UpgradePlan { plan_id, allowance });
    }
    if renewed_allowance(balance, catalog) + balance.pack_lasting >= wanted {
        remedies.push(Remedy::WaitForRenewal {
            renews_at: balance.renews_at,
        });
    }
    remedies
}

/// What an upgrade brings at once: it keeps what is used and held of the plan's grant, and nothing
/// comes of one that was voided, or before its cycle begins.
fn gained(balance: &Balance, allowance: u64) -> u64 {
    match balance.plan_grant {
        PlanGrant::Open { held } => {
            allowance.saturating_sub(balance.plan_used + held + balance.plan_remaining)
        }
        PlanGrant::ToCome { .. } | PlanGrant::Over => 0,
    }
}

/// What the next cycle brings: the allowance of the plan that the account will be on, as the
/// catalogue has it now; or the grant that was made for the first one, where that is still to come.
fn renewed_allowance(balance: &Balance, catalog: &Catalog) -> u64 {
    let (id, allowance) = match (&balance.plan_grant, &balance.next_plan) {
        (PlanGrant::ToCome { credits }, _) => return *credits,
        (PlanGrant::Open { .. } | PlanGrant::Over, Some(next)) => (&next.id, next.allowance),
        (PlanGrant::Open { .. } | PlanGrant::Over, None) => {
            (&balance.plan_id, balance.plan_allowance)
        }
    };
    catalog
        .plan(id.as_str())
        .map_or(allowance, |plan| plan.allowance.get())
}
