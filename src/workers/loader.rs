//! The loader brings in the accounts that processes without a ledger wait for. Each request goes
//! to one loader, and an account that is there already is left as it is.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker};
use crate::{
    domain::ids::AccountId,
    enforcer::{Enforcer, error::EnforceError},
    hot::redis::RedisHot,
};

/// The most accounts of one step, which are read at once.
const BATCH_MAX: usize = 16;

/// Loads what others wait for.
pub struct Loader {
    /// Where they ask.
    pub redis: Arc<RedisHot>,
    /// Loads from the ledger.
    pub enforcer: Arc<Enforcer>,
}

impl Loader {
    async fn load(&self, account_id: &AccountId) -> Result<(), EnforceError> {
        match self.enforcer.touch(account_id).await {
            Err(EnforceError::AccountNotFound { .. }) => {
                Ok(self.redis.say_absent(account_id).await?)
            }
            other => other,
        }
    }
}

#[async_trait]
impl Worker for Loader {
    fn name(&self) -> &'static str {
        "loader"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let asked = self.redis.take_asked(BATCH_MAX).await?;
        // One that fails is asked for again by whoever still waits, and holds up no other.
        let loaded = join_all(asked.iter().map(|account_id| self.load(account_id))).await;
        loaded.into_iter().collect::<Result<(), EnforceError>>()?;
        let is_full = asked.len() == BATCH_MAX;
        Ok(if is_full {
            Progress::More
        } else {
            Progress::Done
        })
    }
}
