//! How far random runs went.

use tollgate::domain::decision::Balance;

/// How far a run went: one that never came to an edge shows nothing about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// The most credits that were there to be spent. What the ledger takes is bounded; what an
    /// open reservation has charged too much and gives back comes on top.
    pub available: u64,
    /// The most that were held.
    pub held: u64,
    /// The most that were owed.
    pub debt: u64,
    /// How often a number would have become too large, and was refused.
    pub refused: usize,
}

impl Reached {
    /// Looks at one more balance.
    pub fn see(&mut self, balance: &Balance) {
        self.available = self.available.max(balance.available);
        self.held = self.held.max(balance.held);
        self.debt = self.debt.max(balance.debt);
    }

    /// What two runs reached together.
    pub fn or(self, other: Reached) -> Reached {
        Reached {
            available: self.available.max(other.available),
            held: self.held.max(other.held),
            debt: self.debt.max(other.debt),
            refused: self.refused + other.refused,
        }
    }
}
