//! Commit and charge: used is used.

use tollgate::domain::{
    account::OveragePolicy,
    command::{Charge, Commit},
    credits::{Credits, MAX_CREDITS},
    decision::{Charged, Committed, Denial, Refusal},
    entry::{EntryKind, Receipt},
    grant::{DEFAULT_PRIORITY, Draw, GrantKind},
    ids::{GrantId, ReservationId},
    reservation::{CommitRequest, Origin, State},
    usage::{Amount, Outcome},
};

use super::{
    Deal, Line, Lot, Oracle, Part, Report, add, conflict, differing_action, differing_amount,
    signed, sum,
};

impl Oracle {
    pub fn commit(&mut self, command: &Commit) -> Result<Committed, Refusal> {
        self.time_passes()?;
        let id = &command.reservation_id;
        self.expire_if_due(id);
        if self.deal(id).is_some() != command.known {
            return Err(Refusal::Reprice);
        }
        if let Some(deal) = self.deal(id)
            && let Some(answer) = self.answer_without_settling(deal, &command.request)?
        {
            return Ok(answer);
        }
        let charged = self.deal(id).map_or(0, Deal::charged);
        let target = command.credits.get();
        if self.debt + target.saturating_sub(charged) > MAX_CREDITS {
            return Err(Refusal::OutOfRange { field: "debt" });
        }
        if !command.known {
            self.deals.push(self.unknown(command));
        }
        let late = !command.known || self.deal(id).expect("known").state == State::Expired;
        let held_before = self.deal(id).expect("known").held().min(MAX_CREDITS);
        let keep_open = command.request.keep_open;
        let mut lost = Vec::new();
        let (mut receipt, worth) = if target < charged && !keep_open {
            self.correct(id, charged - target, &mut lost)
        } else {
            self.pay(id, target.saturating_sub(charged))
        };
        receipt.late = late;
        receipt.price = command.price.clone();
        if !keep_open || !command.request.next_hold.is_zero() {
            let (returned, more) = self.return_hold(id);
            receipt.returned = returned.min(MAX_CREDITS);
            for (lot, part) in more {
                add(&mut lost, &lot, part);
            }
        }
        let receipt = self.report(id, command.request.clone(), receipt, held_before, worth);
        self.note_expiry(lost);
        self.pay_debt();
        let next_hold_denial = self.hold_next(id, &command.request);
        self.keep(id, keep_open, receipt.returned, next_hold_denial.clone());
        let reservation = self.view(self.deal(id).expect("known"));
        let balance = self.balance();
        Ok(Committed {
            receipt,
            reservation,
            balance,
            replayed: false,
            next_hold_denial,
        })
    }

    /// A retry is answered as before; an older report than the last one changes nothing; what
    /// has ended takes no other commit.
    fn answer_without_settling(
        &self,
        deal: &Deal,
        request: &CommitRequest,
    ) -> Result<Option<Committed>, Refusal> {
        if deal.state == State::Released {
            return Err(Refusal::NotOpen {
                state: State::Released,
            });
        }
        if matches!(deal.origin, Origin::Charge { .. }) {
            return conflict("reservation_id");
        }
        let Some(last) = deal.reports.last() else {
            return Ok(None);
        };
        let (receipt, next_hold_denial, replayed) = if last.request == *request {
            (last.receipt.clone(), last.denial.clone(), true)
        } else if deal.state == State::Committed {
            // It was released after a partial commit, or this is another last commit.
            if last.request.keep_open {
                return Err(Refusal::NotOpen {
                    state: State::Committed,
                });
            }
            let was = &last.request;
            let field = differing_amount(&was.amount, &request.amount, "usage")
                .or((was.outcome != request.outcome).then_some("outcome"))
                .or((was.keep_open != request.keep_open).then_some("keep_open"))
                .unwrap_or("next_hold");
            return conflict(field);
        } else if request.keep_open && is_older(&request.amount, &last.request.amount) {
            (Receipt::default(), None, false)
        } else {
            return Ok(None);
        };
        let reservation = self.view(deal);
        let balance = self.balance();
        Ok(Some(Committed {
            receipt,
            reservation,
            balance,
            replayed,
            next_hold_denial,
        }))
    }

    /// First the hold, then the active lots in order, then the account's policy. Answers what
    /// the account's worth moved by. What is due comes back before anything is owed.
    fn pay(&mut self, id: &ReservationId, credits: u64) -> (Receipt, i64) {
        let held = sum(&self.deal_mut(id).holds);
        if credits.saturating_sub(held) > self.available() {
            self.expire_due(usize::MAX);
        }
        let mut parts = Vec::new();
        let mut missing = credits;
        for hold in &mut self.deal_mut(id).holds {
            let part = hold.1.min(missing);
            hold.1 -= part;
            missing -= part;
            add(&mut parts, &hold.0, part);
        }
        self.deal_mut(id).holds.retain(|hold| hold.1 > 0);
        self.use_parts(&parts);
        let overage = missing;
        let more = self.pick(overage);
        self.use_parts(&more);
        missing -= sum(&more);
        for (lot, part) in more {
            add(&mut parts, &lot, part);
        }
        let (debt, waived) = match self.overage {
            OveragePolicy::Debt => (missing, 0),
            OveragePolicy::Absorb => (0, missing),
        };
        self.debt += debt;
        let deal = self.deal_mut(id);
        deal.paid.extend(parts.iter().cloned());
        deal.owed += debt;
        deal.waived += waived;
        let receipt = Receipt {
            credits,
            overage,
            debt_added: debt,
            written_off: waived,
            draws: draws(&parts),
            ..Receipt::default()
        };
        (receipt, -signed(credits - waived))
    }

    /// What was charged too much goes back: written-off credits first, then debt, then to the
    /// lots, last paid first. What debt was repaid meanwhile, and what a lot other than a plan's
    /// can't take back, becomes an adjustment; plan credits that have ended do not roll over, and
    /// those that a smaller plan has no room for are lost.
    fn correct(
        &mut self,
        id: &ReservationId,
        credits: u64,
        lost: &mut Vec<Part>,
    ) -> (Receipt, i64) {
        let mut left = credits;
        let debt = self.debt;
        let deal = self.deal_mut(id);
        let waived = deal.waived.min(left);
        deal.waived -= waived;
        left -= waived;
        let owed = deal.owed.min(left);
        deal.owed -= owed;
        left -= owed;
        let off_debt = owed.min(debt);
        self.debt -= off_debt;
        let mut elsewhere = owed - off_debt;
        let mut back: Vec<Part> = Vec::new();
        let paid = self.unpay(id, left);
        left -= sum(&paid);
        for (lot, part) in paid {
            if let Some(over) = self.un_use(&lot, part) {
                add(&mut back, &lot, part);
                add(lost, &lot, over);
            } else if self.lot(&lot).expect("it paid").kind != GrantKind::Plan {
                elsewhere += part;
            }
        }
        if elsewhere > 0 {
            let lot = format!("correction:{}", self.journal.len() + 1);
            self.add_adjustment(&lot, elsewhere);
            add(&mut back, &lot, elsewhere);
        }
        let worth = signed(sum(&back) + off_debt);
        (
            Receipt {
                // What was refunded before can't go back again.
                corrected: credits - left,
                draws: draws(&back),
                ..Receipt::default()
            },
            worth,
        )
    }

    /// Un-uses credits of a lot, if it has not ended; answers how many nobody may spend, which
    /// are lost.
    fn un_use(&mut self, lot_id: &str, credits: u64) -> Option<u64> {
        let lot = self.lot(lot_id)?;
        if self.has_ended(lot) || lot.retired || lot.used < credits {
            return None;
        }
        self.lot_mut(lot_id).used -= credits;
        let over = self.unspendable(self.lot(lot_id)?).min(credits);
        self.lot_mut(lot_id).lost += over;
        Some(over)
    }

    /// Takes so much out of what a deal's lots paid, last paid first.
    fn unpay(&mut self, id: &ReservationId, credits: u64) -> Vec<Part> {
        let mut left = credits;
        let mut parts = Vec::new();
        let paid = &mut self.deal_mut(id).paid;
        while left > 0
            && let Some((lot, part)) = paid.pop()
        {
            let back = part.min(left);
            left -= back;
            if part > back {
                paid.push((lot.clone(), part - back));
            }
            parts.push((lot, back));
        }
        parts
    }

    pub(super) fn add_adjustment(&mut self, id: &str, amount: u64) {
        self.lots.push(Lot {
            id: id.to_owned(),
            kind: GrantKind::Adjustment,
            priority: DEFAULT_PRIORITY,
            from: self.now,
            until: None,
            voided_at: None,
            amount,
            used: 0,
            lost: 0,
            retired: false,
        });
    }

    /// Every settlement is one line, and is remembered with its answer.
    fn report(
        &mut self,
        id: &ReservationId,
        request: CommitRequest,
        mut receipt: Receipt,
        held_before: u64,
        worth: i64,
    ) -> Receipt {
        receipt.sequence = self.journal.len() as u64 + 1;
        let last = !request.keep_open;
        let deal = self.deal_mut(id);
        deal.reports.push(Report {
            request,
            receipt: receipt.clone(),
            denial: None,
        });
        let number = deal.reports.len() as u32;
        let parts = receipt
            .draws
            .iter()
            .map(|draw| (draw.grant_id.to_string(), draw.credits));
        self.note(Line {
            parts: parts.collect(),
            deal: Some(id.clone()),
            settlement: Some((number, last, held_before, receipt.clone())),
            ..self.line(EntryKind::Usage, worth)
        });
        receipt
    }

    fn hold_next(&mut self, id: &ReservationId, request: &CommitRequest) -> Option<Denial> {
        let next = request.next_hold.get();
        if !request.keep_open || next == 0 {
            return None;
        }
        // The deal itself is being settled: its own deadline does not count.
        let state = std::mem::replace(&mut self.deal_mut(id).state, State::Committed);
        let room = self.room(next, next);
        self.deal_mut(id).state = state;
        match room {
            Ok(credits) => self.deal_mut(id).holds = self.pick(credits),
            Err(denial) => return Some(denial),
        }
        None
    }

    fn keep(&mut self, id: &ReservationId, keep_open: bool, returned: u64, denial: Option<Denial>) {
        let now = self.now;
        let deal = self.deal_mut(id);
        if keep_open {
            deal.state = State::Open;
            deal.deadline = deal.deadline.max(now.plus_millis(deal.ttl_ms));
        } else {
            deal.state = State::Committed;
            deal.returned = returned;
        }
        deal.reports.last_mut().expect("it was just settled").denial = denial;
    }

    /// The provider was paid, so the commit of something that nobody knows counts all the same.
    fn unknown(&self, command: &Commit) -> Deal {
        Deal {
            id: command.reservation_id.clone(),
            state: State::Open,
            action: command.action.clone(),
            version: command.rate_card_version.clone(),
            origin: Origin::Commit {
                amount: command.request.amount.clone(),
            },
            holds: Vec::new(),
            paid: Vec::new(),
            owed: 0,
            waived: 0,
            reports: Vec::new(),
            extensions: Vec::new(),
            returned: 0,
            ttl_ms: command.effective_ttl_ms,
            deadline: self.now.plus_millis(command.effective_ttl_ms),
            refunded_early: false,
        }
    }

    pub fn charge(&mut self, command: &Charge) -> Result<Charged, Refusal> {
        self.time_passes()?;
        let id = &command.charge_id;
        self.expire_if_due(id);
        if let Some(deal) = self.deal(id) {
            same_charge(deal, command)?;
            let receipt = deal.reports[0].receipt.clone();
            return Ok(Charged {
                result: Ok(receipt),
                balance: self.balance(),
                replayed: true,
            });
        }
        let credits = command.credits.get();
        if self.debt + credits > MAX_CREDITS {
            return Err(Refusal::OutOfRange { field: "debt" });
        }
        let room = self.room(credits, credits);
        let forced = command.force && self.no_holds_at_all().is_none();
        if let Err(denial) = room
            && !forced
        {
            return Ok(Charged {
                result: Err(denial),
                balance: self.balance(),
                replayed: false,
            });
        }
        self.deals.push(self.charge_deal(command));
        let (mut receipt, worth) = self.pay(id, credits);
        // Nothing was held, so only what the balance did not cover is overage.
        receipt.overage = receipt.debt_added + receipt.written_off;
        receipt.price = command.price.clone();
        let request = CommitRequest {
            amount: command.amount.clone(),
            outcome: Outcome::Succeeded,
            keep_open: false,
            next_hold: Credits::ZERO,
        };
        let receipt = self.report(id, request, receipt, 0, worth);
        self.pay_debt();
        Ok(Charged {
            result: Ok(receipt),
            balance: self.balance(),
            replayed: false,
        })
    }

    fn charge_deal(&self, command: &Charge) -> Deal {
        Deal {
            id: command.charge_id.clone(),
            state: State::Committed,
            action: command.action.clone(),
            version: command.rate_card_version.clone(),
            origin: Origin::Charge {
                amount: command.amount.clone(),
                force: command.force,
            },
            holds: Vec::new(),
            paid: Vec::new(),
            owed: 0,
            waived: 0,
            reports: Vec::new(),
            extensions: Vec::new(),
            returned: 0,
            ttl_ms: 0,
            deadline: self.now,
            refunded_early: false,
        }
    }
}

/// Whether a report says less than another and nothing more.
fn is_older(report: &Amount, last: &Amount) -> bool {
    match (report, last) {
        (Amount::Credits(report), Amount::Credits(last)) => report < last,
        (Amount::Usage(report), Amount::Usage(last)) => {
            report != last
                && report
                    .iter()
                    .all(|(meter, quantity)| quantity <= last.get(meter))
        }
        (Amount::Credits(_), Amount::Usage(_)) | (Amount::Usage(_), Amount::Credits(_)) => false,
    }
}

fn same_charge(deal: &Deal, command: &Charge) -> Result<(), Refusal> {
    let Origin::Charge { amount, force } = &deal.origin else {
        return conflict("charge_id");
    };
    let field = differing_action(&deal.action, &command.action)
        .or_else(|| differing_amount(amount, &command.amount, "usage"))
        .or_else(|| (*force != command.force).then_some("force"));
    field.map_or(Ok(()), conflict)
}

fn draws(parts: &[Part]) -> Vec<Draw> {
    let draw = |(id, credits): &Part| Draw {
        grant_id: GrantId::new(id).expect("a lot's id"),
        credits: *credits,
    };
    parts.iter().map(draw).collect()
}
