//! What settling writes, made ready before a connection is waited for: nothing here knows SQL.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    ops::Deref,
    sync::Arc,
};

use foldhash::fast::RandomState;

use super::{LedgerFault, moves::Moves};
use crate::{
    domain::{
        entry::{Entry, EntryKind},
        ids::{AccountId, ReservationId},
        packed::Packed,
    },
    hot::{Line, OutboxBatch},
};

/// A reservation's key.
pub(super) type Key<'a> = (&'a AccountId, &'a ReservationId);

/// A reservation as it was last; absent: forgotten.
pub(super) type Latest<'a> = (Key<'a>, Option<&'a Packed>);

/// The conversation of each reservation that is refunded in a batch.
pub(super) type Conversations<'a> = HashMap<Key<'a>, String, RandomState>;

/// What conversation an entry is of, if of any.
pub(super) fn conversation<'a>(
    entry: &'a Entry,
    refunded: &'a Conversations<'_>,
) -> Option<&'a str> {
    let found = match (&entry.settlement, &entry.reservation_id) {
        (Some(settlement), _) => Some(settlement.action.conversation_id.as_str()),
        (None, Some(id)) => refunded.get(&(&entry.account_id, id)).map(String::as_str),
        (None, None) => None,
    };
    found.filter(|id| !id.is_empty())
}

/// The reservations that are refunded, each with its conversation where it is settled here too;
/// elsewhere the ledger has it. Refunds are rare, so they are looked up one by one.
pub(super) fn refunded<'a>(
    entries: &[&'a Entry],
) -> impl Iterator<Item = (Key<'a>, Option<&'a str>)> {
    let refunds = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Refund);
    refunds.filter_map(|entry| {
        let id = entry.reservation_id.as_ref()?;
        let settlement = entries
            .iter()
            .filter(|settled| settled.account_id == entry.account_id)
            .filter(|settled| settled.reservation_id.as_ref() == Some(id))
            .find_map(|settled| settled.settlement.as_ref());
        let known = settlement.map(|settlement| settlement.action.conversation_id.as_str());
        Some(((&entry.account_id, id), known))
    })
}

/// Batches that can't be what a hot store has settled, or that can't be written down.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("a record can't be written as JSON: {0}")]
    Encode(#[source] serde_json::Error),
    #[error("account {account_id}: {detail}")]
    Broken {
        account_id: AccountId,
        detail: String,
    },
    #[error("shard {shard}: two batches do not follow each other")]
    BatchGap { shard: u32 },
}

impl LedgerFault {
    /// Whether what was to be written is what the ledger can't take, now or later.
    pub fn is_unfit(&self) -> bool {
        self.source.is::<Unfit>()
    }
}

/// From where to where one shard's cursor moves, and under which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CursorMove {
    pub(super) epoch: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Batches, added up.
pub(super) struct Prepared<'a> {
    /// How each shard's cursor moves.
    pub(super) cursors: BTreeMap<u32, CursorMove>,
    /// All entries, in the order of the batches.
    pub(super) entries: Vec<&'a Entry>,
    /// The same, to be written down.
    pub(super) lines: Vec<&'a Line>,
    /// What the entries add up to.
    pub(super) moves: Moves<'a>,
    /// Reservations as they were last, each once; absent: forgotten.
    pub(super) reservations: Vec<Latest<'a>>,
}

impl<'a> Prepared<'a> {
    /// Adds up what the batches move.
    pub(super) fn new(batches: &'a [OutboxBatch]) -> Result<Self, Unfit> {
        let lines = batches.iter().flat_map(|batch| batch.entries.iter());
        let lines: Vec<&Line> = lines.map(Arc::as_ref).collect();
        let entries: Vec<&Entry> = lines.iter().copied().map(Line::deref).collect();
        let moves = Moves::new(&entries)?;
        Ok(Prepared {
            cursors: cursor_moves(batches)?,
            entries,
            lines,
            moves,
            reservations: latest(batches),
        })
    }
}

/// The last mention of each reservation, where its first one was.
fn latest(batches: &[OutboxBatch]) -> Vec<Latest<'_>> {
    let mentions = || batches.iter().flat_map(|batch| batch.reservations.iter());
    let mut latest: Vec<Latest<'_>> = Vec::with_capacity(mentions().count());
    let mut places: HashMap<Key<'_>, usize, RandomState> =
        HashMap::with_capacity_and_hasher(latest.capacity(), RandomState::default());
    for ((account_id, id), kept) in mentions() {
        let key = (account_id, id);
        match places.entry(key) {
            hash_map::Entry::Occupied(place) => latest[*place.get()].1 = kept.as_ref(),
            hash_map::Entry::Vacant(place) => {
                place.insert(latest.len());
                latest.push((key, kept.as_ref()));
            }
        }
    }
    latest
}

/// Several batches of one shard must follow each other.
fn cursor_moves(batches: &[OutboxBatch]) -> Result<BTreeMap<u32, CursorMove>, Unfit> {
    let mut cursors: BTreeMap<u32, CursorMove> = BTreeMap::new();
    for batch in batches {
        let moved = cursors.entry(batch.shard).or_insert(CursorMove {
            epoch: batch.epoch,
            from: batch.from,
            to: batch.from,
        });
        if moved.to != batch.from || moved.epoch != batch.epoch {
            return Err(Unfit::BatchGap { shard: batch.shard });
        }
        moved.to = batch.to;
    }
    Ok(cursors)
}
