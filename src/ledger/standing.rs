//! Whether an administrative change can be taken, from an account as it is settled and from what
//! waits to be applied to it. Pure: the backends read the account, and write what is taken.

use crate::{
    domain::{
        account::{Account, Status},
        change::{Change, ChangeBody, Refund},
        credits::MAX_CREDITS,
        entry::Entry,
        grant::{GRANTS_MAX, Grant},
        ids::GrantId,
        refund::{Cost, Spread},
        timestamp::Timestamp,
    },
    ledger::{ChangeRequest, SubmitRefusal, Wanted, eras::as_spread},
};

/// The key of a creation whose caller gave none: an account is created once.
const CREATE_KEY: &str = "create";

/// The key under which a request is taken, if it has any.
pub(super) fn key(request: &ChangeRequest) -> Option<&str> {
    let create = matches!(request.wanted, Wanted::Create(_)).then_some(CREATE_KEY);
    request.key.as_deref().or(create)
}

/// The first field of the request that was another one, or was not there, before; else the first
/// one that the request lacks.
pub(super) fn first_difference<'a>(
    given: &'a [(String, String)],
    before: &'a [(String, String)],
) -> Option<&'a str> {
    let differs = |one: &'a [(String, String)], other: &[(String, String)]| {
        let changed = one.iter().find(|field| !other.contains(field));
        changed.map(|(name, _)| name.as_str())
    };
    differs(given, before).or_else(|| differs(before, given))
}

/// Whether a request has no key and is the account's last change all over again: a caller that
/// did not hear the answer.
pub(super) fn repeats(wanted: &Wanted, last: &Change) -> bool {
    match (wanted, &last.body) {
        (
            Wanted::SetStatus { status, reason },
            ChangeBody::SetStatus {
                status: before,
                reason: reason_before,
            },
        ) => status == before && reason == reason_before,
        _ => false,
    }
}

/// An account as it is settled, and what waits to be applied to it.
pub(super) struct Standing {
    pub(super) account: Account,
    pub(super) pending: Vec<Change>,
    pub(super) now: Timestamp,
}

/// What the ledger says about what a request names.
pub(super) struct Facts {
    /// Whether it has the grant that is to be made or voided.
    pub(super) knows_grant: bool,
    /// The refund, worked out; or why there can be none.
    pub(super) refund: Result<Refund, SubmitRefusal>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            knows_grant: false,
            refund: Err(SubmitRefusal::NothingSettled),
        }
    }
}

/// What a request comes down to.
pub(super) enum Resolved {
    /// A change.
    Body(ChangeBody),
    /// Nothing.
    Refused(SubmitRefusal),
    /// Another key has made the grant of this name.
    Taken,
}

impl Standing {
    /// What a request comes down to, on this account.
    pub(super) fn resolve(&self, wanted: &Wanted, facts: Facts) -> Resolved {
        Resolved::Body(match wanted {
            Wanted::Create(create) => ChangeBody::Create(create.clone()),
            Wanted::SetStatus { status, reason } => ChangeBody::SetStatus {
                status: *status,
                reason: reason.clone(),
            },
            Wanted::ChangePlan { plan, at_renewal } => {
                if !self.has_room(0, plan.allowance) {
                    return Resolved::Refused(SubmitRefusal::OutOfRange);
                }
                ChangeBody::ChangePlan {
                    plan: plan.clone(),
                    at_renewal: *at_renewal,
                }
            }
            Wanted::Grant { grant, reason } => {
                if facts.knows_grant || self.will_have(&grant.id) {
                    return Resolved::Taken;
                }
                if let Some(refusal) = self.refuse_grant(grant) {
                    return Resolved::Refused(refusal);
                }
                ChangeBody::Grant {
                    grant: grant.clone(),
                    reason: reason.clone(),
                }
            }
            Wanted::Void { grant_id, reason } => {
                if !facts.knows_grant && !self.will_have(grant_id) {
                    return Resolved::Refused(SubmitRefusal::GrantNotFound);
                }
                ChangeBody::Void {
                    grant_id: grant_id.clone(),
                    reason: reason.clone(),
                }
            }
            Wanted::Refund { .. } => match facts.refund {
                Ok(refund) if self.refuses_refund(&refund) => {
                    return Resolved::Refused(SubmitRefusal::OutOfRange);
                }
                Ok(refund) => ChangeBody::Refund(refund),
                Err(refusal) => return Resolved::Refused(refusal),
            },
            Wanted::Again => return Resolved::Refused(SubmitRefusal::NotSubmitted),
        })
    }

    /// What speaks against one more grant, whose id is free.
    fn refuse_grant(&self, grant: &Grant) -> Option<SubmitRefusal> {
        if self.live_grants() >= GRANTS_MAX {
            return Some(SubmitRefusal::TooManyGrants { max: GRANTS_MAX });
        }
        (!self.has_room(grant.amount, 0)).then_some(SubmitRefusal::OutOfRange)
    }

    fn refuses_refund(&self, refund: &Refund) -> bool {
        let beside_plan = refund
            .parts
            .iter()
            .filter(|part| part.grant.id != self.plan_grant());
        let more = refund.of_debt + beside_plan.map(|part| part.credits).sum::<u64>();
        !self.has_room(more, 0)
    }

    /// Whether the account may get `credits` more, or a plan of this `allowance`, and all that it
    /// could have at once stays in range. The plan counts with the greatest allowance that it has
    /// or may get, whatever is left of it now.
    fn has_room(&self, credits: u64, allowance: u64) -> bool {
        let head = &self.account.head;
        let mut allowance = allowance.max(head.plan.allowance);
        allowance = allowance.max(head.next_plan.as_ref().map_or(0, |plan| plan.allowance));
        let plan_grant = self.plan_grant();
        let others = self
            .account
            .grants
            .iter()
            .filter(|grant| grant.id != plan_grant);
        let mut sum = u128::from(credits);
        sum += others
            .map(|grant| u128::from(grant.remaining()))
            .sum::<u128>();
        for change in &self.pending {
            match &change.body {
                ChangeBody::Grant { grant, .. } => sum += u128::from(grant.amount),
                ChangeBody::Refund(refund) => sum += u128::from(refund.credits()),
                ChangeBody::ChangePlan { plan, .. } => allowance = allowance.max(plan.allowance),
                ChangeBody::Create(_) | ChangeBody::SetStatus { .. } | ChangeBody::Void { .. } => {}
            }
        }
        sum + u128::from(allowance) <= u128::from(MAX_CREDITS)
    }

    /// Whether a change that waits makes the grant.
    fn will_have(&self, id: &GrantId) -> bool {
        self.pending
            .iter()
            .any(|change| made_by(change).as_ref() == Some(id))
    }

    /// The present cycle's plan grant.
    fn plan_grant(&self) -> GrantId {
        GrantId::plan(self.account.head.cycle.index)
    }

    /// Grants that are live now or will be, once everything that waits is applied.
    fn live_grants(&self) -> usize {
        let live = self
            .account
            .grants
            .iter()
            .filter(|grant| grant.remaining() > 0 || grant.id == self.plan_grant())
            .filter(|grant| !grant.has_ended(self.now));
        let coming = self
            .pending
            .iter()
            .filter(|change| made_by(change).is_some());
        live.count() + coming.count()
    }
}

/// How `credits` of a reservation go back, or all of it for zero, and what earlier refunds give
/// back; or why they can't.
pub(super) fn spread(
    usage: &[Entry],
    refunds: &[Refund],
    credits: u64,
) -> Result<(Spread, u64), SubmitRefusal> {
    if usage.is_empty() {
        return Err(SubmitRefusal::NothingSettled);
    }
    let given_back: Vec<Spread> = refunds.iter().map(as_spread).collect();
    let cost = Cost::new(usage, &given_back);
    let refundable = cost.total();
    if refundable == 0 || credits > refundable {
        return Err(SubmitRefusal::RefundTooMuch { refundable });
    }
    let refunded = refunds
        .iter()
        .filter(|refund| refund.refunded.is_some())
        .map(Refund::credits)
        .sum();
    let credits = if credits == 0 { refundable } else { credits };
    Ok((cost.spread(credits), refunded))
}

/// Whether a change that waits ends the grant: whatever is applied after it finds it ended.
pub(super) fn will_end(grant: &Grant, pending: &[Change]) -> bool {
    pending.iter().any(|change| match &change.body {
        ChangeBody::Void { grant_id, .. } => *grant_id == grant.id,
        ChangeBody::SetStatus { status, .. } => *status == Status::Closed,
        ChangeBody::Create(_)
        | ChangeBody::ChangePlan { .. }
        | ChangeBody::Grant { .. }
        | ChangeBody::Refund(_) => false,
    })
}

/// The grant that a change makes.
fn made_by(change: &Change) -> Option<GrantId> {
    match &change.body {
        ChangeBody::Create(create) => Some(GrantId::plan(create.cycle.index)),
        ChangeBody::Grant { grant, .. } => Some(grant.id.clone()),
        ChangeBody::SetStatus { .. }
        | ChangeBody::ChangePlan { .. }
        | ChangeBody::Void { .. }
        | ChangeBody::Refund(_) => None,
    }
}
