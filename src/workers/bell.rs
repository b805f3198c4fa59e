//! The bell wakes this process's settler when somebody in another process waits for the ledger.
//! It is a number in Redis that is looked at: one cheap command, many times a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker};
use crate::{enforcer::acks::Acks, hot::redis::RedisHot};

/// Listens for others.
pub struct Bell {
    /// Where it is rung.
    pub redis: Arc<RedisHot>,
    /// Wakes the settler.
    pub acks: Arc<Acks>,
    /// What was heard last.
    pub heard: AtomicI64,
}

#[async_trait]
impl Worker for Bell {
    fn name(&self) -> &'static str {
        "bell"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let rung = self.redis.rung().await?;
        if self.heard.swap(rung, Ordering::Relaxed) != rung {
            self.acks.wake();
        }
        Ok(Progress::Done)
    }
}
