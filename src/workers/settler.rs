//! The settler moves what is settled from the hot store's outbox to the ledger: everything that
//! waits, in one transaction. While one is being written the next gathers, so a thousand
//! concurrent commits share a few syncs to disk.
//!
//! A crash before the transaction loses nothing that the ledger acknowledged; a crash after it
//! and before the trim repeats the batch, which the cursor refuses.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Progress, StepError, Worker};
use crate::{
    clock::Clock,
    domain::change::Change,
    enforcer::{Enforcer, acks::Acks},
    hot::{HotStore, Mark, OutboxBatch},
    ledger::Ledger,
    telemetry::Metrics,
};

/// How many failed batches are remembered.
const TRIED_MAX: usize = 100_000;

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
    /// How many entries one transaction takes before the next shard waits for another one.
    pub batch_max: usize,
    /// Whether other settlers read the same outbox.
    pub is_shared: bool,
    /// What was tried and failed since the last success: the ledger may have it all the same.
    pub tried: Mutex<HashSet<Mark>>,
}

/// Somebody else settles the same shards.
#[derive(Debug, thiserror::Error)]
#[error("the ledger's cursor is not where this settler left it: is another one at work?")]
struct CursorConflict;

/// The outbox and the ledger are not of one history.
#[derive(Debug, thiserror::Error)]
#[error(
    "shard {shard}: the ledger has {cursor} records of its outbox, which goes from {from} to {to}: \
     the hot store or the ledger has lost something"
)]
struct OutboxMismatch {
    shard: u32,
    cursor: u64,
    from: u64,
    to: u64,
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
        let (batches, more) = self.gather().await?;
        self.metrics.set_oldest_unsettled(oldest(&batches));
        if batches.is_empty() {
            // A ledger that works behind a log may have come upon reversals since the last time.
            let late = self.ledger.settle(&[], self.clock.now()).await?;
            self.reverse(&late.reversals).await?;
            return Ok(Progress::Done);
        }
        let settled = self.ledger.settle(&batches, self.clock.now()).await;
        let settled = settled.inspect_err(|_| self.remember(&batches))?;
        if settled.cursor_conflict {
            self.metrics.cursor_conflict();
            return self.follow(&batches).await;
        }
        self.tried.lock().clear();
        for batch in &batches {
            self.hot.trim(batch.shard, batch.to).await?;
            self.acks.publish(Mark {
                shard: batch.shard,
                position: batch.to,
            });
        }
        self.metrics.settled_batch(settled.entries as u64);
        if !more {
            self.metrics.set_oldest_unsettled(None);
        }
        self.reverse(&settled.reversals).await?;
        Ok(if more { Progress::More } else { Progress::Done })
    }
}

/// When the oldest entry that waits was settled, in milliseconds since 1970.
fn oldest(batches: &[OutboxBatch]) -> Option<i64> {
    let first = batches.iter().filter_map(|batch| batch.entries.first());
    first.map(|line| line.occurred_at.millis()).min()
}

impl Settler {
    /// After another settler was faster, or has died between the ledger and the trim: does what
    /// it may have left undone, and tells whoever waits.
    async fn follow(&self, batches: &[OutboxBatch]) -> Result<Progress, StepError> {
        let cursors: HashMap<u32, u64> = self.ledger.cursors().await?.into_iter().collect();
        for batch in batches {
            let shard = batch.shard;
            let cursor = cursors.get(&shard).copied().unwrap_or(0);
            let position = cursor;
            let is_own = self.tried.lock().contains(&Mark { shard, position });
            // Nobody else settles what only this process has.
            if !self.is_shared && !is_own && cursor != batch.from {
                return Err(Box::new(CursorConflict));
            }
            // Read after the cursor: it has all that the ledger had then, trimmed or not.
            let outbox = self.hot.outbox(shard).await?;
            if cursor < batch.from || cursor > outbox.to {
                return Err(Box::new(OutboxMismatch {
                    shard,
                    cursor,
                    from: outbox.from,
                    to: outbox.to,
                }));
            }
            self.hot.trim(shard, cursor).await?;
            let position = cursor.max(outbox.from);
            self.acks.publish(Mark { shard, position });
        }
        Ok(Progress::More)
    }

    fn remember(&self, batches: &[OutboxBatch]) {
        let mut tried = self.tried.lock();
        if tried.len() < TRIED_MAX {
            tried.extend(batches.iter().map(|batch| Mark {
                shard: batch.shard,
                position: batch.to,
            }));
        }
    }

    async fn reverse(&self, reversals: &[Change]) -> Result<(), StepError> {
        for change in reversals {
            tracing::warn!(account = %change.account_id, "a settlement came twice: reversing it");
            self.enforcer.catch_up(&change.account_id).await?;
        }
        Ok(())
    }

    /// What waits, shard by shard, and whether some of it was left for the next transaction.
    async fn gather(&self) -> Result<(Vec<OutboxBatch>, bool), StepError> {
        let mut batches: Vec<OutboxBatch> = Vec::new();
        let mut entries = 0;
        for shard in 0..self.hot.shards() {
            if entries >= self.batch_max {
                return Ok((batches, true));
            }
            let batch = self.hot.outbox(shard).await?;
            // What was there before is in the ledger: a retry after a restart waits for no more.
            self.acks.publish(Mark {
                shard,
                position: batch.from,
            });
            if batch.to > batch.from {
                entries += batch.entries.len();
                batches.push(batch);
            }
        }
        Ok((batches, false))
    }
}
