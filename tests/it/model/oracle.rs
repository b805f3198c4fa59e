//! The plain model: one account, as a reader of PRODUCT.md and DESIGN.md (sections 3 and 7) would
//! write it down on paper, and what each request on it must answer.
//!
//! It keeps lists and nothing else: no sum is stored, nothing is indexed, nothing is dropped.
//! What is held of a lot is the sum over all holds, what can be spent is added up when somebody
//! asks, the order of spending is sorted afresh each time. It shares no code with the rules under
//! test but for the vocabulary of commands and answers, and the calendar.
//!
//! Versions of balances are left at zero here; the driver checks that they only rise.

mod admin;
mod hot_path;
mod records;
mod settle;

use std::cmp::Reverse;

use tollgate::domain::{
    account::{OveragePolicy, PlanTerm, Status},
    change::Create,
    credits::MAX_CREDITS,
    cycle::Cycle,
    decision::{Balance, CycleEnded, Denial, DenialReason, PlanGrant, Refusal, ReservationView},
    entry::EntryKind,
    grant::GrantKind,
    ids::{AccountId, ReservationId},
    reservation::State,
    timestamp::Timestamp,
    usage::{Action, Amount},
};

pub use records::{Deal, Line, Lot, Part, Report, add, signed, sum};

/// One account.
#[derive(Clone, Debug)]
pub struct Oracle {
    pub id: AccountId,
    pub now: Timestamp,
    pub status: Status,
    pub plan: PlanTerm,
    pub next_plan: Option<PlanTerm>,
    pub overage: OveragePolicy,
    pub anchor: Timestamp,
    pub cycle: Cycle,
    pub debt: u64,
    pub lots: Vec<Lot>,
    pub deals: Vec<Deal>,
    pub journal: Vec<Line>,
    pub changes: u64,
}

impl Oracle {
    /// An account before its first change.
    pub fn new(id: &AccountId, create: &Create) -> Self {
        Oracle {
            id: id.clone(),
            now: create.subscribed_at,
            status: Status::Active,
            plan: create.plan.clone(),
            next_plan: None,
            overage: create.overage,
            anchor: create.subscribed_at,
            cycle: create.cycle,
            debt: 0,
            lots: Vec::new(),
            deals: Vec::new(),
            journal: Vec::new(),
            changes: 0,
        }
    }

    // What there is.

    pub fn held_of(&self, lot: &str) -> u64 {
        let holds = self.deals.iter().flat_map(|deal| &deal.holds);
        holds
            .filter(|(id, _)| id == lot)
            .map(|(_, credits)| credits)
            .sum()
    }

    /// What is neither used nor held nor lost of a lot.
    pub fn left(&self, lot: &Lot) -> u64 {
        lot.amount - lot.used - lot.lost - self.held_of(&lot.id)
    }

    pub fn has_ended(&self, lot: &Lot) -> bool {
        lot.voided_at.is_some() || lot.until.is_some_and(|until| until <= self.now)
    }

    fn is_active(&self, lot: &Lot) -> bool {
        lot.from <= self.now && !self.has_ended(lot)
    }

    /// Every lot, in the order of PRODUCT.md rule 9.
    pub fn in_order(&self) -> Vec<Lot> {
        let mut lots = self.lots.clone();
        let never = Timestamp::from_millis(i64::MAX);
        lots.sort_by_key(|lot| {
            let promotion = lot.kind == GrantKind::Promo;
            let until = lot.until.unwrap_or(never);
            (
                lot.priority,
                until,
                Reverse(promotion),
                lot.from,
                lot.id.clone(),
            )
        });
        lots
    }

    fn spendable(&self) -> u64 {
        let active = self.lots.iter().filter(|lot| self.is_active(lot));
        active.map(|lot| self.left(lot)).sum()
    }

    pub fn available(&self) -> u64 {
        if self.debt > 0 {
            0
        } else {
            self.spendable().min(MAX_CREDITS)
        }
    }

    pub fn balance(&self) -> Balance {
        let plan_lot = self.lots.iter().find(|lot| self.is_of_this_cycle(lot));
        let packs = self.lots.iter().filter(|lot| lot.kind != GrantKind::Plan);
        let renews_at = match self.now < self.cycle.start {
            true => self.cycle.start,
            false => self.cycle.end,
        };
        let outlasts = |lot: &Lot| lot.until.is_none_or(|until| until > renews_at);
        Balance {
            available: self.available(),
            held: self.lots.iter().map(|lot| self.held_of(&lot.id)).sum(),
            debt: self.debt,
            plan_id: self.plan.id.clone(),
            plan_allowance: self.plan.allowance,
            next_plan: self.next_plan.clone(),
            plan_used: plan_lot.map_or(0, |lot| lot.used),
            plan_remaining: plan_lot
                .filter(|lot| self.is_active(lot))
                .map_or(0, |lot| self.left(lot)),
            plan_grant: self.plan_grant(plan_lot),
            pack_remaining: packs
                .clone()
                .filter(|lot| self.is_active(lot))
                .map(|lot| self.left(lot))
                .sum(),
            pack_lasting: packs
                .filter(|lot| self.is_active(lot) && outlasts(lot))
                .map(|lot| self.left(lot))
                .sum(),
            renews_at,
            sequence: self.journal.len() as u64,
            as_of: self.now,
            version: 0,
        }
    }

    /// What can become of this cycle's plan lot.
    fn plan_grant(&self, lot: Option<&Lot>) -> PlanGrant {
        match lot {
            lot if self.now < self.cycle.start => PlanGrant::ToCome {
                credits: lot.map_or(0, |lot| self.left(lot)),
            },
            Some(lot) if self.is_active(lot) => PlanGrant::Open {
                held: self.held_of(&lot.id),
            },
            Some(_) | None => PlanGrant::Over,
        }
    }

    pub fn deal(&self, id: &ReservationId) -> Option<&Deal> {
        self.deals.iter().find(|deal| deal.id == *id)
    }

    fn deal_mut(&mut self, id: &ReservationId) -> &mut Deal {
        self.deals
            .iter_mut()
            .find(|deal| deal.id == *id)
            .expect("a deal that was found before")
    }

    pub fn view(&self, deal: &Deal) -> ReservationView {
        ReservationView {
            id: deal.id.clone(),
            account_id: self.id.clone(),
            state: Some(deal.state),
            action: deal.action.clone(),
            held: deal.held(),
            charged: deal.charged(),
            expires_at: deal.deadline,
            rate_card_version: deal.version.clone(),
            asked: deal.origin.amount().clone(),
            reported: deal.reports.last().map(|last| last.request.amount.clone()),
        }
    }

    pub fn lot(&self, id: &str) -> Option<&Lot> {
        self.lots.iter().find(|lot| lot.id == id)
    }

    fn lot_mut(&mut self, id: &str) -> &mut Lot {
        self.lots
            .iter_mut()
            .find(|lot| lot.id == id)
            .expect("lots are never dropped")
    }

    pub fn is_of_this_cycle(&self, lot: &Lot) -> bool {
        lot.id == format!("plan:{}", self.cycle.index)
    }

    // What time does.

    /// Before every request: the cycle may be over, lots may have expired, and what has become
    /// spendable pays debt.
    pub fn time_passes(&mut self) -> Result<(), Refusal> {
        if self.status != Status::Closed && self.now >= self.cycle.end {
            let next = self.next_plan.as_ref().unwrap_or(&self.plan);
            return Err(Refusal::CycleEnded(CycleEnded {
                anchor: self.anchor,
                ended: self.cycle,
                plan_id: next.id.clone(),
                allowance: next.allowance,
                now: self.now,
            }));
        }
        self.expire_lots();
        self.pay_debt();
        Ok(())
    }

    fn expire_lots(&mut self) {
        let mut lost = Vec::new();
        for lot in self.in_order() {
            let left = self.left(&lot);
            if self.has_ended(&lot) && left > 0 {
                self.lot_mut(&lot.id).lost += left;
                lost.push((lot.id, left));
            }
        }
        self.note_expiry(lost);
    }

    /// Debt is the first thing that spendable credits pay.
    fn pay_debt(&mut self) {
        let parts = self.pick(self.debt);
        if parts.is_empty() {
            return;
        }
        self.use_parts(&parts);
        self.debt -= sum(&parts);
        // Worth moves from lots to debt: nothing is gained or lost.
        self.note(Line {
            parts,
            ..self.line(EntryKind::DebtRepaid, 0)
        });
    }

    /// Ends the holds whose deadline has passed, earliest first, at most `max`.
    pub fn expire_due(&mut self, max: usize) -> usize {
        let now = self.now;
        let mut due: Vec<_> = self
            .deals
            .iter()
            .filter(|deal| deal.state == State::Open && deal.deadline <= now)
            .map(|deal| (deal.deadline, deal.id.clone()))
            .collect();
        due.sort();
        due.truncate(max);
        for (_, id) in &due {
            self.deal_mut(id).state = State::Expired;
            let (_, lost) = self.return_hold(id);
            self.note_expiry(lost);
        }
        if !due.is_empty() {
            self.pay_debt();
        }
        due.len()
    }

    /// Ends this hold if its deadline has passed.
    fn expire_if_due(&mut self, id: &ReservationId) {
        let now = self.now;
        let is_due = |deal: &&Deal| deal.state == State::Open && deal.deadline <= now;
        if self.deal(id).filter(is_due).is_some() {
            self.deal_mut(id).state = State::Expired;
            let (_, lost) = self.return_hold(id);
            self.note_expiry(lost);
            self.pay_debt();
        }
    }

    // How credits move.

    /// From which lots so many credits come, in the order of spending; fewer where there are
    /// fewer.
    fn pick(&self, credits: u64) -> Vec<Part> {
        let mut missing = credits;
        let mut parts = Vec::new();
        for lot in self
            .in_order()
            .into_iter()
            .filter(|lot| self.is_active(lot))
        {
            let part = self.left(&lot).min(missing);
            missing -= part;
            add(&mut parts, &lot.id, part);
        }
        parts
    }

    fn use_parts(&mut self, parts: &[Part]) {
        for (id, credits) in parts {
            self.lot_mut(id).used += credits;
        }
    }

    /// Gives a whole hold back. Answers how much it was, and what of it could not be spent any
    /// more: it expires.
    fn return_hold(&mut self, id: &ReservationId) -> (u64, Vec<Part>) {
        let mut lost = Vec::new();
        let mut returned = 0;
        while let Some((lot_id, credits)) =
            self.deal(id).and_then(|deal| deal.holds.first().cloned())
        {
            self.deal_mut(id).holds.remove(0);
            returned += credits;
            let lot = self.lot(&lot_id).expect("lots are never dropped").clone();
            let gone = self.unspendable(&lot).min(credits);
            self.lot_mut(&lot_id).lost += gone;
            add(&mut lost, &lot_id, gone);
        }
        (returned, lost)
    }

    /// What of the rest of a lot must not be spent: all of one that has ended, and of this
    /// cycle's plan what a downgrade has no room for.
    fn unspendable(&self, lot: &Lot) -> u64 {
        let left = self.left(lot);
        if self.has_ended(lot) {
            return left;
        }
        if self.is_of_this_cycle(lot) {
            let taken = lot.used + self.held_of(&lot.id);
            return left.saturating_sub(self.plan.allowance.saturating_sub(taken));
        }
        0
    }

    /// Un-uses credits of a lot, where that leaves nothing unspendable.
    fn give_back(&mut self, lot_id: &str, credits: u64) -> bool {
        let Some(lot) = self.lot(lot_id).cloned() else {
            return false;
        };
        if self.has_ended(&lot) || lot.retired || lot.used < credits {
            return false;
        }
        self.lot_mut(lot_id).used -= credits;
        let fits = self.unspendable(self.lot(lot_id).expect("it is there")) == 0;
        if !fits {
            self.lot_mut(lot_id).used += credits;
        }
        fits
    }

    /// Whether `least` credits can be had, and how many of `asked`. A hold that is due never
    /// causes a denial.
    fn room(&mut self, asked: u64, least: u64) -> Result<u64, Denial> {
        if let Some(reason) = self.no_holds_at_all() {
            return Err(Denial {
                reason,
                required: least,
                available: self.available(),
            });
        }
        if asked == 0 {
            return Ok(0);
        }
        if self.available() < asked {
            self.expire_due(usize::MAX);
        }
        let available = self.available();
        if available >= least {
            return Ok(available.min(asked));
        }
        let reason = match (self.debt, available) {
            (1.., _) => DenialReason::DebtOutstanding,
            (0, 0) => DenialReason::BalanceExhausted,
            (0, 1..) => DenialReason::InsufficientCredits,
        };
        Err(Denial {
            reason,
            required: least,
            available,
        })
    }

    fn no_holds_at_all(&self) -> Option<DenialReason> {
        match self.status {
            Status::Active => None,
            Status::Suspended => Some(DenialReason::AccountSuspended),
            Status::Closed => Some(DenialReason::AccountClosed),
        }
    }

    // The journal.

    fn line(&self, kind: EntryKind, credits: i64) -> Line {
        Line {
            kind,
            credits,
            parts: Vec::new(),
            available_after: 0,
            debt_after: 0,
            deal: None,
            settlement: None,
            change: None,
            reason: String::new(),
        }
    }

    fn note(&mut self, line: Line) {
        let (available_after, debt_after) = (self.available(), self.debt);
        self.journal.push(Line {
            available_after,
            debt_after,
            ..line
        });
    }

    fn note_expiry(&mut self, lost: Vec<Part>) {
        if !lost.is_empty() {
            let credits = -signed(sum(&lost));
            self.note(Line {
                parts: lost,
                ..self.line(EntryKind::Expiry, credits)
            });
        }
    }
}

/// Names the amount where two differ.
fn differing_amount(known: &Amount, given: &Amount, usage: &'static str) -> Option<&'static str> {
    match (known == given, given) {
        (true, _) => None,
        (false, Amount::Usage(_)) => Some(usage),
        (false, Amount::Credits(_)) => Some("credits"),
    }
}

/// Names the first field in which two actions differ.
fn differing_action(known: &Action, given: &Action) -> Option<&'static str> {
    let fields = [
        ("action.mode", known.mode == given.mode),
        ("action.model", known.model == given.model),
        (
            "action.conversation_id",
            known.conversation_id == given.conversation_id,
        ),
        ("action.labels", known.labels == given.labels),
    ];
    fields
        .into_iter()
        .find(|(_, same)| !same)
        .map(|(field, _)| field)
}

fn conflict<T>(field: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Conflict { field })
}
