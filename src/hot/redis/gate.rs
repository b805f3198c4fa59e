//! Who waits for a shard to be verified. One attempt at a time is made for each shard, in the
//! background; whoever calls meanwhile waits for it until his deadline. After an attempt that came
//! to nothing calls fail at once for a moment, and the next one tries again.
//!
//! Where one shard has to be verified the others of its server have to be too: they are looked at
//! right away, a few at a time, before anybody has to wait for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{faults::Failure, recovery::Recovery};
use crate::{
    clock::{Clock, SystemClock},
    hot::{Cursor, Recovered},
};

/// How long calls fail at once after an attempt has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// How many shards are looked at at a time that nobody waits for yet.
const AHEAD: u32 = 8;

/// The shards, and whether somebody is verifying them.
#[derive(Debug)]
pub(super) struct Gate {
    recovery: Recovery,
    shards: Vec<Mutex<Attempt>>,
    /// Whether the shards are looked at that nobody waits for yet.
    is_ahead: AtomicBool,
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
            is_ahead: AtomicBool::new(false),
            clock: SystemClock::new(),
        }
    }

    /// Returns once steps may run on a shard again; fails where that is not within the limit.
    pub async fn verified(self: &Arc<Self>, shard: u32, limit: Duration) -> Result<(), Failure> {
        let mut running = self.begin(shard)?;
        self.look_ahead();
        // The attempt drops its end when it is over, whatever came of it.
        let over = async { while running.changed().await.is_ok() {} };
        if timeout(limit, over).await.is_err() {
            return Err(not_verified(shard, "it is being verified"));
        }
        match &*self.shards[shard as usize].lock() {
            Attempt::Failed(_, why) => Err(not_verified(shard, Arc::clone(why))),
            Attempt::None | Attempt::Running(_) => Ok(()),
        }
    }

    /// Begins an attempt, or joins the one that runs; fails where one has just failed.
    fn begin(self: &Arc<Self>, shard: u32) -> Result<watch::Receiver<()>, Failure> {
        let Some(attempt) = self.shards.get(shard as usize) else {
            return Err(not_verified(shard, "there is no such shard"));
        };
        let mut attempt = attempt.lock();
        match &*attempt {
            Attempt::Running(running) => Ok(running.clone()),
            Attempt::Failed(since, why) if self.clock.monotonic() < *since + PAUSE => {
                Err(not_verified(shard, Arc::clone(why)))
            }
            Attempt::None | Attempt::Failed(..) => {
                let (done, running) = watch::channel(());
                *attempt = Attempt::Running(running.clone());
                tokio::spawn(Arc::clone(self).attempt(shard, done));
                Ok(running)
            }
        }
    }

    /// Looks at every shard in the background, once at a time.
    fn look_ahead(self: &Arc<Self>) {
        if self.is_ahead.swap(true, Ordering::Relaxed) {
            return;
        }
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            let next = Arc::new(AtomicU32::new(0));
            let lookers = (0..AHEAD).map(|_| Arc::clone(&gate).look_at_each(Arc::clone(&next)));
            lookers.collect::<JoinSet<()>>().join_all().await;
            gate.is_ahead.store(false, Ordering::Relaxed);
        });
    }

    async fn look_at_each(self: Arc<Self>, next: Arc<AtomicU32>) {
        loop {
            let shard = next.fetch_add(1, Ordering::Relaxed);
            if shard as usize >= self.shards.len() {
                return;
            }
            // What failed is tried again by who needs it.
            let Ok(mut running) = self.begin(shard) else {
                continue;
            };
            while running.changed().await.is_ok() {}
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
