//! Administrative changes and renewals.

use tollgate::domain::{
    account::{PlanTerm, Status},
    change::{Applied, Change, ChangeBody, Refund},
    command::Renewal,
    credits::MAX_CREDITS,
    cycle::Cycle,
    decision::Refusal,
    entry::EntryKind,
    grant::{DEFAULT_PRIORITY, Grant, GrantKind},
};

use super::{Line, Lot, Oracle, Part, add, signed, sum};

impl Oracle {
    /// Each change once, in the order of the numbers.
    pub fn apply(&mut self, change: &Change) -> Result<Applied, Refusal> {
        let next = self.changes + 1;
        if change.number > next {
            return Err(Refusal::ChangeGap { next });
        }
        // An account that is not there yet has no cycle that could be over.
        if next > 1 {
            self.time_passes()?;
        }
        if change.number < next {
            return Ok(Applied {
                now: false,
                balance: self.balance(),
            });
        }
        self.changes = change.number;
        let line = match &change.body {
            ChangeBody::Create(create) => {
                let grant = self.add_plan_lot(&create.plan, create.cycle);
                self.line_of(EntryKind::Grant, grant)
            }
            ChangeBody::Grant { grant, reason } => {
                let made = self.add_lot(grant);
                Line {
                    reason: reason.clone(),
                    ..self.line_of(EntryKind::Grant, made)
                }
            }
            ChangeBody::SetStatus { status, reason } => {
                let lost = self.set_status(*status);
                Line {
                    reason: reason.clone(),
                    ..self.line_lost(EntryKind::Status, lost)
                }
            }
            ChangeBody::Void { grant_id, reason } => {
                let lost = self.void(&grant_id.to_string());
                Line {
                    reason: reason.clone(),
                    ..self.line_lost(EntryKind::Void, lost)
                }
            }
            ChangeBody::ChangePlan { plan, at_renewal } => self.change_plan(plan, *at_renewal),
            ChangeBody::Refund(refund) => self.refund(refund, change.number),
        };
        self.note(Line {
            change: Some(change.number),
            ..line
        });
        self.pay_debt();
        Ok(Applied {
            now: true,
            balance: self.balance(),
        })
    }

    fn line_of(&self, kind: EntryKind, parts: Vec<Part>) -> Line {
        let credits = signed(sum(&parts));
        Line {
            parts,
            ..self.line(kind, credits)
        }
    }

    fn line_lost(&self, kind: EntryKind, parts: Vec<Part>) -> Line {
        let credits = -signed(sum(&parts));
        Line {
            parts,
            ..self.line(kind, credits)
        }
    }

    fn add_plan_lot(&mut self, plan: &PlanTerm, cycle: Cycle) -> Vec<Part> {
        let id = format!("plan:{}", cycle.index);
        let mut parts = Vec::new();
        add(&mut parts, &id, plan.allowance);
        self.lots.push(Lot {
            id,
            kind: GrantKind::Plan,
            priority: DEFAULT_PRIORITY,
            from: cycle.start,
            until: Some(cycle.end),
            voided_at: None,
            amount: plan.allowance,
            used: 0,
            lost: 0,
            retired: false,
        });
        parts
    }

    fn add_lot(&mut self, grant: &Grant) -> Vec<Part> {
        let id = grant.id.to_string();
        let mut parts = Vec::new();
        add(&mut parts, &id, grant.amount);
        self.lots.push(Lot {
            id,
            kind: grant.kind,
            priority: grant.priority,
            from: grant.effective_at,
            until: grant.expires_at,
            voided_at: None,
            amount: grant.amount,
            used: 0,
            lost: 0,
            retired: false,
        });
        parts
    }

    /// Suspended: no new holds. Closed: the same, and the grants that it has are void.
    fn set_status(&mut self, status: Status) -> Vec<Part> {
        self.status = status;
        let mut lost = Vec::new();
        if status == Status::Closed {
            for lot in self.in_order().into_iter().filter(|lot| !lot.retired) {
                lost.extend(self.void(&lot.id));
            }
        }
        lost
    }

    /// Takes back what is left; what is held of it stays until it is settled or returned.
    fn void(&mut self, id: &str) -> Vec<Part> {
        let mut lost = Vec::new();
        let lot = self.lot(id).expect("the ledger knows the grant").clone();
        if lot.voided_at.is_none() {
            let left = self.left(&lot);
            let now = self.now;
            let lot = self.lot_mut(id);
            lot.lost += left;
            lot.voided_at = Some(now);
            add(&mut lost, id, left);
        }
        lost
    }

    /// What is left of this cycle becomes the new allowance less what is used and held, never
    /// below nothing.
    fn change_plan(&mut self, plan: &PlanTerm, at_renewal: Option<bool>) -> Line {
        let is_downgrade = plan.allowance < self.plan.allowance;
        if at_renewal.unwrap_or(is_downgrade) {
            self.next_plan = (plan.id != self.plan.id).then(|| plan.clone());
            return self.line(EntryKind::PlanChange, 0);
        }
        self.plan = plan.clone();
        self.next_plan = None;
        let id = format!("plan:{}", self.cycle.index);
        let lot = self.lot(&id).expect("a cycle has its lot").clone();
        if lot.voided_at.is_some() {
            return self.line(EntryKind::PlanChange, 0);
        }
        let left = self.left(&lot);
        let new_left = plan.allowance.saturating_sub(lot.used + self.held_of(&id));
        let new_left = new_left.min(MAX_CREDITS - (lot.amount - left));
        self.lot_mut(&id).amount = lot.amount - left + new_left;
        let mut parts = Vec::new();
        add(&mut parts, &id, new_left.abs_diff(left));
        Line {
            parts,
            ..self.line(EntryKind::PlanChange, signed(new_left) - signed(left))
        }
    }

    /// Off the debt where it is still owed, back to the lots that can take it, and the rest to
    /// an adjustment that never expires.
    fn refund(&mut self, refund: &Refund, number: u64) -> Line {
        let mut parts = Vec::new();
        let mut elsewhere = 0;
        for part in &refund.parts {
            let id = part.grant.id.to_string();
            if let Some(lot) = self.lots.iter_mut().find(|lot| lot.id == id) {
                lot.retired = false;
            }
            if self.give_back(&id, part.credits) {
                add(&mut parts, &id, part.credits);
            } else {
                elsewhere += part.credits;
            }
        }
        let off_debt = refund.of_debt.min(self.debt);
        self.debt -= off_debt;
        elsewhere += refund.of_debt - off_debt;
        if elsewhere > 0 {
            let id = format!("refund:{number}");
            self.add_adjustment(&id, elsewhere);
            add(&mut parts, &id, elsewhere);
        }
        self.take_off_the_deal(refund);
        Line {
            parts,
            deal: Some(refund.reservation_id.clone()),
            reason: refund.reason.clone(),
            ..self.line(EntryKind::Refund, signed(refund.credits()))
        }
    }

    /// What is refunded can be neither corrected nor refunded again.
    fn take_off_the_deal(&mut self, refund: &Refund) {
        let is_open = self.deal(&refund.reservation_id).is_some_and(|deal| {
            deal.reports
                .last()
                .is_some_and(|last| last.request.keep_open)
        });
        let deal = self.deal_mut(&refund.reservation_id);
        deal.refunded_early |= is_open;
        let owed = refund.of_debt.min(deal.owed);
        deal.owed -= owed;
        let mut more = refund.of_debt - owed;
        for part in &refund.parts {
            let mut left = part.credits;
            let id = part.grant.id.to_string();
            for paid in deal.paid.iter_mut().rev().filter(|paid| paid.0 == id) {
                let back = paid.1.min(left);
                paid.1 -= back;
                left -= back;
            }
            more += left;
        }
        for paid in deal.paid.iter_mut().rev() {
            let back = paid.1.min(more);
            paid.1 -= back;
            more -= back;
        }
        deal.owed -= more.min(deal.owed);
        deal.paid.retain(|paid| paid.1 > 0);
    }

    /// A new cycle, unless somebody was faster. Plan credits that are left expire.
    pub fn renew(&mut self, renewal: &Renewal) {
        if self.cycle != renewal.ended || self.status == Status::Closed {
            return;
        }
        self.expire_lots();
        for lot in self.in_order() {
            if lot.until.is_none() && self.left(&lot) == 0 && self.held_of(&lot.id) == 0 {
                self.lot_mut(&lot.id).retired = true;
            }
        }
        self.cycle = renewal.cycle;
        self.plan = renewal.plan.clone();
        self.next_plan = None;
        let made = self.add_plan_lot(&renewal.plan, renewal.cycle);
        self.note(self.line_of(EntryKind::Renewal, made));
        self.pay_debt();
    }
}
