//! The settler moves what is settled from the hot store's outbox to the ledger: everything that
//! waits, in one transaction. While one is being written the next gathers, so a thousand
//! concurrent commits share a few syncs to disk.
//!
//! A crash before the transaction loses nothing that the ledger acknowledged; a crash after it
//! and before the trim repeats the batch, which the cursor refuses.

mod round;

use std::{collections::HashMap, slice, sync::Arc};

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;

use self::round::{Round, SHARDS_AT_ONCE};
use super::{Progress, StepError, Worker, shares::Shares};
use crate::{
    clock::Clock,
    domain::{change::Change, timestamp::Timestamp},
    enforcer::{Enforcer, acks::Acks},
    hot::{Cursor, HotFault, HotStore, OutboxBatch},
    ledger::{Ledger, LedgerFault},
    telemetry::Metrics,
};

/// From how many attempts in a row on the log tells of an outbox that can't be read.
const TOLD_FROM: u32 = 32;

/// Moves the outbox to the ledger.
pub struct Settler {
    /// Where the outbox is.
    pub hot: Arc<dyn HotStore>,
    /// Where it goes.
    pub ledger: Arc<dyn Ledger>,
    /// Applies what reverses a settlement that was there already.
    pub enforcer: Arc<Enforcer>,
    /// Who waits for it.
    pub acks: Arc<Acks>,
    /// For `recorded_at`.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// From how many entries on the shards that were not read yet wait for another transaction. No
    /// outbox is parted here: how much of one is taken is for the hot store to bound.
    pub batch_max: usize,
    /// Which shards are this settler's.
    pub shares: Arc<Shares>,
    /// What it can't read.
    pub unread: Mutex<Unread>,
    /// How it gets round its shards.
    pub round: Round,
}

/// Outboxes that can't be read, since when, and how often in a row. For a moment that is nothing: a
/// shard is being verified, or a node of a cluster is away. What lasts is told, and counts as lag.
#[derive(Debug, Default)]
pub struct Unread(HashMap<u32, (Timestamp, u32)>);

impl Unread {
    fn failed(&mut self, shard: u32, fault: &HotFault, now: Timestamp) {
        let (since, times) = self.0.entry(shard).or_insert((now, 0));
        *times += 1;
        if *times >= TOLD_FROM && times.is_power_of_two() {
            tracing::warn!(shard, %since, %fault, "an outbox can't be read");
        }
    }

    fn since(&self) -> Option<i64> {
        self.0.values().map(|(since, _)| since.millis()).min()
    }
}

/// The ledger is behind what it has said that it has, in these shards.
#[derive(Debug, thiserror::Error)]
#[error("{}; restore the ledger, or put it right by hand", joined(.0))]
struct LedgerLost(Vec<LostShard>);

fn joined(shards: &[impl ToString]) -> String {
    let told: Vec<String> = shards.iter().map(ToString::to_string).collect();
    told.join("; ")
}

/// Where the ledger is in one shard, and where it was.
#[derive(Debug, thiserror::Error)]
#[error(
    "shard {shard}: the ledger has lost what it had acknowledged: it is at {cursor} of epoch \
     {epoch}, and the outbox has begun at {from}"
)]
struct LostShard {
    shard: u32,
    cursor: u64,
    epoch: u64,
    from: u64,
}

/// The ledger can't take what is settled in these shards.
#[derive(Debug, thiserror::Error)]
#[error("{}", joined(.0))]
struct Unfit(Vec<UnfitShard>);

/// What it says of one.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard}: {error}")]
struct UnfitShard {
    shard: u32,
    error: StepError,
}

fn is_unfit(error: &StepError) -> bool {
    let fault = error.downcast_ref::<LedgerFault>();
    fault.is_some_and(LedgerFault::is_unfit)
}

/// Whether an error is of single shards, and says nothing of the others.
fn is_of_shards(error: &StepError) -> bool {
    is_unfit(error) || error.is::<Unfit>() || error.is::<LedgerLost>()
}

/// How it went with some batches.
enum Outcome {
    /// The ledger has them.
    Done,
    /// The ledger was elsewhere. What it has already is trimmed; shards in which it has lost
    /// something.
    Followed(Vec<LostShard>),
}

#[async_trait]
impl Worker for Settler {
    fn name(&self) -> &'static str {
        "settler"
    }

    async fn woken(&self) {
        self.acks.woken().await;
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let all = 0..self.hot.shards();
        let own: Vec<u32> = all.filter(|shard| self.shares.has(*shard)).collect();
        self.unread.lock().0.retain(|shard, _| own.contains(shard));
        if own.is_empty() {
            self.metrics.set_oldest_unsettled(None);
            return Ok(Progress::Resting);
        }
        let own = self.round.turn(own);
        let (batches, taken) = self.gather(&own).await?;
        self.round.had(taken, own.len());
        let more = taken < own.len();
        let left = [self.unread.lock().since(), self.round.waits()];
        let left = left.into_iter().flatten().min();
        let waits = oldest(&batches).into_iter().chain(left).min();
        self.metrics.set_oldest_unsettled(waits);
        let settled = match self.settle(&batches).await {
            Ok(Outcome::Done) if !more => {
                self.metrics.set_oldest_unsettled(left);
                Ok(Progress::Done)
            }
            Ok(Outcome::Done) => Ok(Progress::More),
            Ok(Outcome::Followed(lost)) => self.settle_others(&own[..taken], lost).await,
            Err(error) => Err(error),
        };
        // What is wrong with single shards is told once all had their turn.
        match settled {
            Err(error) if more && is_of_shards(&error) => {
                self.round.put_off(error, waits);
                Ok(Progress::More)
            }
            Ok(Progress::Done) => match self.round.put_off_error() {
                Some(error) => Err(error),
                None => Ok(Progress::Done),
            },
            settled => settled,
        }
    }
}

/// When the oldest entry that waits was settled, in milliseconds since 1970.
fn oldest(batches: &[OutboxBatch]) -> Option<i64> {
    let first = batches.iter().filter_map(|batch| batch.entries.first());
    first.map(|line| line.occurred_at.millis()).min()
}

impl Settler {
    /// Moves what waits in some shards, whoever's they are.
    pub async fn settle_for(&self, shards: &[u32]) -> Result<(), StepError> {
        let (batches, taken) = self.gather(shards).await?;
        if let Outcome::Followed(lost) = self.settle(&batches).await? {
            self.settle_others(&shards[..taken], lost).await?;
        }
        Ok(())
    }

    /// A shard in which the ledger has lost something keeps the others from nothing.
    async fn settle_others(
        &self,
        shards: &[u32],
        lost: Vec<LostShard>,
    ) -> Result<Progress, StepError> {
        if lost.is_empty() {
            return Ok(Progress::More);
        }
        let is_lost = |shard: &u32| lost.iter().any(|lost| lost.shard == *shard);
        let others: Vec<u32> = shards.iter().copied().filter(|s| !is_lost(s)).collect();
        let (batches, _) = self.gather(&others).await?;
        // Where the ledger is elsewhere again the next step comes upon it.
        self.settle(&batches).await?;
        Err(Box::new(LedgerLost(lost)))
    }

    async fn settle(&self, batches: &[OutboxBatch]) -> Result<Outcome, StepError> {
        // One without anything too: a ledger that works behind a log may have come upon
        // reversals since the last time.
        let settled = self.ledger.settle(batches, self.clock.now()).await;
        let settled = match settled {
            Err(fault) if fault.is_unfit() && batches.len() > 1 => {
                return self.settle_one_by_one(batches).await;
            }
            Err(fault) => {
                self.round.learn(fault.is_unfit());
                return Err(fault.into());
            }
            Ok(settled) => settled,
        };
        self.round.learn(true);
        let outcome = if settled.cursor_conflict {
            self.metrics.cursor_conflict();
            self.follow(batches).await?
        } else {
            self.trim(batches).await?;
            Outcome::Done
        };
        let wrote = !settled.cursor_conflict || settled.entries > 0;
        if wrote && !batches.is_empty() {
            self.metrics.settled_batch(settled.entries as u64);
        }
        self.reverse(&settled.reversals).await?;
        Ok(outcome)
    }

    /// The ledger has these, and whoever waits for them may go on.
    async fn trim(&self, batches: &[OutboxBatch]) -> Result<(), StepError> {
        let trims = batches.iter().map(async |batch| {
            self.hot.trim(batch.end()).await?;
            self.acks.publish(batch.mark_at(batch.to));
            Ok(())
        });
        join_all(trims).await.into_iter().collect()
    }

    /// An account that the ledger can't take keeps its own shard only from being settled.
    async fn settle_one_by_one(&self, batches: &[OutboxBatch]) -> Result<Outcome, StepError> {
        let (mut lost, mut unfit) = (Vec::new(), Vec::new());
        for batch in batches {
            match Box::pin(self.settle(slice::from_ref(batch))).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Followed(more)) => lost.extend(more),
                Err(error) if is_unfit(&error) => unfit.push(UnfitShard {
                    shard: batch.shard,
                    error,
                }),
                Err(error) => return Err(error),
            }
        }
        if unfit.is_empty() {
            return Ok(Outcome::Followed(lost));
        }
        Err(Box::new(Unfit(unfit)))
    }

    /// After another settler was faster, or has died between the ledger and the trim, or the
    /// ledger's answer was lost: does what may be left undone, and tells whoever waits. Where the
    /// ledger takes entries of another history, the store must find out why.
    async fn follow(&self, batches: &[OutboxBatch]) -> Result<Outcome, StepError> {
        let mut lost = Vec::new();
        let cursors = self.ledger.cursors().await?.into_iter();
        let cursors: HashMap<u32, Cursor> = cursors.map(|at| (at.shard, at)).collect();
        for batch in batches {
            let cursor = cursors.get(&batch.shard).copied().unwrap_or_default();
            let is_same = cursor.epoch == batch.epoch;
            if cursor.epoch < batch.epoch || (is_same && cursor.position < batch.from) {
                lost.push(LostShard {
                    shard: batch.shard,
                    cursor: cursor.position,
                    epoch: cursor.epoch,
                    from: batch.from,
                });
                continue;
            }
            // Within one epoch positions are of one history, so the ledger has just this part.
            if is_same && self.has(batch, cursor).await? {
                self.hot.trim(cursor).await?;
                self.acks.publish(batch.mark_at(cursor.position));
            } else if is_same || !self.goes_on_from(cursor).await {
                self.hot.distrust(cursor).await?;
            }
        }
        Ok(Outcome::Followed(lost))
    }

    /// Whether the outbox has been at `cursor`; one that is read after the cursor was.
    async fn has(&self, batch: &OutboxBatch, cursor: Cursor) -> Result<bool, StepError> {
        if cursor.position <= batch.to {
            return Ok(true);
        }
        let outbox = self.hot.outbox(batch.shard).await?;
        Ok(outbox.epoch != cursor.epoch || cursor.position <= outbox.to)
    }

    /// Whether the shard was verified since its batch was read, so that it has the ledger's epoch: what
    /// it has now is for the next step.
    async fn goes_on_from(&self, cursor: Cursor) -> bool {
        let now = self.hot.outbox(cursor.shard).await;
        now.is_ok_and(|now| now.epoch == cursor.epoch && cursor.position <= now.to)
    }

    async fn reverse(&self, reversals: &[Change]) -> Result<(), StepError> {
        for change in reversals {
            tracing::warn!(account = %change.account_id, "a settlement came twice: reversing it");
            self.enforcer.catch_up(&change.account_id).await?;
        }
        Ok(())
    }

    /// What waits in the first shards, of which it also tells how many they were: the others are left
    /// for the next transaction.
    async fn gather(&self, shards: &[u32]) -> Result<(Vec<OutboxBatch>, usize), StepError> {
        let mut batches: Vec<OutboxBatch> = Vec::new();
        let mut failed = Vec::new();
        let (mut entries, mut taken) = (0, 0);
        let at_once = self.round.at_once();
        for some in shards.chunks(at_once) {
            // One that the ledger takes little of takes little of each.
            let is_slow = at_once < SHARDS_AT_ONCE;
            if entries >= self.batch_max || (is_slow && entries > 0) {
                break;
            }
            taken += some.len();
            for (shard, batch) in some.iter().zip(self.hot.outboxes(some).await) {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(fault) => {
                        self.unread.lock().failed(*shard, &fault, self.clock.now());
                        failed.push(fault);
                        continue;
                    }
                };
                self.unread.lock().0.remove(shard);
                // What was there before is in the ledger: a retry after a restart waits for no
                // more.
                self.acks.publish(batch.mark_at(batch.from));
                if batch.to > batch.from {
                    entries += batch.entries.len();
                    batches.push(batch);
                }
            }
        }
        // A shard that is being verified keeps the others from nothing.
        match failed.pop() {
            Some(fault) if failed.len() + 1 == shards.len() => Err(fault.into()),
            Some(_) | None => Ok((batches, taken)),
        }
    }
}
