//! Hot balances in this process: the domain's own transitions, under one lock per shard.
//!
//! A shard's lock covers its accounts and its outbox, so what the ledger is given is always a
//! consistent cut of the shard: entries and reservations as they were at one instant. Nothing
//! here touches a disk; what a crash leaves is what the settler last wrote.

mod shard;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;

use self::shard::Shard;
use super::{
    Answer, Certainty, Cursor, Done, HotFault, HotStats, HotStore, KeptReservation, Loaded,
    Loading, Mark, OldHold, OutboxBatch, Stored, Swept,
};
use crate::{
    clock::Clock,
    domain::{
        account::Account,
        book::{Book, Effects},
        change::{Applied, Change},
        command::{Charge, Commit, Extend, Release, Renewal, Repair, Reserve},
        decision::{
            Balance, Charged, Committed, Extended, Refusal, Released, ReservationView, Reserved,
        },
        ids::{AccountId, ReservationId},
        reservation::{Reservation, Terms},
        timestamp::Timestamp,
    },
};

/// How a memory store is set up.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// How many shards, each under a lock of its own.
    pub shards: u32,
    /// How long the answer to a settled reservation is kept for whoever retries, in milliseconds.
    pub replay_window_ms: u64,
    /// What the outboxes of all shards together may take in memory, about, while the ledger takes
    /// nothing. Beyond it every step that may add to them is refused as a fault, also one that
    /// would only be answered again; what only reads goes on.
    pub outbox_bytes_max: usize,
}

/// As counted (`shard::ENTRY_BYTES`, `shard::CHANGED_BYTES`) a Reserve takes some 230 bytes, and a
/// Commit 1,400: so there is room for 80,000 of both, or 580,000 Reserves alone, which is five and
/// twelve seconds of what two cores do. The settler may take all of it at once, and writes at most
/// twice as many bytes: an entry that is longer than it is counted comes with a reservation that
/// is as long. That is a quarter of what one record of the redo log may have.
const OUTBOX_BYTES_MAX: usize = 128 << 20;

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions {
            shards: 64,
            replay_window_ms: 86_400_000,
            outbox_bytes_max: OUTBOX_BYTES_MAX,
        }
    }
}

/// Hot balances in this process.
#[derive(Debug)]
pub struct MemoryHot {
    shards: Vec<Mutex<Shard>>,
    /// What their outboxes take together.
    outbox_bytes: AtomicUsize,
    clock: Arc<dyn Clock>,
    options: MemoryOptions,
}

/// The outbox is full, since the ledger has taken nothing for long.
#[derive(Debug, thiserror::Error)]
#[error("the outbox is full: {bytes} bytes wait for the ledger")]
struct OutboxFull {
    bytes: usize,
}

/// The ledger takes another store's entries.
#[derive(Debug, thiserror::Error)]
#[error(
    "shard {shard}: another process has taken this ledger over, and what this one settles does \
     not count any more: stop it"
)]
struct TakenOver {
    shard: u32,
}

impl MemoryHot {
    /// An empty store.
    pub fn new(options: MemoryOptions, clock: Arc<dyn Clock>) -> Self {
        let shards = options.shards.max(1);
        let options = MemoryOptions { shards, ..options };
        MemoryHot {
            shards: (0..shards).map(|_| Mutex::new(Shard::default())).collect(),
            outbox_bytes: AtomicUsize::new(0),
            clock,
            options,
        }
    }

    /// Puts back what the ledger had: shard cursors first, then all accounts, then their
    /// reservations.
    pub fn restore_cursors(&self, cursors: &[Cursor]) {
        for cursor in cursors {
            if let Some(shard) = self.shards.get(cursor.shard as usize) {
                shard.lock().start_at(*cursor);
            }
        }
    }

    /// Puts back accounts that hold nothing yet. Those that are there already stay as they are.
    pub fn restore_accounts(&self, accounts: Vec<Account>) {
        let now = self.clock.now();
        for account in accounts {
            let book = restored_book(account, now);
            self.shard_of(&book.account().id).1.lock().put(book);
        }
    }

    /// Puts back reservations of accounts that are there: open ones hold their credits again. One
    /// that can't be read breaks an invariant of its account.
    pub fn restore_reservations(&self, kept: Vec<KeptReservation>) {
        for ((account_id, id), packed) in kept {
            let shard = self.shard_of(&account_id).1;
            shard.lock().restore(&account_id, id, packed);
        }
    }

    fn shard_of(&self, account_id: &AccountId) -> (u32, &Mutex<Shard>) {
        let mut hasher = DefaultHasher::new();
        account_id.as_str().hash(&mut hasher);
        let shard = (hasher.finish() % u64::from(self.options.shards)) as u32;
        (shard, &self.shards[shard as usize])
    }

    /// Runs one transition on one account under its shard's lock, where there is room for what it
    /// may leave.
    fn step<T>(
        &self,
        operation: &'static str,
        account_id: &AccountId,
        transition: impl FnOnce(&mut Book, Timestamp, &mut Effects) -> Result<T, Refusal>,
    ) -> Answer<T> {
        let bytes = self.outbox_bytes.load(Ordering::Relaxed);
        if bytes >= self.options.outbox_bytes_max {
            return Err(HotFault {
                certainty: Certainty::Determinate,
                operation,
                source: Box::new(OutboxFull { bytes }),
            });
        }
        self.look(account_id, transition)
    }

    /// The same for one that leaves nothing but what time does to the account.
    fn look<T>(
        &self,
        account_id: &AccountId,
        transition: impl FnOnce(&mut Book, Timestamp, &mut Effects) -> Result<T, Refusal>,
    ) -> Answer<T> {
        let (number, shard) = self.shard_of(account_id);
        let mut shard = shard.lock();
        let now = shard.tick(self.clock.now());
        let answer = self.counted(&mut shard, |shard| shard.run(account_id, now, transition));
        let mark = Mark {
            shard: number,
            era: 0,
            position: shard.tail(),
        };
        Ok(answer.map(|value| Done { value, mark }))
    }

    /// Works on a shard, and counts what its outbox then takes more or less.
    fn counted<T>(&self, shard: &mut Shard, work: impl FnOnce(&mut Shard) -> T) -> T {
        let before = shard.outbox_bytes();
        let done = work(shard);
        let after = shard.outbox_bytes();
        if after != before {
            // Wraps where it is less, as the sum does.
            let more = after.wrapping_sub(before);
            self.outbox_bytes.fetch_add(more, Ordering::Relaxed);
        }
        done
    }
}

/// Versions continue above any that was answered before: they start from the clock.
fn restored_book(mut account: Account, now: Timestamp) -> Book {
    account.version = account.version.max(now.millis().unsigned_abs() * 1000);
    Book::new(account, [])
}

#[async_trait]
impl HotStore for MemoryHot {
    async fn reserve(&self, command: &Reserve) -> Answer<Reserved> {
        self.step("reserve", &command.account_id, |book, now, effects| {
            book.reserve(command, now, effects)
        })
    }

    async fn extend(&self, command: &Extend) -> Answer<Extended> {
        self.step("extend", &command.account_id, |book, now, effects| {
            book.extend(command, now, effects)
        })
    }

    async fn commit(&self, command: &Commit) -> Answer<Committed> {
        self.step("commit", &command.account_id, |book, now, effects| {
            book.commit(command, now, effects)
        })
    }

    async fn release(&self, command: &Release) -> Answer<Released> {
        self.step("release", &command.account_id, |book, now, effects| {
            book.release(command, now, effects)
        })
    }

    async fn charge(&self, command: &Charge) -> Answer<Charged> {
        self.step("charge", &command.account_id, |book, now, effects| {
            book.charge(command, now, effects)
        })
    }

    async fn balance(&self, account_id: &AccountId) -> Answer<Balance> {
        self.look(account_id, |book, now, effects| book.balance(now, effects))
    }

    async fn account(&self, account_id: &AccountId) -> Answer<(Account, Balance)> {
        self.look(account_id, |book, now, effects| {
            let balance = book.balance(now, effects)?;
            Ok((book.account().clone(), balance))
        })
    }

    async fn reservation(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<ReservationView>> {
        self.look(account_id, |book, now, _| {
            let known = book.reservation(reservation_id)?;
            Ok(known.map(|known| known.as_of(now).into_view()))
        })
    }

    async fn terms(
        &self,
        account_id: &AccountId,
        reservation_id: &ReservationId,
    ) -> Answer<Option<Terms>> {
        let (number, shard) = self.shard_of(account_id);
        let mut shard = shard.lock();
        let mark = Mark {
            shard: number,
            era: 0,
            position: shard.tail(),
        };
        let terms = shard.terms(account_id, reservation_id);
        Ok(terms.map(|value| Done { value, mark }))
    }

    async fn apply(&self, change: &Change) -> Answer<Applied> {
        self.step("apply", &change.account_id, |book, now, effects| {
            book.apply(change, now, effects)
        })
    }

    async fn renew(&self, renewal: &Renewal) -> Answer<()> {
        self.step("renew", &renewal.account_id, |book, now, effects| {
            book.renew(renewal, now, effects);
            Ok(())
        })
    }

    async fn loaded(&self, shard: u32, from: Option<&str>, max: usize) -> Result<Loaded, HotFault> {
        let shard = self.shards.get(shard as usize);
        let ids = shard.map(|shard| shard.lock().ids_after(from, max));
        let ids = ids.unwrap_or_default();
        let is_full = ids.len() >= max;
        let last = ids.last().map(ToString::to_string);
        Ok(Loaded {
            next: last.filter(|_| is_full),
            ids,
        })
    }

    async fn stored(&self, account_id: &AccountId) -> Result<Option<Stored>, HotFault> {
        let now = self.clock.now();
        let found = self.shard_of(account_id).1.lock().stored(account_id, now);
        Ok(found.map(|(stored, holds)| {
            // One that can't be read is among what is broken.
            let read = holds
                .iter()
                .filter_map(|(id, hold)| hold.unpack(account_id, id).ok());
            let holds: Vec<Reservation> = read.collect();
            Stored {
                oldest: OldHold::of(&holds),
                ..stored
            }
        }))
    }

    async fn repair(&self, repair: &Repair) -> Answer<Option<usize>> {
        let Repair {
            stored,
            version,
            reason,
        } = repair;
        self.step("repair", &stored.id, |book, now, effects| {
            Ok(book.repair(stored, *version, reason, now, effects))
        })
    }

    // What this process keeps is lost with the process only, so there is one history.
    async fn loading(&self, _account_id: &AccountId) -> Result<Loading, HotFault> {
        Ok(Loading {
            now: self.clock.now(),
            era: 0,
        })
    }

    async fn load(&self, account: Account, _loading: Loading) -> Result<(), HotFault> {
        let book = restored_book(account, self.clock.now());
        self.shard_of(&book.account().id).1.lock().put(book);
        Ok(())
    }

    async fn sweep(&self, max: usize) -> Result<Swept, HotFault> {
        let mut swept = Swept::default();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let now = shard.tick(self.clock.now());
            swept.expired += self.counted(&mut shard, |shard| shard.expire_due(max, now));
            let window = i64::try_from(self.options.replay_window_ms).unwrap_or(i64::MAX);
            let until = Timestamp::from_millis(now.millis().saturating_sub(window));
            swept.forgotten += self.counted(&mut shard, |shard| shard.forget(max, until));
        }
        Ok(swept)
    }

    fn shards(&self) -> u32 {
        self.options.shards
    }

    async fn outboxes(&self, shards: &[u32]) -> Vec<Result<OutboxBatch, HotFault>> {
        let batch = |shard: &u32| {
            let found = self.shards.get(*shard as usize);
            let batch = found.map(|found| found.lock().outbox(*shard));
            Ok(batch.unwrap_or_default())
        };
        shards.iter().map(batch).collect()
    }

    async fn trim(&self, reached: Cursor) -> Result<(), HotFault> {
        if let Some(shard) = self.shards.get(reached.shard as usize) {
            self.counted(&mut shard.lock(), |shard| shard.trim(reached));
        }
        Ok(())
    }

    async fn distrust(&self, cursor: Cursor) -> Result<(), HotFault> {
        Err(HotFault {
            certainty: Certainty::Determinate,
            operation: "settle",
            source: Box::new(TakenOver {
                shard: cursor.shard,
            }),
        })
    }

    async fn stats(&self) -> Result<HotStats, HotFault> {
        let mut stats = HotStats::default();
        for shard in &self.shards {
            let shard = shard.lock();
            stats.accounts += shard.accounts();
            stats.open += shard.open();
            stats.outbox += shard.waiting();
            stats.violations += shard.violations();
            let earliest = [stats.earliest_deadline, shard.earliest_deadline()];
            stats.earliest_deadline = earliest.into_iter().flatten().min();
        }
        Ok(stats)
    }

    async fn now(&self) -> Result<Timestamp, HotFault> {
        Ok(self.clock.now())
    }

    async fn broken_invariants(&self, max: usize) -> Result<Vec<(AccountId, String)>, HotFault> {
        let mut broken = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            broken.extend(shard.broken_invariants(max - broken.len(), self.clock.now()));
            if broken.len() >= max {
                break;
            }
        }
        Ok(broken)
    }
}
