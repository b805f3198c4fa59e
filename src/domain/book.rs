//! The book of one account: the account and its reservations, and every transition between their
//! states (DESIGN.md, section 3). Each transition checks everything, then applies everything, and
//! leaves its ledger entries and the reservations it touched in [`Effects`].
//!
//! A store runs a transition under its own lock (memory) or as one script (Redis); the rules are
//! these either way.

mod change;
mod commit;
mod extend;
mod record;
mod release;
mod repair;
mod reserve;
mod restore;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use self::record::{Draft, used_moves};
// What a store that keeps its reservations elsewhere compares and answers by.
pub(crate) use self::{
    commit::{answer_charged, answer_known},
    extend::was_extended,
    reserve::{check_same, least_credits, would_hold},
};
use super::{
    account::{Account, Status, Take},
    change::plan_grant,
    command::Renewal,
    credits::MAX_CREDITS,
    decision::{Balance, CycleEnded, Denial, DenialReason, Refusal},
    entry::{Entry, EntryKind, GrantMove},
    grant::sum_draws,
    ids::ReservationId,
    packed::{Packed, Unreadable},
    reservation::{Reservation, State, Terms},
    timestamp::Timestamp,
};

/// The most due holds that one step reclaims before it denies.
pub const RECLAIM_MAX: usize = 1000;

/// One account with its reservations.
///
/// A step unpacks the one reservation that it is about and packs what becomes of it: thousands
/// are remembered for a day, and few of them are ever asked for again.
#[derive(Clone, Debug)]
pub struct Book {
    account: Account,
    /// Of this kind since it keeps each id's hash: growing does not look at every id again, and
    /// most are long out of the processor's cache.
    reservations: IndexMap<ReservationId, Packed, RandomState>,
    /// The open reservations by deadline.
    due: BTreeSet<(Timestamp, ReservationId)>,
    /// When time last acted on the account; the beginning of time where it never did.
    seen: Timestamp,
}

/// What a transition leaves behind for the store to keep.
#[derive(Debug, Default)]
pub struct Effects {
    /// Ledger entries, in sequence.
    pub entries: Vec<Entry>,
    /// Reservations that are new or changed.
    pub touched: Vec<(ReservationId, Packed)>,
}

impl Book {
    /// A book of an account, with the reservations that are known of it.
    pub fn new(account: Account, reservations: impl IntoIterator<Item = Reservation>) -> Self {
        let mut due = BTreeSet::new();
        let pack = |known: Reservation| {
            if known.state == State::Open {
                due.insert((known.expires_at, known.id.clone()));
            }
            let packed = Packed::new(&known);
            (known.id, packed)
        };
        Book {
            account,
            reservations: reservations.into_iter().map(pack).collect(),
            due,
            seen: Timestamp::from_millis(i64::MIN),
        }
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// A reservation, whatever its state.
    pub fn reservation(&self, id: &ReservationId) -> Result<Option<Reservation>, Refusal> {
        let Some(packed) = self.reservations.get(id) else {
            return Ok(None);
        };
        match packed.unpack(&self.account.id, id) {
            Ok(reservation) => Ok(Some(reservation)),
            Err(Unreadable(_)) => Err(Refusal::Unreadable),
        }
    }

    /// What a reservation's prices depend on, whatever its state.
    pub fn terms(&self, id: &ReservationId) -> Result<Option<Terms>, Refusal> {
        let terms = self.reservations.get(id).map(Packed::terms).transpose();
        terms.map_err(|Unreadable(_)| Refusal::Unreadable)
    }

    /// Every reservation that is remembered, as it is stored.
    pub fn reservations(&self) -> impl Iterator<Item = (&ReservationId, &Packed)> {
        self.reservations.iter()
    }

    /// A reservation as it is stored.
    pub fn packed(&self, id: &ReservationId) -> Option<&Packed> {
        self.reservations.get(id)
    }

    /// The open reservations as they are stored, earliest deadline first.
    pub fn open(&self) -> impl Iterator<Item = (&ReservationId, &Packed)> {
        let ids = self.due.iter().map(|(_, id)| id);
        ids.filter_map(|id| Some((id, self.reservations.get(id)?)))
    }

    /// The earliest deadline of an open reservation.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many reservations are open.
    pub fn open_count(&self) -> usize {
        self.due.len()
    }

    /// Lets time act on the account: expires grants and pays debt from what became spendable.
    /// `Err` where the cycle is over: renew first; and where the account's creation is not applied
    /// yet: load it first.
    pub fn advance(&mut self, now: Timestamp, effects: &mut Effects) -> Result<(), Refusal> {
        self.check_begun()?;
        self.check_cycle(now)?;
        self.expire_grants(now, effects);
        self.repay_debt(now, effects);
        Ok(())
    }

    /// What the account has. Changes nothing but what time changes.
    pub fn balance(&mut self, now: Timestamp, effects: &mut Effects) -> Result<Balance, Refusal> {
        self.advance(now, effects)?;
        Ok(self.account.balance(now))
    }

    /// Begins a new cycle where the one that the renewal names is still the account's and over.
    /// An account that was closed meanwhile gets none.
    pub fn renew(&mut self, renewal: &Renewal, now: Timestamp, effects: &mut Effects) {
        let ended = self.account.head.cycle;
        let is_next = renewal.cycle.start >= ended.end && now >= ended.end;
        if ended != renewal.ended || !is_next || !self.renews() {
            return;
        }
        self.expire_grants(now, effects);
        self.account.drop_used_up();
        let head = &mut self.account.head;
        head.cycle = renewal.cycle;
        head.plan = renewal.plan.clone();
        head.next_plan = None;
        let grant = plan_grant(&renewal.plan, renewal.cycle);
        let mut moved = GrantMove::of(&grant.id);
        moved.amount = grant.amount as i64;
        moved.made = Some(Box::new(grant.clone()));
        self.account.insert_grant(grant);
        self.record(Draft::new(EntryKind::Renewal, vec![moved]), now, effects);
        self.finish(now, effects);
    }

    /// Expires up to `max` due holds; answers how many.
    pub fn expire_due(&mut self, max: usize, now: Timestamp, effects: &mut Effects) -> usize {
        let mut expired = 0;
        while expired < max {
            if self.due.first().is_none_or(|(at, _)| *at > now) {
                break;
            }
            let Some((_, id)) = self.due.pop_first() else {
                break;
            };
            // One that can't be read is not due again; the reconciler finds what it held.
            if let Ok(Some(reservation)) = self.reservation(&id) {
                self.expire(reservation, now, effects);
            }
            expired += 1;
        }
        if expired > 0 {
            self.finish(now, effects);
        }
        expired
    }

    /// Forgets a settled reservation that ended at or before `until`; answers whether it did.
    pub fn forget(&mut self, id: &ReservationId, until: Timestamp) -> bool {
        let ended = |known: &Packed| match known.times() {
            Ok((State::Open, ..)) => false,
            Ok((State::Committed | State::Released | State::Expired, ended_at, _)) => {
                ended_at.is_some_and(|at| at <= until)
            }
            // Nobody will ever read it.
            Err(_) => true,
        };
        let forget = self.reservations.get(id).is_some_and(ended);
        if forget {
            self.reservations.swap_remove(id);
        }
        forget
    }

    /// Says which of DESIGN.md's invariants 1 and 2 does not hold. What became spendable since
    /// the last step pays debt in the next one, and breaks nothing until then.
    pub fn broken_invariant(&self, now: Timestamp) -> Option<String> {
        if let Some(broken) = self.account.broken_invariant(now.min(self.seen)) {
            return Some(broken);
        }
        let mut held: HashMap<&str, u64, RandomState> = HashMap::default();
        for (id, packed) in &self.reservations {
            let read = packed.each_hold(|grant_id, credits| {
                *held.entry(grant_id).or_default() += credits;
            });
            if let Err(unreadable) = read {
                return Some(format!("reservation {id}: {unreadable}"));
            }
        }
        for grant in &self.account.grants {
            let of_holds = held.remove(grant.id.as_str()).unwrap_or(0);
            if of_holds != grant.held {
                return Some(format!(
                    "grant {}: held {} where its open holds have {of_holds}",
                    grant.id, grant.held
                ));
            }
        }
        held.into_iter()
            .next()
            .map(|(grant, credits)| format!("holds have {credits} of unknown grant {grant}"))
    }

    fn renews(&self) -> bool {
        match self.account.head.status {
            Status::Active | Status::Suspended => true,
            Status::Closed => false,
        }
    }

    /// An account whose creation is not applied yet has no grants, and would be taken for one that
    /// is used up. Whoever loads it applies its creation, also where it is there already.
    fn check_begun(&self) -> Result<(), Refusal> {
        match self.account.head.applied_change {
            0 => Err(Refusal::NotLoaded),
            1.. => Ok(()),
        }
    }

    fn check_cycle(&self, now: Timestamp) -> Result<(), Refusal> {
        let head = &self.account.head;
        if !self.renews() || now < head.cycle.end {
            return Ok(());
        }
        let plan = head.next_plan.as_ref().unwrap_or(&head.plan);
        Err(Refusal::CycleEnded(CycleEnded {
            anchor: head.anchor,
            ended: head.cycle,
            plan_id: plan.id.clone(),
            allowance: plan.allowance,
            now,
        }))
    }

    fn expire_grants(&mut self, now: Timestamp, effects: &mut Effects) {
        let mut moves = Vec::new();
        let ended = self
            .account
            .grants
            .iter_mut()
            .filter(|grant| grant.has_ended(now));
        for grant in ended {
            let left = grant.remaining();
            if left > 0 {
                grant.expired += left;
                let mut moved = GrantMove::of(&grant.id);
                moved.expired = left as i64;
                moves.push(moved);
            }
        }
        self.record_expiry(moves, now, effects);
        self.account.drop_ended(now);
    }

    fn record_expiry(&mut self, moves: Vec<GrantMove>, now: Timestamp, effects: &mut Effects) {
        if !moves.is_empty() {
            self.record(Draft::new(EntryKind::Expiry, moves), now, effects);
        }
    }

    /// Debt is the first thing that spendable credits pay.
    fn repay_debt(&mut self, now: Timestamp, effects: &mut Effects) {
        self.seen = now;
        if self.account.head.debt == 0 {
            return;
        }
        let draws = self.account.take(self.account.head.debt, Take::Use, now);
        if draws.is_empty() {
            return;
        }
        let repaid = sum_draws(&draws);
        self.account.head.debt -= repaid;
        let draft = Draft {
            debt_added: -(repaid as i64),
            ..Draft::new(EntryKind::DebtRepaid, used_moves(&draws))
        };
        self.record(draft, now, effects);
    }

    /// Ends every transition that changed something: pays debt, drops what has ended, counts.
    fn finish(&mut self, now: Timestamp, effects: &mut Effects) {
        self.repay_debt(now, effects);
        self.account.drop_ended(now);
        self.account.version += 1;
    }

    /// Before a denial: due holds of this account must not cause it.
    fn reclaim(&mut self, now: Timestamp, effects: &mut Effects) {
        self.expire_due(RECLAIM_MAX, now, effects);
    }

    /// A reservation as it is now, expired if its deadline has passed.
    fn known(
        &mut self,
        id: &ReservationId,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<Option<Reservation>, Refusal> {
        let Some(known) = self.reservation(id)? else {
            return Ok(None);
        };
        if !known.is_due(now) {
            return Ok(Some(known));
        }
        self.check_out(&known);
        let expired = self.expire(known, now, effects);
        self.finish(now, effects);
        Ok(Some(expired))
    }

    /// Expires a reservation that is checked out.
    fn expire(
        &mut self,
        mut reservation: Reservation,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Reservation {
        let holds = reservation.expire(now);
        let lost = self.account.return_holds(&holds, now);
        self.check_in(&reservation, effects);
        self.record_expiry(lost, now, effects);
        reservation
    }

    /// Begins to change a reservation; [`Book::check_in`] puts it back.
    fn check_out(&mut self, reservation: &Reservation) {
        if reservation.state == State::Open {
            self.due
                .remove(&(reservation.expires_at, reservation.id.clone()));
        }
    }

    fn check_in(&mut self, reservation: &Reservation, effects: &mut Effects) {
        if reservation.state == State::Open {
            self.due
                .insert((reservation.expires_at, reservation.id.clone()));
        }
        let (id, packed) = (reservation.id.clone(), Packed::new(reservation));
        effects.touched.push((id.clone(), packed.clone()));
        self.reservations.insert(id, packed);
    }

    /// Why nothing may be held at all, whatever the amount.
    fn status_denial(&self, required: u64, now: Timestamp) -> Option<Denial> {
        let reason = match self.account.head.status {
            Status::Active => return None,
            Status::Suspended => DenialReason::AccountSuspended,
            Status::Closed => DenialReason::AccountClosed,
        };
        Some(Denial {
            reason,
            required,
            available: self.account.available(now),
        })
    }

    /// Whether `least` credits can be taken, reclaiming due holds before it says no; and how
    /// many of `asked` there are.
    fn cover(
        &mut self,
        asked: u64,
        least: u64,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<u64, Denial> {
        if let Some(denial) = self.status_denial(least, now) {
            return Err(denial);
        }
        if asked == 0 {
            return Ok(0);
        }
        if self.account.available(now) < asked {
            self.reclaim(now, effects);
        }
        let available = self.account.available(now);
        if available >= least {
            return Ok(asked.min(available));
        }
        let reason = if self.account.head.debt > 0 {
            DenialReason::DebtOutstanding
        } else if available == 0 {
            DenialReason::BalanceExhausted
        } else {
            DenialReason::InsufficientCredits
        };
        Err(Denial {
            reason,
            required: least,
            available,
        })
    }
}

/// Refuses a number that the stores could not keep.
fn in_range(field: &'static str, credits: u64) -> Result<u64, Refusal> {
    if credits > MAX_CREDITS {
        return Err(Refusal::OutOfRange { field });
    }
    Ok(credits)
}
