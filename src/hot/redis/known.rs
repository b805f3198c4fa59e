//! How far this process knows the ledger to be. It tells so with every step: a server whose history
//! ends before that has followed another one meanwhile, and must be verified first.

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

    /// Takes note of where the ledger is.
    pub fn raise(&self, mark: Mark) {
        if let Some(known) = self.0.get(mark.shard as usize) {
            let mut known = known.lock();
            *known = (mark.era, mark.position).max(*known);
        }
    }
}
