//! Administrative changes, applied: each number once, in order, with one entry that carries it.

use super::{Book, Draft, Effects, Timestamp, plan_grant};
use crate::domain::{
    account::{PlanTerm, Status},
    change::{Applied, Change, ChangeBody, Refund, RefundPart},
    credits::MAX_CREDITS,
    decision::Refusal,
    entry::{EntryKind, GrantMove},
    grant::{DEFAULT_PRIORITY, Draw, Grant, GrantKind, add_draw},
    ids::GrantId,
    refund::{Spread, take_off},
    reservation::Reservation,
};

impl Book {
    /// Applies a change, unless its number says that this was done before. No change is refused:
    /// what could be wrong with one was checked when the ledger took it. Only a refund may come to
    /// less than it says, where a correction was on its way to the ledger.
    pub fn apply(
        &mut self,
        change: &Change,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Applied, Refusal> {
        let next = self.account.head.applied_change + 1;
        if change.number > next {
            return Err(Refusal::ChangeGap { next });
        }
        // An account that is not there yet has no cycle that could be over.
        if next > 1 {
            self.advance(now, effects)?;
        }
        if change.number < next {
            return Ok(Applied {
                now: false,
                balance: self.account.balance(now),
            });
        }
        self.account.head.applied_change = change.number;
        let mut draft = match &change.body {
            ChangeBody::Create(create) => self.add_grant(plan_grant(&create.plan, create.cycle)),
            ChangeBody::SetStatus { status, reason } => {
                with_reason(self.set_status(*status, now), reason)
            }
            ChangeBody::ChangePlan { plan, at_renewal } => self.change_plan(plan, *at_renewal),
            ChangeBody::Grant { grant, reason } => {
                with_reason(self.add_grant(grant.as_ref().clone()), reason)
            }
            ChangeBody::Void { grant_id, reason } => {
                with_reason(self.void_grant(grant_id, now), reason)
            }
            ChangeBody::Refund(refund) => self.refund(refund, change.number, now, effects),
        };
        draft.change = Some(change.number);
        self.record(draft, now, effects);
        self.finish(now, effects);
        Ok(Applied {
            now: true,
            balance: self.account.balance(now),
        })
    }

    fn add_grant(&mut self, grant: Grant) -> Draft {
        self.account.make_room();
        let moved = made(&grant);
        self.account.insert_grant(grant);
        Draft::new(EntryKind::Grant, vec![moved])
    }

    fn set_status(&mut self, status: Status, now: Timestamp) -> Draft {
        self.account.head.status = status;
        let moves = match status {
            Status::Active | Status::Suspended => Vec::new(),
            Status::Closed => self
                .account
                .grants
                .iter_mut()
                .filter_map(|grant| void(grant, now))
                .collect(),
        };
        Draft::new(EntryKind::Status, moves)
    }

    /// What is left of the plan's grant becomes the new allowance less what was used and is
    /// held, never negative; neither anchor nor renewal date moves.
    fn change_plan(&mut self, plan: &PlanTerm, at_renewal: Option<bool>) -> Draft {
        let head = &mut self.account.head;
        let downgrade = plan.allowance < head.plan.allowance;
        if at_renewal.unwrap_or(downgrade) {
            head.next_plan = (plan.id != head.plan.id).then(|| plan.clone());
            return Draft::new(EntryKind::PlanChange, Vec::new());
        }
        head.plan = plan.clone();
        head.next_plan = None;
        let id = GrantId::plan(head.cycle.index);
        let mut moves = Vec::new();
        if let Some(grant) = self
            .account
            .grant_mut(&id)
            .filter(|grant| grant.voided_at.is_none())
        {
            let left = plan.allowance.saturating_sub(grant.used + grant.held);
            let gone = grant.used + grant.held + grant.expired;
            // What expired may have been as much as a grant can be.
            let amount = gone + left.min(MAX_CREDITS - gone);
            let mut moved = GrantMove::of(&id);
            moved.amount = amount as i64 - grant.amount as i64;
            grant.amount = amount;
            moves.push(moved);
        }
        Draft::new(EntryKind::PlanChange, moves)
    }

    fn void_grant(&mut self, id: &GrantId, now: Timestamp) -> Draft {
        let moved = match self.account.grant_mut(id) {
            Some(grant) => void(grant, now),
            // Used up or expired: nothing is left to take, but it was voided all the same.
            None => Some(GrantMove {
                voided_at: Some(now),
                ..GrantMove::of(id)
            }),
        };
        Draft::new(EntryKind::Void, moved.into_iter().collect())
    }

    /// Back to the grants it came from; off the debt where it is still owed; and the rest, whose
    /// grants have ended, to an adjustment grant that never expires.
    fn refund(
        &mut self,
        refund: &Refund,
        number: u64,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Draft {
        let refund = &self.not_corrected(refund);
        let mut moves = Vec::new();
        let mut draws: Vec<Draw> = Vec::new();
        let mut elsewhere = 0;
        for part in &refund.parts {
            self.restore_used_up(part, now);
            match self.account.uncharge(&part.grant.id, part.credits, now) {
                Ok(moved) => {
                    add_draw(&mut draws, &part.grant.id, part.credits);
                    moves.push(moved);
                }
                Err(_) => elsewhere += part.credits,
            }
        }
        let off_debt = refund.of_debt.min(self.account.head.debt);
        self.account.head.debt -= off_debt;
        elsewhere += refund.of_debt - off_debt;
        if elsewhere > 0 {
            let id = GrantId::refund(number);
            let source = if refund.reason.is_empty() {
                "refund"
            } else {
                &refund.reason
            };
            add_draw(&mut draws, &id, elsewhere);
            moves.push(self.add_adjustment(id, elsewhere, source, now));
        }
        self.take_off_charges(refund, effects);
        Draft {
            debt_added: -(off_debt as i64),
            draws,
            reason: refund.reason.clone(),
            actor: refund.actor.clone(),
            reservation_id: Some(refund.reservation_id.clone()),
            ..Draft::new(EntryKind::Refund, moves)
        }
    }

    /// What of a refund a correction has not given back already.
    fn not_corrected(&self, refund: &Refund) -> Refund {
        let known = self.reservation(&refund.reservation_id).ok().flatten();
        let is_corrected = |known: &Reservation| {
            let last = known.last_commit.as_ref();
            last.is_some_and(|last| last.receipt.corrected > 0)
        };
        match known.filter(is_corrected) {
            Some(known) => refund.within(known.charged),
            None => refund.clone(),
        }
    }

    /// A reservation that is still remembered must not have a later correction give back again
    /// what the refund did.
    fn take_off_charges(&mut self, refund: &Refund, effects: &mut Effects) {
        let Ok(Some(mut reservation)) = self.reservation(&refund.reservation_id) else {
            return;
        };
        let draw = |part: &RefundPart| Draw {
            grant_id: part.grant.id.clone(),
            credits: part.credits,
        };
        let spread = Spread {
            draws: refund.parts.iter().map(draw).collect(),
            of_debt: refund.of_debt,
        };
        take_off(&mut reservation.charges, &mut reservation.debt, &spread);
        self.check_out(&reservation);
        self.check_in(&reservation, effects);
    }

    /// An adjustment grant that never expires, for credits that have no way back to their own.
    pub(super) fn add_adjustment(
        &mut self,
        id: GrantId,
        credits: u64,
        source: &str,
        now: Timestamp,
    ) -> GrantMove {
        let grant = Grant {
            id,
            kind: GrantKind::Adjustment,
            amount: credits,
            used: 0,
            held: 0,
            expired: 0,
            priority: DEFAULT_PRIORITY,
            effective_at: now,
            expires_at: None,
            voided_at: None,
            source: source.to_owned(),
        };
        let moved = made(&grant);
        self.account.insert_grant(grant);
        moved
    }

    /// Puts back a grant that was dropped as used up, so that it can be refunded.
    fn restore_used_up(&mut self, part: &RefundPart, now: Timestamp) {
        let dropped = self.account.grant(&part.grant.id).is_none() && !part.grant.has_ended(now);
        if dropped {
            let mut grant = part.grant.as_ref().clone();
            grant.held = 0;
            grant.used = grant.amount - grant.expired;
            self.account.insert_grant(grant);
        }
    }
}

fn with_reason(draft: Draft, reason: &str) -> Draft {
    Draft {
        reason: reason.to_owned(),
        ..draft
    }
}

/// The move that makes a grant.
fn made(grant: &Grant) -> GrantMove {
    GrantMove {
        amount: grant.amount as i64,
        made: Some(Box::new(grant.clone())),
        ..GrantMove::of(&grant.id)
    }
}

/// Takes back what is left of a grant. What is held of it stays until it is settled or returned.
fn void(grant: &mut Grant, now: Timestamp) -> Option<GrantMove> {
    if grant.voided_at.is_some() {
        return None;
    }
    let left = grant.remaining();
    grant.expired += left;
    grant.voided_at = Some(now);
    Some(GrantMove {
        expired: left as i64,
        voided_at: Some(now),
        ..GrantMove::of(&grant.id)
    })
}
