//! One shard: some accounts, their deadlines, and the outbox of what the ledger must get.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::{
    domain::{
        book::{Book, Effects},
        decision::Refusal,
        ids::{AccountId, ReservationId},
        packed::Packed,
        reservation::{State, Terms},
        timestamp::Timestamp,
    },
    hot::{Changed, Cursor, Line, OutboxBatch, Stored},
};

/// What an entry with its receipt takes in memory, about, and a changed reservation besides its
/// bytes.
const ENTRY_BYTES: usize = 1_024;
const CHANGED_BYTES: usize = 128;

/// An open hold as it is stored.
type Hold = (ReservationId, Packed);

/// Some accounts and what is written of them.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Boxed, so that a table that is half empty takes little, and one that grows moves little.
    books: HashMap<AccountId, Box<Book>, RandomState>,
    /// Accounts by the earliest deadline of their open holds.
    due: BTreeSet<(Timestamp, AccountId)>,
    /// Settled reservations by when they ended.
    ended: BTreeSet<(Timestamp, AccountId, ReservationId)>,
    open: usize,
    /// Steps after which an invariant did not hold.
    violations: u64,
    /// Entries that the ledger does not have, each with its position.
    entries: VecDeque<(u64, Arc<Line>)>,
    /// Reservations that changed since the ledger last had them, each with its position and as it
    /// was then.
    touched: VecDeque<(u64, Changed)>,
    /// What these two take in memory, about.
    outbox_bytes: usize,
    /// How many records the outbox has had, and how many of them the ledger has.
    tail: u64,
    trimmed: u64,
    /// The epoch under which the ledger takes them.
    epoch: u64,
    /// The latest time that was seen: time never runs backwards within a shard.
    latest: Timestamp,
}

/// What an account has open: how many holds, and when the first of them ends.
struct Open {
    count: usize,
    deadline: Option<Timestamp>,
}

impl Open {
    fn of(book: &Book) -> Self {
        Open {
            count: book.open_count(),
            deadline: book.next_deadline(),
        }
    }
}

impl Shard {
    /// Continues after what the ledger has.
    pub(super) fn start_at(&mut self, cursor: Cursor) {
        if self.tail == 0 {
            self.tail = cursor.position;
            self.trimmed = cursor.position;
            self.epoch = cursor.epoch;
        }
    }

    /// Puts an account in that has no reservations, unless it is there.
    pub(super) fn put(&mut self, book: Book) {
        let id = book.account().id.clone();
        self.books.entry(id).or_insert_with(|| Box::new(book));
    }

    /// Puts a reservation back into its account, if that is there.
    pub(super) fn restore(&mut self, account_id: &AccountId, id: ReservationId, packed: Packed) {
        let Some(book) = self.books.get_mut(account_id) else {
            return;
        };
        // The account's own, so that the one that was read is not kept with every reservation.
        let account_id = book.account().id.clone();
        if let Some(at) = ended_at(&packed) {
            self.ended.insert((at, account_id.clone(), id.clone()));
        }
        let before = Open::of(book);
        book.restore(id, packed);
        let after = Open::of(book);
        self.follow(&account_id, before, after);
    }

    /// The time for the next step.
    pub(super) fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Runs a transition on one account and keeps what it leaves.
    pub(super) fn run<T>(
        &mut self,
        account_id: &AccountId,
        now: Timestamp,
        transition: impl FnOnce(&mut Book, Timestamp, &mut Effects) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let book = self.books.get_mut(account_id).ok_or(Refusal::NotLoaded)?;
        let before = Open::of(book);
        let mut effects = Effects::default();
        let answer = transition(book, now, &mut effects);
        let after = Open::of(book);
        if let Some(broken) = book.account().broken_invariant(now) {
            self.violations += 1;
            tracing::error!(account = %account_id, broken, "an invariant is broken");
        }
        self.follow(account_id, before, after);
        if matches!(answer, Err(Refusal::Unreadable)) {
            self.unreadable(account_id);
        }
        self.keep(account_id, effects);
        answer
    }

    /// Takes note of what an account has open now.
    fn follow(&mut self, account_id: &AccountId, before: Open, after: Open) {
        self.open = self.open + after.count - before.count;
        if after.deadline == before.deadline {
            return;
        }
        if let Some(deadline) = before.deadline {
            self.due.remove(&(deadline, account_id.clone()));
        }
        if let Some(deadline) = after.deadline {
            self.due.insert((deadline, account_id.clone()));
        }
    }

    fn unreadable(&mut self, account_id: &AccountId) {
        self.violations += 1;
        tracing::error!(account = %account_id, "a stored reservation can't be read");
    }

    fn keep(&mut self, account_id: &AccountId, effects: Effects) {
        for entry in effects.entries {
            self.tail += 1;
            self.outbox_bytes += ENTRY_BYTES;
            self.entries.push_back((self.tail, Arc::new(entry.into())));
        }
        for (id, packed) in effects.touched {
            if let Some(at) = ended_at(&packed) {
                self.ended.insert((at, account_id.clone(), id.clone()));
            }
            self.touch(((account_id.clone(), id), Some(packed)));
        }
    }

    fn touch(&mut self, changed: Changed) {
        self.tail += 1;
        self.outbox_bytes += changed_bytes(&changed);
        self.touched.push_back((self.tail, changed));
    }

    /// Expires due holds of any account, at most `max` of them.
    pub(super) fn expire_due(&mut self, max: usize, now: Timestamp) -> usize {
        let mut expired = 0;
        while expired < max {
            let Some((at, account_id)) = self.due.first().cloned() else {
                break;
            };
            if at > now {
                break;
            }
            let swept = self.run(&account_id, now, |book, now, effects| {
                Ok(book.expire_due(max - expired, now, effects))
            });
            match swept {
                Ok(count) if count > 0 => expired += count,
                // Nothing moved: never spin on it.
                Ok(_) | Err(_) => break,
            }
        }
        expired
    }

    /// Forgets settled reservations that ended at or before `until`, at most `max` of them.
    pub(super) fn forget(&mut self, max: usize, until: Timestamp) -> usize {
        let mut forgotten = 0;
        while forgotten < max && self.ended.first().is_some_and(|(at, _, _)| *at <= until) {
            let Some((_, account_id, id)) = self.ended.pop_first() else {
                break;
            };
            let book = self.books.get_mut(&account_id);
            if book.is_some_and(|book| book.forget(&id, until)) {
                self.touch(((account_id, id), None));
                forgotten += 1;
            }
        }
        forgotten
    }

    /// Everything that the ledger does not have, as it is now.
    pub(super) fn outbox(&self, shard: u32) -> OutboxBatch {
        let lines = self.entries.iter().map(|(_, line)| Arc::clone(line));
        OutboxBatch {
            shard,
            from: self.trimmed,
            to: self.tail,
            epoch: self.epoch,
            era: 0,
            entries: lines.collect(),
            reservations: self.changed(),
        }
    }

    /// Every reservation that changed, as it is now: the last of what is known of each.
    fn changed(&self) -> Arc<[Changed]> {
        let count = self.touched.len();
        let mut seen = HashSet::with_capacity_and_hasher(count, RandomState::default());
        let mut newest = Vec::with_capacity(count);
        for (_, changed) in self.touched.iter().rev() {
            if seen.insert(&changed.0) {
                newest.push(changed.clone());
            }
        }
        newest.reverse();
        newest.into()
    }

    /// Forgets the records up to a position that the ledger has.
    pub(super) fn trim(&mut self, reached: Cursor) {
        if reached.epoch != self.epoch {
            return;
        }
        let to = reached.position;
        while let Some((position, _)) = self.entries.front()
            && *position <= to
        {
            self.entries.pop_front();
            self.outbox_bytes -= ENTRY_BYTES;
        }
        while let Some((position, changed)) = self.touched.front()
            && *position <= to
        {
            self.outbox_bytes -= changed_bytes(changed);
            self.touched.pop_front();
        }
        self.trimmed = self.trimmed.max(to.min(self.tail));
    }

    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    pub(super) fn waiting(&self) -> usize {
        self.entries.len() + self.touched.len()
    }

    pub(super) fn outbox_bytes(&self) -> usize {
        self.outbox_bytes
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations
    }

    /// The first ids after one, in order.
    pub(super) fn ids_after(&self, after: Option<&str>, max: usize) -> Vec<AccountId> {
        let mut first: BTreeSet<&AccountId> = BTreeSet::new();
        let ids = self.books.keys();
        for id in ids.filter(|id| after.is_none_or(|after| id.as_str() > after)) {
            if first.len() < max || first.last().is_some_and(|last| id < *last) {
                first.insert(id);
            }
            if first.len() > max {
                first.pop_last();
            }
        }
        first.into_iter().cloned().collect()
    }

    /// What a reservation's prices depend on. Nothing that time does to an account changes it.
    pub(super) fn terms(
        &mut self,
        account_id: &AccountId,
        id: &ReservationId,
    ) -> Result<Option<Terms>, Refusal> {
        let book = self.books.get(account_id).ok_or(Refusal::NotLoaded)?;
        let terms = book.terms(id);
        if matches!(terms, Err(Refusal::Unreadable)) {
            self.unreadable(account_id);
        }
        terms
    }

    /// An account as it is, and which invariant it breaks; with its open holds, of which the
    /// oldest is looked for once the lock is given back: they may be thousands.
    pub(super) fn stored(&self, id: &AccountId, now: Timestamp) -> Option<(Stored, Vec<Hold>)> {
        let book = self.books.get(id)?;
        let stored = Stored {
            account: book.account().clone(),
            broken: book.broken_invariant(now),
            holds: book.open_count(),
            oldest: None,
        };
        let holds = book.open().map(|(id, packed)| (id.clone(), packed.clone()));
        Some((stored, holds.collect()))
    }

    pub(super) fn accounts(&self) -> usize {
        self.books.len()
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn earliest_deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn broken_invariants(&self, max: usize, now: Timestamp) -> Vec<(AccountId, String)> {
        let broken = self.books.iter().filter_map(|(id, book)| {
            let broken = book.broken_invariant(now)?;
            Some((id.clone(), broken))
        });
        broken.take(max).collect()
    }
}

fn changed_bytes((_, packed): &Changed) -> usize {
    CHANGED_BYTES + packed.as_ref().map_or(0, |packed| packed.as_bytes().len())
}

/// When a reservation was settled to its end.
fn ended_at(packed: &Packed) -> Option<Timestamp> {
    match packed.times() {
        Ok((State::Open, ..)) | Err(_) => None,
        Ok((State::Committed | State::Released | State::Expired, ended_at, _)) => ended_at,
    }
}
