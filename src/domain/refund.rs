//! What of a settled reservation can be refunded, and to which grants it goes back.

use super::{
    entry::{Entry, EntryKind},
    grant::{Draw, sum_draws},
};

/// What one reservation has cost so far, net of corrections and refunds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Taken from grants, first taken first.
    pub draws: Vec<Draw>,
    /// What became debt.
    pub debt: u64,
    /// What was written off: it was never paid, so only a correction takes it back.
    pub written_off: u64,
}

/// How a refund is spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Back to grants, last charged first.
    pub draws: Vec<Draw>,
    /// Off what became debt.
    pub of_debt: u64,
}

impl Spread {
    /// All that goes back.
    pub fn credits(&self) -> u64 {
        sum_draws(&self.draws) + self.of_debt
    }

    /// Whether nothing goes back.
    pub fn is_empty(&self) -> bool {
        self.draws.is_empty() && self.of_debt == 0
    }
}

impl Cost {
    /// From the reservation's usage entries, oldest first, and from what every earlier refund
    /// gave back.
    pub fn new<'a>(
        usage: impl IntoIterator<Item = &'a Entry>,
        refunds: impl IntoIterator<Item = &'a Spread>,
    ) -> Self {
        let mut cost = Cost::default();
        let settlements = usage
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::Usage)
            .filter_map(|entry| entry.settlement.as_deref());
        for settlement in settlements {
            let receipt = &settlement.receipt;
            if receipt.corrected > 0 {
                // A correction goes back the way that a refund does, but for what nobody paid.
                let absorbed = cost.written_off.min(receipt.corrected);
                cost.written_off -= absorbed;
                let paid = receipt.corrected - absorbed;
                let spread = cost.spread(paid.min(cost.total()));
                cost.subtract(&spread);
            } else {
                cost.written_off += receipt.written_off;
                cost.draws.extend(receipt.draws.iter().cloned());
                cost.debt += receipt.debt_added;
            }
        }
        for refund in refunds {
            cost.subtract(refund);
        }
        cost
    }

    /// What can still be refunded.
    pub fn total(&self) -> u64 {
        sum_draws(&self.draws) + self.debt
    }

    /// Spreads a refund of at most [`Cost::total`]: last charged, first back.
    pub fn spread(&self, credits: u64) -> Spread {
        let of_debt = self.debt.min(credits);
        let mut left = credits - of_debt;
        let mut draws = Vec::new();
        for draw in self.draws.iter().rev() {
            let part = draw.credits.min(left);
            super::grant::add_draw(&mut draws, &draw.grant_id, part);
            left -= part;
        }
        Spread { draws, of_debt }
    }

    fn subtract(&mut self, spread: &Spread) {
        take_off(&mut self.draws, &mut self.debt, spread);
    }
}

/// Takes what was given back off what was paid, so that no credit is given back twice. Where a
/// correction and a refund crossed, one of them may name a grant that the other has used up
/// already: then the rest comes off whatever was paid last.
pub(super) fn take_off(paid: &mut Vec<Draw>, debt: &mut u64, spread: &Spread) {
    let of_debt = spread.of_debt.min(*debt);
    *debt -= of_debt;
    let mut left = spread.of_debt - of_debt;
    for back in &spread.draws {
        let of_grant = |draw: &&mut Draw| draw.grant_id == back.grant_id;
        left += take_last(paid.iter_mut().rev().filter(of_grant), back.credits);
    }
    left = take_last(paid.iter_mut().rev(), left);
    *debt -= left.min(*debt);
    paid.retain(|draw| draw.credits > 0);
}

/// Takes up to `credits` out of some draws; answers what they did not have.
fn take_last<'a>(draws: impl Iterator<Item = &'a mut Draw>, credits: u64) -> u64 {
    let mut left = credits;
    for draw in draws {
        let part = draw.credits.min(left);
        draw.credits -= part;
        left -= part;
    }
    left
}
