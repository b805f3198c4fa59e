//! The substitute settles what another settler has left lying: one that was killed keeps its share
//! of the shards until the others miss it, and whoever waits for it must not wait that long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker, settler::Settler, shares::Shares};
use crate::{
    clock::Clock,
    enforcer::acks::Acks,
    hot::{Mark, redis::RedisHot},
};

/// How long nothing may move in a shard where something waits.
const PATIENCE: Duration = Duration::from_millis(150);
/// The pause between two looks while somebody in this process waits.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Settles in the place of others.
pub struct Substitute {
    /// Where it is seen what waits.
    pub redis: Arc<RedisHot>,
    /// Does the work.
    pub settler: Arc<Settler>,
    /// Who waits in this process.
    pub acks: Arc<Acks>,
    /// What this process settles anyway.
    pub shares: Arc<Shares>,
    /// Measures for how long.
    pub clock: Arc<dyn Clock>,
    /// Where the ledger was in the shards where something waited, and since when.
    pub seen: Mutex<HashMap<u32, (Mark, Duration)>>,
}

#[async_trait]
impl Worker for Substitute {
    fn name(&self) -> &'static str {
        "substitute"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    async fn woken(&self) {
        self.acks.waiting().await;
        tokio::time::sleep(LOOK_PAUSE).await;
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let all = 0..self.settler.hot.shards();
        let others: Vec<u32> = all.filter(|shard| !self.shares.has(*shard)).collect();
        let waiting = self.redis.unsettled(&others).await?;
        let left = self.left_lying(waiting);
        if !left.is_empty() {
            tracing::info!(shards = ?left, "settling in the place of another settler");
            self.settler.settle_for(&left).await?;
        }
        Ok(Progress::Done)
    }
}

impl Substitute {
    /// Those shards in which nothing has moved for too long. Each is given that long again.
    fn left_lying(&self, waiting: Vec<Mark>) -> Vec<u32> {
        let now = self.clock.monotonic();
        let mut seen = self.seen.lock();
        let before = std::mem::take(&mut *seen);
        let mut left = Vec::new();
        for mark in waiting {
            let since = match before.get(&mark.shard) {
                Some((known, since)) if *known == mark => *since,
                Some(_) | None => now,
            };
            let is_left = now.saturating_sub(since) >= PATIENCE;
            if is_left {
                left.push(mark.shard);
            }
            seen.insert(mark.shard, (mark, if is_left { now } else { since }));
        }
        left
    }
}
