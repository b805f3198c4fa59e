//! How a settler gets round its shards, where they have more than one transaction takes. Each has its
//! turn, whatever came of the others.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::workers::StepError;

/// How many outboxes are read at once, at most.
pub(super) const SHARDS_AT_ONCE: usize = 16;

/// Where a settler is in its round.
#[derive(Debug)]
pub struct Round {
    /// At which of its shards the next transaction begins.
    next: AtomicUsize,
    /// How many are read at once: fewer after the ledger could not take them in time, since the same
    /// ones would be too much for it again.
    at_once: AtomicUsize,
    /// Why a shard of this round could not be settled, and since when something waits there.
    failed: Mutex<Option<(StepError, Option<i64>)>>,
}

impl Default for Round {
    fn default() -> Self {
        Round {
            next: AtomicUsize::new(0),
            at_once: AtomicUsize::new(SHARDS_AT_ONCE),
            failed: Mutex::default(),
        }
    }
}

impl Round {
    /// The shards in the order in which it is their turn.
    pub(super) fn turn(&self, mut shards: Vec<u32>) -> Vec<u32> {
        let all = shards.len().max(1);
        shards.rotate_left(self.next.load(Ordering::Relaxed) % all);
        shards
    }

    /// So many of all had theirs.
    pub(super) fn had(&self, taken: usize, all: usize) {
        let next = match taken < all {
            true => self.next.load(Ordering::Relaxed) + taken,
            false => 0,
        };
        self.next.store(next % all.max(1), Ordering::Relaxed);
    }

    /// Since when something waits that could not be settled in this round.
    pub(super) fn waits(&self) -> Option<i64> {
        self.failed.lock().as_ref().and_then(|(_, waits)| *waits)
    }

    pub(super) fn at_once(&self) -> usize {
        self.at_once.load(Ordering::Relaxed)
    }

    /// The ledger has taken something, or could not.
    pub(super) fn learn(&self, took: bool) {
        let next = match took {
            true => (self.at_once() * 2).min(SHARDS_AT_ONCE),
            false => (self.at_once() / 2).max(1),
        };
        self.at_once.store(next, Ordering::Relaxed);
    }

    /// Some shards could not be settled, where something waits since `waits`.
    pub(super) fn put_off(&self, error: StepError, waits: Option<i64>) {
        *self.failed.lock() = Some((error, waits));
    }

    /// What was put off in the round that is over.
    pub(super) fn put_off_error(&self) -> Option<StepError> {
        self.failed.lock().take().map(|(error, _)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_its_turn() {
        let round = Round::default();
        let all: Vec<u32> = (0..5).collect();
        let mut had = Vec::new();
        for _ in 0..3 {
            let turn = round.turn(all.clone());
            had.extend_from_slice(&turn[..2]);
            round.had(2, all.len());
        }
        assert_eq!(had, [0, 1, 2, 3, 4, 0]);
        round.had(5, all.len());
        assert_eq!(round.turn(all.clone()), all);
        // Shards come and go.
        round.had(4, all.len());
        assert_eq!(round.turn(vec![8, 9]), [8, 9]);
        assert!(round.turn(Vec::new()).is_empty());
    }

    #[test]
    fn a_ledger_that_is_slow_is_given_less() {
        let round = Round::default();
        let mut given = Vec::new();
        for took in [
            false, false, false, false, false, true, true, true, true, true,
        ] {
            round.learn(took);
            given.push(round.at_once());
        }
        assert_eq!(given, [8, 4, 2, 1, 1, 2, 4, 8, 16, 16]);
    }
}
