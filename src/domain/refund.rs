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
}

/// How a refund is spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Back to grants, last charged first.
    pub draws: Vec<Draw>,
    /// Off what became debt.
    pub of_debt: u64,
}

impl Cost {
    /// From the reservation's usage entries, oldest first, and from what every earlier refund
    /// gave back. What was written off was never paid and so does not count.
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
                // A correction goes back the way that a refund does.
                let spread = cost.spread(receipt.corrected.min(cost.total()));
                cost.subtract(&spread);
            } else {
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
        self.debt = self.debt.saturating_sub(spread.of_debt);
        for back in &spread.draws {
            let mut left = back.credits;
            for draw in self.draws.iter_mut().rev().filter(|draw| draw.grant_id == back.grant_id) {
                let part = draw.credits.min(left);
                draw.credits -= part;
                left -= part;
            }
        }
        self.draws.retain(|draw| draw.credits > 0);
    }
}
