//! The source of a process that knows Redis and nothing else: it asks there for the account, and
//! waits until somebody with a ledger has loaded it, or has found that there is none.
//!
//! However many calls wait for one account, one of them asks and looks; the others wait for it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{error::EnforceError, source::Source};
use crate::{
    clock::Clock,
    domain::{change::Change, decision::Refusal, ids::AccountId},
    hot::{HotStore, redis::RedisHot},
    telemetry::present,
};

/// How long after it has asked a process looks for the first time, and at most between two looks.
const LOOK_FIRST: Duration = Duration::from_millis(4);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(40);
/// After how many looks in vain it asks again: whoever took the request may be gone.
const LOOKS_PER_REQUEST: u32 = 4;
/// How many accounts are remembered whose waiters may all be gone.
const WAITED_MAX: usize = 1024;

/// Held by the one call that looks; the others queue behind it.
type Turn = tokio::sync::Mutex<()>;

/// Asks through Redis.
pub struct ColdSource {
    redis: Arc<RedisHot>,
    clock: Arc<dyn Clock>,
    /// How long one call waits at most.
    timeout: Duration,
    waited: Mutex<HashMap<AccountId, Weak<Turn>>>,
}

impl ColdSource {
    /// Asks through `redis`, for at most `timeout` a call, by the clock that calls are timed by.
    pub fn new(redis: Arc<RedisHot>, clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        ColdSource {
            redis,
            clock,
            timeout,
            waited: Mutex::default(),
        }
    }

    /// How long the present call waits: so that it is still answered in its caller's time.
    fn patience(&self) -> Duration {
        present::patience(self.clock.monotonic(), self.timeout)
    }

    fn turn(&self, account_id: &AccountId) -> Arc<Turn> {
        let mut waited = self.waited.lock();
        if let Some(turn) = waited.get(account_id).and_then(Weak::upgrade) {
            return turn;
        }
        if waited.len() >= WAITED_MAX {
            waited.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::default());
        waited.insert(account_id.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Asks and looks, until the account is there or known not to be.
    async fn wait_for(
        &self,
        hot: &dyn HotStore,
        account_id: &AccountId,
    ) -> Result<(), EnforceError> {
        let turn = self.turn(account_id);
        let _turn = turn.lock().await;
        let mut pause = LOOK_FIRST;
        // Whoever queued behind another call finds it done.
        while !is_there(hot, account_id).await? {
            self.redis.ask_for(account_id).await?;
            for _ in 0..LOOKS_PER_REQUEST {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LOOK_PAUSE_MAX);
                if is_there(hot, account_id).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Whether the hot store has the account. It has not where it says that there is none.
async fn is_there(hot: &dyn HotStore, account_id: &AccountId) -> Result<bool, EnforceError> {
    match hot.balance(account_id).await? {
        Err(Refusal::NotLoaded) => Ok(false),
        Err(Refusal::Absent) => Err(absent(account_id)),
        // Whatever else it refuses, it knows the account.
        Ok(_) | Err(_) => Ok(true),
    }
}

fn absent(account_id: &AccountId) -> EnforceError {
    EnforceError::AccountNotFound {
        account_id: account_id.clone(),
    }
}

#[async_trait]
impl Source for ColdSource {
    async fn bring(
        &self,
        hot: &dyn HotStore,
        account_id: &AccountId,
        is_absent: bool,
    ) -> Result<Option<u64>, EnforceError> {
        if is_absent {
            return Err(absent(account_id));
        }
        let waited = self.wait_for(hot, account_id);
        match tokio::time::timeout(self.patience(), waited).await {
            Ok(found) => found.map(|()| None),
            Err(_) => Err(EnforceError::NotLoadedInTime {
                account_id: account_id.clone(),
            }),
        }
    }

    /// Whoever loads an account applies its changes.
    async fn changes(
        &self,
        _account_id: &AccountId,
        _number: u64,
        _max: usize,
    ) -> Result<Vec<Change>, EnforceError> {
        Ok(Vec::new())
    }

    async fn catalog(&self, version: &str) -> Result<Option<String>, EnforceError> {
        Ok(self.redis.published_text(version).await?)
    }
}
