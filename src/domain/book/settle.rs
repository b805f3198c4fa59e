//! What commits and charges have in common: usage is turned into draws, debt or write-offs, and
//! into one ledger entry.

use std::sync::Arc;

use super::{Book, Draft, Effects, Take, Timestamp, used_moves};
use crate::domain::{
    account::OveragePolicy,
    entry::{EntryKind, GrantMove, Receipt, Settlement},
    grant::{Draw, add_draw, sum_draws},
    ids::GrantId,
    reservation::{CommitRequest, Reservation},
};

/// How some usage was paid for.
#[derive(Default)]
pub(super) struct Payment {
    /// From grants, held before or not.
    pub draws: Vec<Draw>,
    /// By owing it.
    pub debt: u64,
    /// By nobody.
    pub written_off: u64,
    /// Beyond what was held.
    pub overage: u64,
}

impl Book {
    /// Charges `credits`: first the hold, then the active grants in order, then the account's
    /// overage policy. What is left of the hold stays in `reservation.holds`. Due holds of this
    /// account are given back first, before anything becomes debt or is written off.
    pub(super) fn pay(
        &mut self,
        reservation: &mut Reservation,
        credits: u64,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Payment {
        let beyond_hold = credits.saturating_sub(reservation.held());
        if beyond_hold > self.account.available(now) {
            self.reclaim(now, effects);
        }
        let mut draws = self.account.use_holds(&mut reservation.holds, credits);
        let overage = credits - sum_draws(&draws);
        let from_grants = self.account.take(overage, Take::Use, now);
        let uncovered = overage - sum_draws(&from_grants);
        for draw in from_grants {
            add_draw(&mut draws, &draw.grant_id, draw.credits);
        }
        let (debt, written_off) = match self.account.head.overage {
            OveragePolicy::Debt => (uncovered, 0),
            OveragePolicy::Absorb => (0, uncovered),
        };
        self.account.head.debt += debt;
        append_charges(&mut reservation.charges, &draws);
        reservation.charged += credits;
        reservation.debt += debt;
        reservation.written_off += written_off;
        Payment {
            draws,
            debt,
            written_off,
            overage,
        }
    }

    /// Gives back what earlier commits of the reservation charged too much: first what was
    /// written off, then debt, then to the grants, last charged first. Plan credits whose grant
    /// has ended expire with it, since they do not roll over, and so do those that a downgraded
    /// plan has no room for; anything else that has no way back (its grant has ended, or was
    /// dropped as used up), and debt that was repaid meanwhile, whichever grants paid it, goes to
    /// an adjustment grant. What a refund gave back before is not given back again.
    pub(super) fn give_back(
        &mut self,
        reservation: &mut Reservation,
        credits: u64,
        now: Timestamp,
    ) -> GivenBack {
        let mut back = GivenBack::default();
        let mut left = credits;
        let absorbed = reservation.written_off.min(left);
        reservation.written_off -= absorbed;
        left -= absorbed;
        let owed = reservation.debt.min(left);
        reservation.debt -= owed;
        left -= owed;
        back.debt = owed.min(self.account.head.debt);
        self.account.head.debt -= back.debt;
        let mut elsewhere = owed - back.debt;
        while left > 0 {
            let Some(mut charge) = reservation.charges.pop() else {
                break;
            };
            let part = charge.credits.min(left);
            left -= part;
            charge.credits -= part;
            if let Ok((moved, lost)) = self.account.correct(&charge.grant_id, part, now) {
                add_draw(&mut back.draws, &charge.grant_id, part);
                back.moves.push(moved);
                back.lost.extend(lost);
            } else if !charge.grant_id.is_plan() {
                elsewhere += part;
            }
            if charge.credits > 0 {
                reservation.charges.push(charge);
            }
        }
        back.credits = credits - left;
        reservation.charged -= back.credits;
        if elsewhere > 0 {
            let id = GrantId::correction(self.account.sequence + 1);
            add_draw(&mut back.draws, &id, elsewhere);
            back.moves
                .push(self.add_adjustment(id, elsewhere, "correction", now));
        }
        back
    }

    /// Writes the one entry of a settlement, and remembers it as the reservation's last.
    pub(super) fn record_settlement(
        &mut self,
        reservation: &mut Reservation,
        settled: Settled,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Receipt {
        reservation.commits += 1;
        let mut receipt = settled.receipt;
        receipt.sequence = self.account.sequence + 1;
        let settlement = Settlement {
            commit: reservation.commits,
            last: !settled.request.keep_open,
            action: Arc::clone(&reservation.action),
            amount: settled.request.amount,
            outcome: settled.request.outcome,
            held_before: settled.held_before,
            receipt: receipt.clone(),
        };
        let draft = Draft {
            debt_added: settled.debt_added,
            reservation_id: Some(reservation.id.clone()),
            settlement: Some(Box::new(settlement)),
            ..Draft::new(EntryKind::Usage, settled.moves)
        };
        self.record(draft, now, effects);
        receipt
    }
}

/// Keeps charges in the order of charging, as the receipts have them: only neighbours are merged.
fn append_charges(charges: &mut Vec<Draw>, draws: &[Draw]) {
    for draw in draws {
        match charges
            .last_mut()
            .filter(|last| last.grant_id == draw.grant_id)
        {
            Some(last) => last.credits += draw.credits,
            None => charges.push(draw.clone()),
        }
    }
}

/// What a correction gave back.
#[derive(Default)]
pub(super) struct GivenBack {
    /// All that is not charged any more.
    pub credits: u64,
    pub draws: Vec<Draw>,
    pub moves: Vec<GrantMove>,
    /// What of it expired at once.
    pub lost: Vec<GrantMove>,
    pub debt: u64,
}

/// A settlement before it is recorded.
pub(super) struct Settled {
    pub request: CommitRequest,
    pub receipt: Receipt,
    pub held_before: u64,
    pub moves: Vec<GrantMove>,
    pub debt_added: i64,
}

impl Settled {
    /// Usage that was charged.
    pub(super) fn charged(
        request: CommitRequest,
        credits: u64,
        payment: Payment,
        held_before: u64,
    ) -> Self {
        Settled {
            request,
            moves: used_moves(&payment.draws),
            debt_added: payment.debt as i64,
            held_before,
            receipt: Receipt {
                credits,
                overage: payment.overage,
                debt_added: payment.debt,
                written_off: payment.written_off,
                draws: payment.draws,
                ..Receipt::default()
            },
        }
    }

    /// Earlier charges that were too high.
    pub(super) fn corrected(request: CommitRequest, back: GivenBack, held_before: u64) -> Self {
        Settled {
            request,
            moves: back.moves,
            debt_added: -(back.debt as i64),
            held_before,
            receipt: Receipt {
                corrected: back.credits,
                draws: back.draws,
                ..Receipt::default()
            },
        }
    }
}
