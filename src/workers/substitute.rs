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

/// How long nothing may move in a shard where something waits, where settling is fast.
const PATIENCE: Duration = Duration::from_millis(150);
/// The same at most: by then a settler that died is missed.
const PATIENCE_MAX: Duration = Duration::from_secs(3);
/// How many times what settling took the last time that is. Where the ledger is slow, whoever has the
/// share most likely is at work, and a second one would only stand in its way.
const PATIENCE_PER_SETTLING: u32 = 4;
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
    /// What it has seen so far.
    pub seen: Mutex<Seen>,
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
        let began = self.clock.monotonic();
        let left = self.seen.lock().left_lying(waiting, began);
        if !left.is_empty() {
            tracing::info!(shards = ?left, "settling in the place of another settler");
            let settled = self.settler.settle_for(&left).await;
            self.seen.lock().settling = self.clock.monotonic().saturating_sub(began);
            settled?;
        }
        Ok(Progress::Done)
    }
}

/// Where the ledger was in the shards where something waited.
#[derive(Debug, Default)]
pub struct Seen {
    /// And since when.
    marks: HashMap<u32, (Mark, Duration)>,
    /// How long settling took the last time.
    settling: Duration,
}

impl Seen {
    /// Those shards in which nothing has moved for too long. Each is given that long again.
    fn left_lying(&mut self, waiting: Vec<Mark>, now: Duration) -> Vec<u32> {
        let patience = self.settling * PATIENCE_PER_SETTLING;
        let patience = patience.clamp(PATIENCE, PATIENCE_MAX);
        let before = std::mem::take(&mut self.marks);
        let mut left = Vec::new();
        for mark in waiting {
            let since = match before.get(&mark.shard) {
                Some((known, since)) if *known == mark => *since,
                Some(_) | None => now,
            };
            let is_left = now.saturating_sub(since) >= patience;
            if is_left {
                left.push(mark.shard);
            }
            let since = if is_left { now } else { since };
            self.marks.insert(mark.shard, (mark, since));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u32; 0] = [];

    fn at(position: u64) -> Vec<Mark> {
        vec![Mark {
            shard: 3,
            era: 1,
            position,
        }]
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_shard_is_left_where_nothing_moves_for_as_long_as_settling_may_take() {
        let mut seen = Seen::default();
        assert_eq!(seen.left_lying(at(5), ms(1_000)), NONE);
        assert_eq!(seen.left_lying(at(5), ms(1_149)), NONE);
        assert_eq!(seen.left_lying(at(5), ms(1_150)), [3]);
        // It has as long again, and longer where settling took long.
        assert_eq!(seen.left_lying(at(5), ms(1_299)), NONE);
        seen.settling = ms(200);
        assert_eq!(seen.left_lying(at(5), ms(1_949)), NONE);
        assert_eq!(seen.left_lying(at(5), ms(1_950)), [3]);
        seen.settling = ms(60_000);
        assert_eq!(seen.left_lying(at(5), ms(4_949)), NONE);
        assert_eq!(seen.left_lying(at(5), ms(4_950)), [3]);
        // What moves is at work; what waits no more is forgotten.
        assert_eq!(seen.left_lying(at(6), ms(9_000)), NONE);
        assert_eq!(seen.left_lying(Vec::new(), ms(9_100)), NONE);
        assert_eq!(seen.left_lying(at(6), ms(20_000)), NONE);
    }
}
