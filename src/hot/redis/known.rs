//! The newest era of each shard that this process has met, and how far it knows the ledger to be in
//! it. It tells so with every step: a server of an older era was replaced by another one, and does
//! not count; one of that era whose history ends before that has followed another one meanwhile, and
//! must be verified first.

use parking_lot::Mutex;

use crate::hot::Mark;

/// Era and position, shard by shard; zeros where nothing is known.
#[derive(Debug)]
pub(super) struct Known(Vec<Mutex<(u64, u64)>>);

impl Known {
    pub fn nothing(shards: u32) -> Self {
        Known((0..shards).map(|_| Mutex::default()).collect())
    }

    /// The era and the position of a shard.
    pub fn get(&self, shard: u32) -> (u64, u64) {
        let known = self.0.get(shard as usize);
        known.map(|known| *known.lock()).unwrap_or_default()
    }

    /// Takes note of the era that a step ran in. How far the ledger is it does not say.
    pub fn meet(&self, mark: Mark) {
        self.raise(Mark {
            position: 0,
            ..mark
        });
    }

    /// Takes note of where the ledger is.
    pub fn raise(&self, mark: Mark) {
        if let Some(known) = self.0.get(mark.shard as usize) {
            let mut known = known.lock();
            *known = (mark.era, mark.position).max(*known);
        }
    }
}
