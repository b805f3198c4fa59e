//! Who works on which shards, where several processes settle one Redis: each says every second
//! that it lives, and all of them part the shards among those that do. One that has fallen silent
//! loses its share after seconds, one that stops gives it back at once.
//!
//! This spares double work and nothing rests on it: while two processes believe that a shard is
//! theirs, the ledger's cursor lets one of them write each entry, and for the second in which
//! nobody does, the entries wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker};
use crate::{hot::redis::RedisHot, ledger::Ledger};

/// How often a process says that it lives.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the ledger may take to answer whoever has a share.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it is believed, in milliseconds: two beats may be lost.
const LIFETIME_MS: i64 = 3_000;

/// The share of this process: its place among those that live, and how many they are.
#[derive(Debug)]
pub struct Shares(AtomicU64);

impl Shares {
    /// Everything, for a process that nobody shares with.
    pub fn whole() -> Self {
        Shares(AtomicU64::new(pack(0, 1)))
    }

    /// Nothing, until it is known who else there is.
    pub fn none() -> Self {
        Shares(AtomicU64::new(pack(0, 0)))
    }

    /// Whether a shard is this process's to settle.
    pub fn has(&self, shard: u32) -> bool {
        let (place, of) = self.get();
        shard.checked_rem(of) == Some(place)
    }

    /// Whether what one process is enough for is this one's to do.
    pub fn leads(&self) -> bool {
        let (place, of) = self.get();
        place == 0 && of > 0
    }

    fn get(&self) -> (u32, u32) {
        let packed = self.0.load(Ordering::Relaxed);
        ((packed >> 32) as u32, packed as u32)
    }

    /// Takes another share. Answers whether it is another one.
    fn set(&self, place: u32, of: u32) -> bool {
        let packed = pack(place, of);
        self.0.swap(packed, Ordering::Relaxed) != packed
    }
}

/// Both in one word, so that nobody reads one of them before and the other one after a change.
fn pack(place: u32, of: u32) -> u64 {
    u64::from(place) << 32 | u64::from(of)
}

/// Keeps this process's share.
pub struct Sharer {
    redis: Arc<RedisHot>,
    ledger: Arc<dyn Ledger>,
    shares: Arc<Shares>,
    /// What this process calls itself.
    member: String,
}

impl Sharer {
    /// Keeps `shares`, under a name that nobody else has.
    pub fn new(redis: Arc<RedisHot>, ledger: Arc<dyn Ledger>, shares: Arc<Shares>) -> Self {
        Sharer {
            redis,
            ledger,
            shares,
            member: format!("{:016x}", rand::random::<u64>()),
        }
    }

    /// Gives the share back. What fails is found out by the others' patience.
    pub async fn leave(&self) {
        self.shares.set(0, 0);
        if let Err(fault) = self.redis.leave(&self.member).await {
            tracing::warn!(%fault, "the others were not told that this process stops");
        }
    }
}

#[async_trait]
impl Worker for Sharer {
    fn name(&self) -> &'static str {
        "sharer"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    /// Where Redis can't be asked, the share stays what it was: a shard with two settlers is
    /// better than one without. Where this process does not reach the ledger it has none, as long
    /// as there are others: of several that do not the last keeps all.
    async fn step(&self) -> Result<Progress, StepError> {
        let asked = tokio::time::timeout(LEDGER_TIMEOUT, self.ledger.cursors());
        let no_ledger = match asked.await {
            Ok(Ok(_)) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(_) => Some(format!(
                "the ledger did not answer within {LEDGER_TIMEOUT:?}"
            )),
        };
        let members = self.redis.beat(&self.member, LIFETIME_MS).await?;
        if let Some(why) = no_ledger
            && members.len() > 1
        {
            self.leave().await;
            return Err(format!("left the shards to the other settlers: {why}").into());
        }
        let place = members.iter().position(|one| *one == self.member);
        // Somebody whose clock is far off has taken it out; the next beat puts it back.
        let Some(place) = place else {
            return Ok(Progress::Done);
        };
        if self
            .shares
            .set(u32::try_from(place)?, u32::try_from(members.len())?)
        {
            let settlers = members.len();
            tracing::info!(place, settlers, "the shards are shared out anew");
        }
        Ok(Progress::Done)
    }
}

/// A worker that one process is enough for. Two at once do no harm.
pub struct Led {
    /// What it does.
    pub worker: Arc<dyn Worker>,
    /// Says whether this process does it.
    pub shares: Arc<Shares>,
}

#[async_trait]
impl Worker for Led {
    fn name(&self) -> &'static str {
        self.worker.name()
    }

    async fn step(&self) -> Result<Progress, StepError> {
        if self.shares.leads() {
            self.worker.step().await
        } else {
            self.worker.rest();
            Ok(Progress::Resting)
        }
    }

    fn backoff_max(&self) -> Duration {
        self.worker.backoff_max()
    }

    async fn woken(&self) {
        self.worker.woken().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_somebodys_and_nobody_elses() {
        for of in 1..=5 {
            let shares: Vec<Shares> = (0..of)
                .map(|place| {
                    let shares = Shares::none();
                    assert!(shares.set(place, of));
                    assert!(!shares.set(place, of));
                    shares
                })
                .collect();
            for shard in 0..64 {
                let owners = shares.iter().filter(|one| one.has(shard)).count();
                assert_eq!(owners, 1, "shard {shard} of {of} settlers");
            }
            assert_eq!(shares.iter().filter(|one| one.leads()).count(), 1);
        }
    }

    #[test]
    fn who_does_not_know_the_others_has_nothing() {
        let none = Shares::none();
        assert!(!none.leads());
        assert!((0..64).all(|shard| !none.has(shard)));
        let whole = Shares::whole();
        assert!(whole.leads());
        assert!((0..64).all(|shard| whole.has(shard)));
    }
}
