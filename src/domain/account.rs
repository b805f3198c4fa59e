//! An account: its plan, its billing cycle, its grants in the order of spending, its debt; and
//! the few ways in which credits move between its grants. [`super::book`] builds the transitions
//! from these; nothing here decides.

use serde::{Deserialize, Serialize};

use super::{
    credits::MAX_CREDITS,
    cycle::Cycle,
    decision::{Balance, PlanGrant},
    entry::GrantMove,
    grant::{Draw, GRANTS_MAX, Grant, GrantKind},
    ids::{AccountId, GrantId, PlanId},
    timestamp::Timestamp,
};

/// Whether an account may hold credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It may.
    Active,
    /// No new holds; open ones still settle.
    Suspended,
    /// As suspended, and the grants that it had then are void.
    Closed,
}

impl Status {
    /// The name that scenario files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Closed => "closed",
        }
    }
}

/// What happens to usage above the hold that no grant covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OveragePolicy {
    /// The account owes it.
    #[default]
    Debt,
    /// It is written off.
    Absorb,
}

impl OveragePolicy {
    /// The name that scenario files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            OveragePolicy::Debt => "debt",
            OveragePolicy::Absorb => "absorb",
        }
    }
}

/// A plan as an account has it: with the allowance that it was taken with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTerm {
    /// The plan.
    pub id: PlanId,
    /// Credits per cycle.
    pub allowance: u64,
}

/// An account without its grants and counters: what each ledger entry leaves it as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHead {
    /// Whether it may hold.
    pub status: Status,
    /// The plan of this cycle.
    pub plan: PlanTerm,
    /// The plan of the next one, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_plan: Option<PlanTerm>,
    /// What becomes of uncovered overage.
    pub overage: OveragePolicy,
    /// When the subscription started: the anchor of every cycle.
    pub anchor: Timestamp,
    /// The present cycle.
    pub cycle: Cycle,
    /// What it owes.
    pub debt: u64,
    /// The number of the last administrative change that was applied.
    pub applied_change: u64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Everything but grants and counters.
    pub head: AccountHead,
    /// The live grants, in the order in which they are spent, and those that are used up and have
    /// not ended yet.
    pub grants: Vec<Grant>,
    /// Of the newest entry.
    pub sequence: u64,
    /// Increases with every change, holds included.
    pub version: u64,
}

/// Which way credits leave a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Set aside.
    Hold,
    /// Charged.
    Use,
}

impl Account {
    /// What can be spent: the rest of every active grant, and nothing while there is debt. No call
    /// can spend more than [`MAX_CREDITS`], so no more is told: what corrections give back may
    /// come on top of grants that were made since.
    pub fn available(&self, now: Timestamp) -> u64 {
        if self.head.debt > 0 {
            return 0;
        }
        let spendable: u64 = self.active(now).map(Grant::remaining).sum();
        spendable.min(MAX_CREDITS)
    }

    /// What open holds set aside.
    pub fn held(&self) -> u64 {
        self.grants.iter().map(|grant| grant.held).sum()
    }

    /// What the live grants have left, holds included, less the debt: the number that all entries
    /// add up to.
    pub fn worth(&self) -> i64 {
        let left: u64 = self
            .grants
            .iter()
            .map(|grant| grant.amount - grant.used - grant.expired)
            .sum();
        left as i64 - self.head.debt as i64
    }

    /// The grant of this cycle's plan, unless it was voided and is gone.
    pub fn plan_grant(&self) -> Option<&Grant> {
        let index = self.head.cycle.index;
        self.grants
            .iter()
            .find(|grant| grant.kind == GrantKind::Plan && grant.id.is_plan_of(index))
    }

    /// What it has, as it is answered.
    pub fn balance(&self, now: Timestamp) -> Balance {
        let plan = self.plan_grant();
        let active_plan = plan.filter(|grant| grant.is_active(now));
        let renews_at = self.head.cycle.next(now);
        let packs = self
            .active(now)
            .filter(|grant| grant.kind != GrantKind::Plan);
        let lasting = packs.clone().filter(|grant| !grant.has_ended(renews_at));
        Balance {
            available: self.available(now),
            held: self.held(),
            debt: self.head.debt,
            plan_id: self.head.plan.id.clone(),
            plan_allowance: self.head.plan.allowance,
            next_plan: self.head.next_plan.clone(),
            plan_used: plan.map_or(0, |grant| grant.used),
            plan_remaining: active_plan.map_or(0, Grant::remaining),
            plan_grant: match now < self.head.cycle.start {
                true => PlanGrant::ToCome {
                    credits: plan.map_or(0, Grant::remaining),
                },
                false => active_plan.map_or(PlanGrant::Over, |grant| PlanGrant::Open {
                    held: grant.held,
                }),
            },
            pack_remaining: packs.map(Grant::remaining).sum(),
            pack_lasting: lasting.map(Grant::remaining).sum(),
            renews_at,
            sequence: self.sequence,
            as_of: now,
            version: self.version,
        }
    }

    /// What a grant comes from, as it is answered. The present plan's grant may have been made for
    /// another one, in whose place a change at once has put the plan.
    pub fn source_of<'a>(&'a self, grant: &'a Grant) -> &'a str {
        let is_current = grant.id.is_plan_of(self.head.cycle.index);
        if is_current && grant.voided_at.is_none() {
            self.head.plan.id.as_str()
        } else {
            &grant.source
        }
    }

    /// Puts a grant in its place in the order of spending.
    pub fn insert_grant(&mut self, grant: Grant) {
        let place = self
            .grants
            .partition_point(|other| other.spending_order(&grant) == std::cmp::Ordering::Less);
        self.grants.insert(place, grant);
    }

    /// A live grant.
    pub fn grant(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.id == *id)
    }

    pub(super) fn grant_mut(&mut self, id: &GrantId) -> Option<&mut Grant> {
        self.grants.iter_mut().find(|grant| grant.id == *id)
    }

    fn active(&self, now: Timestamp) -> impl Iterator<Item = &Grant> + Clone {
        self.grants.iter().filter(move |grant| grant.is_active(now))
    }

    /// Takes up to `credits` out of the active grants, in order; answers from which.
    pub(super) fn take(&mut self, credits: u64, how: Take, now: Timestamp) -> Vec<Draw> {
        let mut missing = credits;
        let mut draws = Vec::new();
        for grant in self.grants.iter_mut().filter(|grant| grant.is_active(now)) {
            if missing == 0 {
                break;
            }
            let part = grant.remaining().min(missing);
            if part == 0 {
                continue;
            }
            match how {
                Take::Hold => grant.held += part,
                Take::Use => grant.used += part,
            }
            missing -= part;
            draws.push(Draw {
                grant_id: grant.id.clone(),
                credits: part,
            });
        }
        draws
    }

    /// Turns up to `credits` of some holds into charges, first hold first; answers what was
    /// charged and leaves in `holds` what is still held.
    pub(super) fn use_holds(&mut self, holds: &mut Vec<Draw>, credits: u64) -> Vec<Draw> {
        let mut missing = credits;
        let mut used = Vec::new();
        for hold in holds.iter_mut() {
            let part = hold.credits.min(missing);
            if part == 0 {
                break;
            }
            if let Some(grant) = self.grant_mut(&hold.grant_id) {
                grant.held -= part;
                grant.used += part;
            }
            hold.credits -= part;
            missing -= part;
            used.push(Draw {
                grant_id: hold.grant_id.clone(),
                credits: part,
            });
        }
        holds.retain(|hold| hold.credits > 0);
        used
    }

    /// Gives holds back to their grants. What returns to a grant that has ended expires, and so
    /// does what a downgraded plan's allowance has no room for; the moves say how much.
    pub(super) fn return_holds(&mut self, holds: &[Draw], now: Timestamp) -> Vec<GrantMove> {
        let mut moves = Vec::new();
        for hold in holds {
            let allowance = self.plan_allowance_of(&hold.grant_id);
            let Some(grant) = self.grant_mut(&hold.grant_id) else {
                continue;
            };
            grant.held -= hold.credits;
            moves.extend(expire_surplus(grant, allowance, hold.credits, now));
        }
        moves
    }

    /// Un-charges credits of one grant, and what of them a downgraded plan's allowance has no room
    /// for expires: the moves, in this order. `Err` where the grant has ended or is gone.
    pub(super) fn correct(
        &mut self,
        grant_id: &GrantId,
        credits: u64,
        now: Timestamp,
    ) -> Result<(GrantMove, Option<GrantMove>), NoWayBack> {
        let (grant, allowance, moved) = self.un_use(grant_id, credits, now)?;
        Ok((moved, expire_surplus(grant, allowance, credits, now)))
    }

    /// Un-charges credits of one grant. `Err` where that grant can't have them back: it has
    /// ended, is gone, or a downgraded plan has no room for them.
    pub(super) fn uncharge(
        &mut self,
        grant_id: &GrantId,
        credits: u64,
        now: Timestamp,
    ) -> Result<GrantMove, NoWayBack> {
        let (grant, allowance, moved) = self.un_use(grant_id, credits, now)?;
        if surplus(grant, allowance, now) > 0 {
            grant.used += credits;
            return Err(NoWayBack);
        }
        Ok(moved)
    }

    /// Takes credits off what is used of a grant, whether there is room for them or not: the grant,
    /// the allowance that bounds it, and the move.
    fn un_use(
        &mut self,
        grant_id: &GrantId,
        credits: u64,
        now: Timestamp,
    ) -> Result<(&mut Grant, Option<u64>, GrantMove), NoWayBack> {
        let allowance = self.plan_allowance_of(grant_id);
        let grant = self.grant_mut(grant_id).ok_or(NoWayBack)?;
        if grant.has_ended(now) || grant.used < credits {
            return Err(NoWayBack);
        }
        grant.used -= credits;
        let mut moved = GrantMove::of(grant_id);
        moved.used = -(credits as i64);
        Ok((grant, allowance, moved))
    }

    /// The allowance that bounds a grant: only this cycle's plan grant has one.
    fn plan_allowance_of(&self, grant_id: &GrantId) -> Option<u64> {
        let is_current = grant_id.is_plan_of(self.head.cycle.index);
        is_current.then_some(self.head.plan.allowance)
    }

    /// Drops grants that can never move again. This cycle's plan grant stays.
    pub(super) fn drop_ended(&mut self, now: Timestamp) {
        self.keep_grants(|grant| !grant.has_ended(now));
    }

    /// Drops grants that are used up and never end: a refund brings one back, with what the ledger
    /// knows of it, and what a correction gives back in the place of one never ends either. One
    /// that ends stays until then, so that what comes back to it ends with it.
    pub(super) fn drop_used_up(&mut self) {
        self.keep_grants(|grant| grant.expires_at.is_some());
    }

    /// Drops used-up grants where there are [`GRANTS_MAX`] or more: also those that end, where the
    /// others are not enough. What a correction gives back in the place of one of these never ends.
    pub fn make_room(&mut self) {
        if self.grants.len() >= GRANTS_MAX {
            self.drop_used_up();
        }
        if self.grants.len() >= GRANTS_MAX {
            self.keep_grants(|_| false);
        }
    }

    /// Keeps what can still move by itself, this cycle's plan grant, and what else is to be kept.
    fn keep_grants(&mut self, is_kept: impl Fn(&Grant) -> bool) {
        let current = self.head.cycle.index;
        self.grants.retain(|grant| {
            grant.held > 0
                || grant.remaining() > 0
                || grant.id.is_plan_of(current)
                || is_kept(grant)
        });
    }

    /// Says what of DESIGN.md's invariants 1 and 2 does not hold, of what the account alone shows.
    pub fn broken_invariant(&self, now: Timestamp) -> Option<String> {
        if let Some(grant) = self.grants.iter().find(|grant| !grant.adds_up()) {
            return Some(format!(
                "grant {}: used {} + held {} + expired {} exceed its amount {}",
                grant.id, grant.used, grant.held, grant.expired, grant.amount
            ));
        }
        let unordered = self
            .grants
            .windows(2)
            .find(|pair| pair[0].spending_order(&pair[1]) != std::cmp::Ordering::Less);
        if let Some(pair) = unordered {
            return Some(format!(
                "grants {} and {} are out of order",
                pair[0].id, pair[1].id
            ));
        }
        let spendable: u64 = self.active(now).map(Grant::remaining).sum();
        if self.head.debt > 0 && spendable > 0 {
            return Some(format!(
                "debt {} stands beside {spendable} spendable credits",
                self.head.debt
            ));
        }
        None
    }
}

/// A grant can't have its credits back.
pub(super) struct NoWayBack;

/// Lets expire what must not be spent of `credits` that have come back to a grant.
fn expire_surplus(
    grant: &mut Grant,
    allowance: Option<u64>,
    credits: u64,
    now: Timestamp,
) -> Option<GrantMove> {
    let lost = surplus(grant, allowance, now).min(credits);
    if lost == 0 {
        return None;
    }
    grant.expired += lost;
    let mut moved = GrantMove::of(&grant.id);
    moved.expired = lost as i64;
    Some(moved)
}

/// How much of what is left of a grant must not be spent: all of it where the grant has ended;
/// where it is the plan's, what exceeds the allowance less what is used and held.
fn surplus(grant: &Grant, allowance: Option<u64>, now: Timestamp) -> u64 {
    if grant.has_ended(now) {
        return grant.remaining();
    }
    match allowance {
        Some(allowance) => {
            let room = allowance.saturating_sub(grant.used + grant.held);
            grant.remaining().saturating_sub(room)
        }
        None => 0,
    }
}
