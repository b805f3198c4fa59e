//! Who waits for a shard to be verified. One attempt at a time is made for each shard, in the
//! background; whoever calls meanwhile waits for it until his deadline. After an attempt that came
//! to nothing calls fail at once for a moment, and the next one tries again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use super::{faults::Failure, recovery::Recovery};
use crate::{
    clock::{Clock, SystemClock},
    hot::{Cursor, Recovered},
};

/// How long calls fail at once after an attempt has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The shards, and whether somebody is verifying them.
#[derive(Debug)]
pub(super) struct Gate {
    recovery: Recovery,
    shards: Vec<Mutex<Attempt>>,
    clock: SystemClock,
}

#[derive(Debug)]
enum Attempt {
    /// None was made, or the last one succeeded.
    None,
    Running(watch::Receiver<()>),
    /// Since when, and why.
    Failed(Duration, Arc<str>),
}

/// No step runs on the shard.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} is not verified for this server: {why}")]
struct NotVerified {
    shard: u32,
    why: Arc<str>,
}

impl Gate {
    pub fn new(recovery: Recovery, shards: u32) -> Self {
        Gate {
            recovery,
            shards: (0..shards).map(|_| Mutex::new(Attempt::None)).collect(),
            clock: SystemClock::new(),
        }
    }

    /// Returns once steps may run on a shard again; fails where that is not within the limit.
    pub async fn verified(self: &Arc<Self>, shard: u32, limit: Duration) -> Result<(), Failure> {
        let Some(attempt) = self.shards.get(shard as usize) else {
            return Err(not_verified(shard, "there is no such shard"));
        };
        let mut running = {
            let mut attempt = attempt.lock();
            match &*attempt {
                Attempt::Running(running) => running.clone(),
                Attempt::Failed(since, why) if self.clock.monotonic() < *since + PAUSE => {
                    return Err(not_verified(shard, Arc::clone(why)));
                }
                Attempt::None | Attempt::Failed(..) => {
                    let (done, running) = watch::channel(());
                    *attempt = Attempt::Running(running.clone());
                    tokio::spawn(Arc::clone(self).attempt(shard, done));
                    running
                }
            }
        };
        // The attempt drops its end when it is over, whatever came of it.
        let over = async { while running.changed().await.is_ok() {} };
        if timeout(limit, over).await.is_err() {
            return Err(not_verified(shard, "it is being verified"));
        }
        match &*attempt.lock() {
            Attempt::Failed(_, why) => Err(not_verified(shard, Arc::clone(why))),
            Attempt::None | Attempt::Running(_) => Ok(()),
        }
    }

    async fn attempt(self: Arc<Self>, shard: u32, done: watch::Sender<()>) {
        let outcome = match self.recovery.verify(shard).await {
            Ok(()) => Attempt::None,
            Err(error) => {
                let why: Arc<str> = Arc::from(error.to_string());
                tracing::warn!(shard, %why, "a shard is not verified yet");
                Attempt::Failed(self.clock.monotonic(), why)
            }
        };
        *self.shards[shard as usize].lock() = outcome;
        drop(done);
    }

    /// Closes a shard whose entries the ledger does not take.
    pub async fn distrust(&self, cursor: Cursor) -> Result<(), Failure> {
        let closed = self.recovery.distrust(cursor).await;
        closed.map_err(Failure::unknown)
    }

    /// What was put right so far.
    pub fn recovered(&self) -> Recovered {
        self.recovery.recovered()
    }
}

fn not_verified(shard: u32, why: impl Into<Arc<str>>) -> Failure {
    Failure::not_sent(NotVerified {
        shard,
        why: why.into(),
    })
}
