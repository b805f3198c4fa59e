//! The follower learns how far the ledger is in shards that another process settles, for those
//! who wait for it here. While nobody waits it asks nothing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker, shares::Shares};
use crate::{enforcer::acks::Acks, hot::redis::RedisHot};

/// The pause between two looks while somebody waits.
const LOOK_PAUSE: Duration = Duration::from_millis(3);

/// Looks how far the others are.
pub struct Follower {
    /// Where they say so.
    pub redis: Arc<RedisHot>,
    /// Who waits.
    pub acks: Arc<Acks>,
    /// What this process settles itself.
    pub shares: Arc<Shares>,
}

#[async_trait]
impl Worker for Follower {
    fn name(&self) -> &'static str {
        "follower"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    async fn woken(&self) {
        self.acks.waiting().await;
        tokio::time::sleep(LOOK_PAUSE).await;
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let mut shards = self.acks.waited();
        shards.retain(|shard| !self.shares.has(*shard));
        if shards.is_empty() {
            return Ok(Progress::Done);
        }
        // Whoever hears the bell does not wait for his timer. Its node of a cluster may be away, and
        // settlers come round all the same: that holds up nobody who waits for the others.
        let (rung, marks) = tokio::join!(self.redis.ring(), self.redis.settled(&shards));
        if let Err(fault) = rung {
            tracing::debug!(%fault, "the settlers can't be told that somebody waits");
        }
        for mark in marks? {
            self.acks.publish(mark);
        }
        Ok(Progress::Done)
    }
}
