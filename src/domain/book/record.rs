//! How a transition writes its ledger entries: a draft says what moved, the account numbers it.

use super::{Book, Effects, Timestamp};
use crate::domain::{
    entry::{Entry, EntryKind, GrantMove, Settlement},
    grant::{Draw, add_draw},
    ids::ReservationId,
};

impl Book {
    /// Appends an entry with the account's next sequence. What it is worth follows from its
    /// moves and its debt, so that entries always add up to the state.
    pub(super) fn record(&mut self, draft: Draft, now: Timestamp, effects: &mut Effects) {
        self.account.sequence += 1;
        self.account.version += 1;
        let moved: i64 = draft.moves.iter().map(GrantMove::worth).sum();
        let draws = if draft.draws.is_empty() {
            moved_draws(&draft.moves)
        } else {
            draft.draws
        };
        effects.entries.push(Entry {
            account_id: self.account.id.clone(),
            sequence: self.account.sequence,
            kind: draft.kind,
            credits: moved - draft.debt_added,
            available_after: self.account.available(now),
            debt_after: self.account.head.debt,
            draws,
            occurred_at: now,
            reason: draft.reason,
            actor: draft.actor,
            reservation_id: draft.reservation_id,
            settlement: draft.settlement,
            change: draft.change,
            moves: draft.moves,
            head: self.account.head.clone(),
        });
    }
}

/// An entry before the account numbers it.
pub(super) struct Draft {
    pub(super) kind: EntryKind,
    pub(super) moves: Vec<GrantMove>,
    /// By how much the debt grew; negative where it was paid.
    pub(super) debt_added: i64,
    /// The draws to show; empty: what the moves say.
    pub(super) draws: Vec<Draw>,
    pub(super) reason: String,
    pub(super) actor: String,
    pub(super) reservation_id: Option<ReservationId>,
    pub(super) settlement: Option<Box<Settlement>>,
    pub(super) change: Option<u64>,
}

impl Draft {
    pub(super) fn new(kind: EntryKind, moves: Vec<GrantMove>) -> Self {
        Draft {
            kind,
            moves,
            debt_added: 0,
            draws: Vec::new(),
            reason: String::new(),
            actor: String::new(),
            reservation_id: None,
            settlement: None,
            change: None,
        }
    }
}

/// The moves of charging some draws to their grants.
pub(super) fn used_moves(draws: &[Draw]) -> Vec<GrantMove> {
    let used = |draw: &Draw| GrantMove {
        used: draw.credits as i64,
        ..GrantMove::of(&draw.grant_id)
    };
    draws.iter().map(used).collect()
}

/// The draws that some moves amount to: what each grant lost, or got.
fn moved_draws(moves: &[GrantMove]) -> Vec<Draw> {
    let mut draws = Vec::new();
    for moved in moves {
        add_draw(&mut draws, &moved.grant_id, moved.worth().unsigned_abs());
    }
    draws
}
