//! What the server answered, summed by account, for the check at the end. Sums only, kept without
//! locks, so that a million accounts and any number of calls cost the load generator little.

use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::Call;

/// What was answered, by account.
#[derive(Debug, Default)]
pub(super) struct Tally {
    accounts: Vec<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    charged: AtomicU64,
    held: AtomicU64,
    settlements: AtomicU64,
    digest: AtomicU64,
}

/// What was answered for one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// The credits of all receipts.
    pub(super) charged: u64,
    /// What its open reservations hold.
    pub(super) held: u64,
    /// How many receipts there are.
    pub(super) settlements: u64,
    /// Stands for the set of receipts: id, credits and sequence of each. See [`digest`].
    pub(super) digest: u64,
}

impl Tally {
    /// For so many accounts. With none, nothing is kept.
    pub(super) fn new(accounts: u32) -> Self {
        Tally {
            accounts: (0..accounts).map(|_| Sums::default()).collect(),
        }
    }

    /// A reservation was granted.
    pub(super) fn held(&self, account: u32, credits: u64) {
        if let Some(sums) = self.sums(account) {
            sums.held.fetch_add(credits, Ordering::Relaxed);
        }
    }

    /// A reservation that held so much has ended.
    pub(super) fn returned(&self, account: u32, credits: u64) {
        if let Some(sums) = self.sums(account) {
            sums.held.fetch_sub(credits, Ordering::Relaxed);
        }
    }

    /// A receipt was given.
    pub(super) fn settled(&self, call: &Call, credits: u64, sequence: u64) {
        if let Some(sums) = self.sums(call.account) {
            sums.charged.fetch_add(credits, Ordering::Relaxed);
            sums.settlements.fetch_add(1, Ordering::Relaxed);
            sums.digest
                .fetch_add(digest(call.number, credits, sequence), Ordering::Relaxed);
        }
    }

    /// The sums of one account, once nobody adds to them any more.
    pub(super) fn answered(&self, account: u32) -> Answered {
        let Some(sums) = self.sums(account) else {
            return Answered::default();
        };
        Answered {
            charged: sums.charged.load(Ordering::Relaxed),
            held: sums.held.load(Ordering::Relaxed),
            settlements: sums.settlements.load(Ordering::Relaxed),
            digest: sums.digest.load(Ordering::Relaxed),
        }
    }

    fn sums(&self, account: u32) -> Option<&Sums> {
        self.accounts.get(usize::try_from(account).ok()?)
    }
}

/// A number that stands for one receipt. Added up (and wrapping) they stand for the set of them,
/// whatever their order: the same receipts give the same sum, and others do not but by a chance
/// of one in 2^64.
pub(super) fn digest(number: u64, credits: u64, sequence: u64) -> u64 {
    mix(mix(mix(number).wrapping_add(credits)).wrapping_add(sequence))
}

/// The finaliser of splitmix64 (Steele, Lea, Flood, 2014): spreads every bit over all.
pub(super) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::plan::Operation;

    fn call(account: u32, number: u64) -> Call {
        Call {
            operation: Operation::Commit,
            account,
            number,
        }
    }

    #[test]
    fn sums_are_kept_by_account() {
        let tally = Tally::new(2);
        tally.held(1, 18);
        tally.held(1, 5);
        tally.returned(1, 18);
        tally.settled(&call(1, 7), 11, 3);
        let answered = tally.answered(1);
        assert_eq!(
            (answered.charged, answered.held, answered.settlements),
            (11, 5, 1)
        );
        assert_eq!(answered.digest, digest(7, 11, 3));
        assert_eq!(tally.answered(0), Answered::default());
        assert_eq!(tally.answered(2), Answered::default(), "nobody's");
    }

    #[test]
    fn a_digest_tells_swapped_receipts_apart() {
        let sum = |receipts: [(u64, u64, u64); 2]| {
            receipts
                .iter()
                .fold(0_u64, |sum, (n, c, s)| sum.wrapping_add(digest(*n, *c, *s)))
        };
        assert_eq!(sum([(1, 5, 1), (2, 6, 2)]), sum([(2, 6, 2), (1, 5, 1)]));
        assert_ne!(sum([(1, 5, 1), (2, 6, 2)]), sum([(1, 6, 1), (2, 5, 2)]));
        assert_ne!(sum([(1, 5, 1), (2, 6, 2)]), sum([(1, 5, 2), (2, 6, 1)]));
    }
}
