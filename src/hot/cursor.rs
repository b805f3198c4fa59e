//! How far the ledger is in each shard's outbox, and which store it takes entries from.
//!
//! A shard has one history at a time. Whoever finds a shard on a server that may have lost
//! something *fences* it in the ledger first: the shard's epoch grows by one, and entries of an
//! older epoch never settle again, whoever still has them. Only then is it looked at what the
//! server has, so that nothing can move meanwhile.

/// How far the ledger is in one shard's outbox. Moved by compare-and-set on all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The shard.
    pub shard: u32,
    /// Entries of this epoch settle, and of no other. Zero: the shard was never fenced.
    pub epoch: u64,
    /// How many of the outbox's records the ledger has.
    pub position: u64,
}

/// A shard that is to be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The shard.
    pub shard: u32,
    /// The epoch that it must have; the next one begins.
    pub epoch: u64,
    /// The name of the process that may settle from now on.
    pub server: String,
}

/// What the ledger knows of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How far it is.
    pub cursor: Cursor,
    /// The name of the process that the shard was fenced for last; empty: nobody has.
    pub server: String,
    /// Up to which position the history of the epoch that was asked about is the ledger's. What
    /// such a history has beyond it settles only where this is the cursor's position.
    pub agreed: u64,
}

/// What the ledger has of a reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// The number of its last commit; zero: none.
    pub last: u64,
    /// Whether nothing can be settled on it any more.
    pub ended: bool,
}
