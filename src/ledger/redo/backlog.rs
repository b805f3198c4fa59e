//! What is in the log and not yet in the ledger behind, and the task that moves it there.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::{FixedState, RandomState};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Sleep, sleep, timeout},
};

use super::{RedoError, files::Files};
use crate::{
    domain::{change::Change, entry::EntryKind, ids::AccountId, timestamp::Timestamp},
    hot::{Cursor, Line, OutboxBatch},
    ledger::Ledger,
};

/// The most entries and reservations that one transaction takes, but for those of its last record.
const BATCH_MAX: usize = 49_152;
/// As many are worth a transaction of their own.
const BATCH: usize = 8_192;
/// How far apart transactions of so many begin. What one writes goes to the disk at once, and what
/// is settled meanwhile waits behind it: so they are many and small, but under full load a few
/// larger ones write fewer pages.
const PACE: Duration = Duration::from_millis(500);
/// How many times as long as one took the next does not begin, unless somebody waits for it. With many
/// accounts hardly two entries change one page: the more come together, the fewer pages each costs.
const REST: u32 = 3;
/// How far apart those of fewer begin.
const GATHER: Duration = Duration::from_millis(2_000);
/// The pause after the ledger behind failed.
const RETRY: Duration = Duration::from_millis(500);
/// Of so many failures one after the other, for the same reason, the log tells of one.
const TOLD_OF: u64 = 20;
/// How long deleting waits for whoever has the files. A fence has them until all is written, and
/// waits for this; what stays is deleted the next time.
const DELETE_TIMEOUT: Duration = Duration::from_millis(500);

/// When the next transaction may begin.
enum Due {
    /// Not while there is nothing for it.
    Never,
    /// [`GATHER`] after the last one has begun.
    Gathered,
    /// [`PACE`] after it.
    Paced,
    /// At once.
    Now,
}

/// What one call settled.
pub(super) struct Waiting {
    /// The number of its file.
    pub file: u64,
    /// When it was settled.
    pub now: Timestamp,
    /// How long its record is.
    pub bytes: usize,
    /// What.
    pub batches: Vec<OutboxBatch>,
}

impl Waiting {
    fn size(&self) -> usize {
        let size = |batch: &OutboxBatch| batch.entries.len() + batch.reservations.len();
        self.batches.iter().map(size).sum()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        let batches = self.batches.iter();
        batches.flat_map(|batch| batch.entries.iter().map(AsRef::as_ref))
    }

    fn accounts(&self) -> impl Iterator<Item = u64> + '_ {
        self.lines().map(|line| short(&line.account_id))
    }

    /// How many commits are among it, those of charges included.
    fn commits(&self) -> usize {
        let is_commit = |line: &&Line| line.kind == EntryKind::Usage;
        self.lines().filter(is_commit).count()
    }
}

/// How much the log has on its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Entries and reservations that the ledger behind has not.
    pub records: usize,
    /// What they take on disk.
    pub bytes: usize,
    /// Commits that were written to the log since it was opened.
    pub commits: usize,
    /// When the oldest of these records was settled, where there is one.
    pub oldest: Option<Timestamp>,
}

/// What is in the log and not yet in the ledger behind.
pub(super) struct Backlog {
    queue: Mutex<Queue>,
    /// How many records the ledger behind has had.
    written: watch::Sender<u64>,
    /// How often it has refused what it was given.
    failures: watch::Sender<u64>,
    /// Something waits, or somebody waits for it.
    work: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Waiting>>,
    /// What waits, and what has waited.
    depth: Depth,
    /// The last record that waits with an entry of each account. Two accounts that share a short
    /// hash wait for each other, which does no harm.
    accounts: HashMap<u64, u64, RandomState>,
    /// Where the log has each shard.
    cursors: HashMap<u32, Cursor, RandomState>,
    /// How many records the log has had.
    appended: u64,
    /// Up to which one somebody waits.
    wanted: u64,
    /// Reversals that nobody was told of.
    reversals: Vec<Change>,
    /// What the ledger behind said last, where it failed.
    failure: Option<String>,
}

impl Backlog {
    pub(super) fn new(cursors: Vec<Cursor>) -> Self {
        Backlog {
            queue: Mutex::new(Queue {
                cursors: by_shard(cursors),
                ..Queue::default()
            }),
            written: watch::Sender::new(0),
            failures: watch::Sender::new(0),
            work: Notify::new(),
        }
    }

    /// Whether some batches start where the log has their shards.
    pub(super) fn continues(&self, batches: &[OutboxBatch]) -> bool {
        let queue = self.queue.lock();
        let mut moved: HashMap<u32, Cursor, RandomState> = HashMap::default();
        batches.iter().all(|batch| {
            let unknown = Cursor {
                shard: batch.shard,
                ..Cursor::default()
            };
            let known = queue.cursors.get(&batch.shard).copied();
            let cursor = moved.entry(batch.shard).or_insert(known.unwrap_or(unknown));
            let continues = *cursor == batch.start() && batch.to >= batch.from;
            *cursor = batch.end();
            continues
        })
    }

    /// Continues where the ledger behind is, after a fence; nothing waits.
    pub(super) fn continue_at(&self, cursors: Vec<Cursor>) {
        self.queue.lock().cursors = by_shard(cursors);
    }

    /// Adds what the log has; answers the reversals that came up since the last call.
    pub(super) fn push(&self, waiting: Waiting) -> Vec<Change> {
        let mut queue = self.queue.lock();
        for batch in &waiting.batches {
            queue.cursors.insert(batch.shard, batch.end());
        }
        let before = queue.depth.records;
        queue.depth.records += waiting.size();
        let after = queue.depth.records;
        queue.depth.bytes += waiting.bytes;
        queue.depth.commits += waiting.commits();
        queue.appended += 1;
        let number = queue.appended;
        for account in waiting.accounts() {
            queue.accounts.insert(account, number);
        }
        queue.waiting.push_back(Arc::new(waiting));
        let reached = |size: usize| before < size && after >= size;
        if queue.waiting.len() == 1 || reached(BATCH) || reached(BATCH_MAX) {
            self.work.notify_one();
        }
        std::mem::take(&mut queue.reversals)
    }

    /// The reversals that came up since the last call.
    pub(super) fn reversals(&self) -> Vec<Change> {
        std::mem::take(&mut self.queue.lock().reversals)
    }

    /// How many records the log has had.
    pub(super) fn appended(&self) -> u64 {
        self.queue.lock().appended
    }

    /// Up to which record there may be entries of this account that wait.
    pub(super) fn last_about(&self, account_id: &AccountId) -> Option<u64> {
        self.queue.lock().accounts.get(&short(account_id)).copied()
    }

    /// Waits until the ledger behind has had so many records, and hurries.
    pub(super) async fn reached(&self, wanted: u64) {
        let mut written = self.written.subscribe();
        if *written.borrow() >= wanted {
            return;
        }
        {
            let mut queue = self.queue.lock();
            queue.wanted = queue.wanted.max(wanted);
        }
        self.work.notify_one();
        // The sender lives as long as this does.
        let _ = written.wait_for(|written| *written >= wanted).await;
    }

    /// Waits until the ledger behind has failed twice from now on: the first time may be of before.
    pub(super) async fn fails(&self) {
        let mut failures = self.failures.subscribe();
        let enough = *failures.borrow() + 2;
        // The sender lives as long as this does.
        let _ = failures.wait_for(|failures| *failures >= enough).await;
    }

    /// The ledger behind has failed.
    fn fail(&self, error: String) {
        let mut queue = self.queue.lock();
        let is_new = queue.failure.as_ref() != Some(&error);
        let failures = *self.failures.borrow() + 1;
        if is_new || failures.is_multiple_of(TOLD_OF) {
            tracing::error!(
                error,
                records = queue.depth.records,
                "the ledger does not take what the redo log has"
            );
        }
        queue.failure = Some(error);
        drop(queue);
        self.failures.send_replace(failures);
    }

    /// Waits until fewer than `max` entries and reservations wait.
    pub(super) async fn has_room(&self, max: usize) {
        let mut written = self.written.subscribe();
        while self.queue.lock().depth.records >= max {
            let _ = written.changed().await;
        }
    }

    /// How much waits, and has waited.
    pub(super) fn depth(&self) -> Depth {
        let queue = self.queue.lock();
        Depth {
            oldest: queue.waiting.front().map(|waiting| waiting.now),
            ..queue.depth
        }
    }

    /// Why somebody waited in vain.
    pub(super) fn behind(&self) -> RedoError {
        let failure = self.queue.lock().failure.clone();
        RedoError::Behind {
            detail: failure.map_or_else(String::new, |failure| format!(": {failure}")),
        }
    }

    /// The oldest of what waits, about as much as one transaction should have.
    fn oldest(&self) -> Vec<Arc<Waiting>> {
        let queue = self.queue.lock();
        let mut size = 0;
        queue
            .waiting
            .iter()
            .take_while(|waiting| {
                let fits = size < BATCH_MAX;
                size += waiting.size();
                fits
            })
            .cloned()
            .collect()
    }

    fn due(&self) -> Due {
        let queue = self.queue.lock();
        match queue.depth.records {
            _ if queue.waiting.is_empty() => Due::Never,
            _ if queue.wanted > *self.written.borrow() => Due::Now,
            BATCH_MAX.. => Due::Now,
            BATCH.. => Due::Paced,
            _ => Due::Gathered,
        }
    }

    /// Waits until it is time for a transaction. Since the last one began [`PACE`] has passed when
    /// `paced` ends, and [`GATHER`] when `gathered` does.
    async fn wait_until_due(&self, paced: Sleep, gathered: Sleep) {
        tokio::pin!(paced, gathered);
        loop {
            let now = match self.due() {
                Due::Never => false,
                Due::Gathered => gathered.is_elapsed(),
                Due::Paced => paced.is_elapsed(),
                Due::Now => true,
            };
            if now {
                return;
            }
            tokio::select! {
                // More came, or somebody waits.
                () = self.work.notified() => {}
                () = &mut paced, if !paced.is_elapsed() => {}
                () = &mut gathered, if !gathered.is_elapsed() => {}
            }
        }
    }

    /// Forgets the oldest ones, which the ledger behind has; answers which file is the first that
    /// is still needed, where that is known.
    fn pop(&self, done: &[Arc<Waiting>], reversals: Vec<Change>) -> Option<u64> {
        let mut queue = self.queue.lock();
        queue.waiting.drain(..done.len());
        queue.depth.records -= done.iter().map(|waiting| waiting.size()).sum::<usize>();
        queue.depth.bytes -= done.iter().map(|waiting| waiting.bytes).sum::<usize>();
        queue.reversals.extend(reversals);
        queue.failure = None;
        let written = *self.written.borrow() + done.len() as u64;
        for account in done.iter().flat_map(|waiting| waiting.accounts()) {
            if queue
                .accounts
                .get(&account)
                .is_some_and(|last| *last <= written)
            {
                queue.accounts.remove(&account);
            }
        }
        let first = queue
            .waiting
            .front()
            .or(done.last())
            .map(|waiting| waiting.file);
        self.written.send_replace(written);
        first
    }
}

fn by_shard(cursors: Vec<Cursor>) -> HashMap<u32, Cursor, RandomState> {
    let keyed = cursors.into_iter().map(|cursor| (cursor.shard, cursor));
    keyed.collect()
}

fn short(account_id: &AccountId) -> u64 {
    FixedState::default().hash_one(account_id)
}

/// Moves what is in the log to the ledger behind, for ever.
pub(super) async fn write_on(
    backlog: Arc<Backlog>,
    ledger: Arc<dyn Ledger>,
    files: Arc<tokio::sync::Mutex<Files>>,
) {
    let (mut paced, mut gathered) = (sleep(PACE), sleep(GATHER));
    loop {
        backlog.wait_until_due(paced, gathered).await;
        gathered = sleep(GATHER);
        // A ledger has no clock: this is the timers' own.
        let began = sleep(Duration::ZERO).deadline();
        let oldest = backlog.oldest();
        let written = match oldest.last() {
            Some(last) => write(ledger.as_ref(), &oldest, last.now).await,
            None => Ok(Vec::new()),
        };
        match written {
            Ok(reversals) => {
                let took = sleep(Duration::ZERO).deadline() - began;
                paced = sleep((took * REST).max(PACE.saturating_sub(took)));
                if let Some(needed) = backlog.pop(&oldest, reversals) {
                    delete_before(needed, &files).await;
                }
            }
            Err(error) => {
                backlog.fail(error);
                sleep(RETRY).await;
                paced = sleep(Duration::ZERO);
            }
        }
    }
}

/// Deletes what is not needed any more. A large file takes milliseconds, in which nothing that is
/// settled must wait for the log.
async fn delete_before(needed: u64, files: &tokio::sync::Mutex<Files>) {
    let Ok(mut files) = timeout(DELETE_TIMEOUT, files.lock()).await else {
        return;
    };
    let done = files.take_before(needed);
    drop(files);
    if let Err(error) = done.delete() {
        tracing::warn!(%error, "a redo file can't be deleted");
    }
}

async fn write(
    ledger: &dyn Ledger,
    waiting: &[Arc<Waiting>],
    now: Timestamp,
) -> Result<Vec<Change>, String> {
    let batches: Vec<OutboxBatch> = waiting
        .iter()
        .flat_map(|waiting| waiting.batches.iter().cloned())
        .collect();
    let settled = ledger.settle(&batches, now).await;
    let settled = settled.map_err(|fault| fault.to_string())?;
    if settled.cursor_conflict {
        return Err("another process has moved the ledger's cursors".to_owned());
    }
    Ok(settled.reversals)
}
