//! What this process has reserved of late, and on which terms: a commit mostly comes to the process
//! that reserved, and is priced without asking Redis first.
//!
//! A hint and nothing more: the commit's script compares it with the record, and has it priced
//! anew where they differ. An entry that was just used outlives the call that used it: so many
//! reservations are not made in any call's time.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::hash::BuildHasher;

use crate::domain::{
    ids::{AccountId, ReservationId},
    reservation::Terms,
};

/// How many are kept before the older half of all goes.
const GENERATION_MAX: usize = 65_536;

/// Terms by a hash of the reservation's key. Two keys that share one are told apart by the script.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hasher: RandomState,
    kept: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Terms>,
    old: HashMap<u64, Terms>,
}

impl Recent {
    /// Remembers a reservation that was just made.
    pub fn put(&self, account_id: &AccountId, id: &ReservationId, terms: Terms) {
        self.kept.lock().put(self.hash(account_id, id), terms);
    }

    /// The terms of a reservation, if they are remembered.
    pub fn get(&self, account_id: &AccountId, id: &ReservationId) -> Option<Terms> {
        self.kept.lock().get(self.hash(account_id, id))
    }

    /// Forgets one that has ended, or is not what it was.
    pub fn remove(&self, account_id: &AccountId, id: &ReservationId) {
        let hash = self.hash(account_id, id);
        let mut kept = self.kept.lock();
        kept.young.remove(&hash);
        kept.old.remove(&hash);
    }

    fn hash(&self, account_id: &AccountId, id: &ReservationId) -> u64 {
        self.hasher.hash_one((account_id.as_str(), id.as_str()))
    }
}

impl Generations {
    fn put(&mut self, hash: u64, terms: Terms) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, terms);
    }

    fn get(&mut self, hash: u64) -> Option<Terms> {
        if let Some(terms) = self.young.get(&hash) {
            return Some(terms.clone());
        }
        let terms = self.old.remove(&hash)?;
        self.put(hash, terms.clone());
        Some(terms)
    }
}

impl Terms {
    /// Those of a reservation that is made like this.
    pub(super) fn of(command: &crate::domain::command::Reserve) -> Self {
        Terms {
            action: Arc::clone(&command.action),
            rate_card_version: Arc::clone(&command.rate_card_version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(version: &str) -> Terms {
        Terms {
            action: Arc::default(),
            rate_card_version: version.into(),
        }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_used_stays() {
        let account = AccountId::new("acme").unwrap();
        let id = |n: usize| ReservationId::new(&format!("r{n}")).unwrap();
        let recent = Recent::default();
        for n in 0..2 * GENERATION_MAX {
            recent.put(&account, &id(n), terms("v1"));
            // Used all the time: it never gets old.
            assert!(recent.get(&account, &id(0)).is_some(), "{n}");
        }
        assert!(recent.get(&account, &id(1)).is_none());
        assert!(recent.get(&account, &id(2 * GENERATION_MAX - 1)).is_some());
        recent.remove(&account, &id(0));
        assert!(recent.get(&account, &id(0)).is_none());
    }
}
