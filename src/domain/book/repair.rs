//! An account that is not as the ledger has it is put right: the ledger is the truth.

use super::{Book, Draft, Effects, Timestamp};
use crate::domain::{
    account::Account,
    entry::EntryKind,
    grant::Draw,
    reservation::{Reservation, State},
};

/// Who repairs.
const ACTOR: &str = "tollgate";

impl Book {
    /// Puts the ledger's account in the place of this one, where this one is still at the
    /// ledger's sequence and at `version`. Open holds stay as far as the grants still cover them,
    /// earliest deadline first; the others expire. Answers how many did; `None`: the account has
    /// moved on, and nothing was done.
    pub fn repair(
        &mut self,
        stored: &Account,
        version: u64,
        reason: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Option<usize> {
        if self.account.sequence != stored.sequence || self.account.version != version {
            return None;
        }
        self.account.head = stored.head.clone();
        self.account.grants.clone_from(&stored.grants);
        let open: Vec<_> = self.due.iter().map(|(_, id)| id.clone()).collect();
        let mut expired = 0;
        for id in open {
            // One that can't be read holds nothing that could be put back.
            let Ok(Some(known)) = self.reservation(&id) else {
                continue;
            };
            if !self.account.hold_again(&known.holds) {
                self.check_out(&known);
                let gone = Reservation {
                    state: State::Expired,
                    holds: Vec::new(),
                    ended_at: Some(now),
                    ..known
                };
                self.check_in(&gone, effects);
                expired += 1;
            }
        }
        let draft = Draft {
            reason: reason.to_owned(),
            actor: ACTOR.to_owned(),
            ..Draft::new(EntryKind::Repair, Vec::new())
        };
        self.record(draft, now, effects);
        self.finish(now, effects);
        Some(expired)
    }
}

impl Account {
    /// Holds what some hold has held before, of the same grants; `false`: they don't cover it,
    /// and nothing is held. The draws are of different grants.
    fn hold_again(&mut self, draws: &[Draw]) -> bool {
        let covers = |draw: &Draw| {
            let grant = self.grant(&draw.grant_id);
            grant.is_some_and(|grant| grant.remaining() >= draw.credits)
        };
        if !draws.iter().all(covers) {
            return false;
        }
        for draw in draws {
            if let Some(grant) = self.grant_mut(&draw.grant_id) {
                grant.held += draw.credits;
            }
        }
        true
    }
}
