//! How far the ledger is: settlements wait here until it has them.
//!
//! While it gets no further they wait briefly only: each of them has one of the places that all
//! calls share, and those that need no ledger must not be refused for want of one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    clock::Clock,
    hot::Mark,
    telemetry::present::{self, Part},
};

/// The ledger is stuck where it has got no further while somebody waited for so long: longer than
/// a slow disk or another settler's death takes as a rule, and less than callers wait.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How long a settlement waits while the ledger is stuck: some times what settling takes.
const BRIEF_WAIT: Duration = Duration::from_millis(50);
/// No count of [`Acks::progress`].
const NEVER: u64 = u64::MAX;

/// How far the ledger is, shard by shard.
#[derive(Debug)]
pub struct Acks {
    settled: Vec<watch::Sender<Reached>>,
    /// How often the ledger has got further, in any shard.
    progress: AtomicU64,
    /// What `progress` was when somebody had waited for [`STUCK_AFTER`] in vain. While it is the
    /// same the ledger is stuck.
    stuck_at: AtomicU64,
    wake: Notify,
    waits: Notify,
    /// What waiting is timed by.
    clock: Option<Arc<dyn Clock>>,
}

/// How far it is in one shard: ordered by epoch, then by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Reached {
    era: u64,
    position: u64,
}

impl Reached {
    fn of(mark: Mark) -> Self {
        Reached {
            era: mark.era,
            position: mark.position,
        }
    }

    /// Whether the ledger has what `mark` waits for. Of an older epoch nobody can say any more: the
    /// store may have lost it, and its position may be another record's by now.
    fn covers(self, mark: Mark) -> bool {
        self.era == mark.era && self.position >= mark.position
    }
}

impl Acks {
    /// For a number of shards, none of which has anything settled.
    pub fn new(shards: u32) -> Self {
        Acks {
            settled: (0..shards)
                .map(|_| watch::Sender::new(Reached::default()))
                .collect(),
            progress: AtomicU64::new(0),
            stuck_at: AtomicU64::new(NEVER),
            wake: Notify::new(),
            waits: Notify::new(),
            clock: None,
        }
    }

    /// Tells the calls that wait how long they waited.
    pub fn timed_by(self, clock: Arc<dyn Clock>) -> Self {
        Acks {
            clock: Some(clock),
            ..self
        }
    }

    /// Says that the ledger has everything up to `mark`.
    pub fn publish(&self, mark: Mark) {
        if let Some(settled) = self.settled.get(mark.shard as usize) {
            let further = settled.send_if_modified(|reached| {
                let further = Reached::of(mark) > *reached;
                *reached = Reached::of(mark).max(*reached);
                further
            });
            if further {
                self.progress.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until the ledger has `mark`, at most so long and no longer than the present call may
    /// take, and wakes the settler for it; while the ledger is stuck for 50 ms at most.
    /// `false`: not in time, or the shard was verified anew meanwhile: whoever asks again learns
    /// whether it is there.
    pub async fn settled(&self, mark: Mark, timeout: Duration) -> bool {
        let Some(settled) = self.settled.get(mark.shard as usize) else {
            return false;
        };
        if settled.borrow().covers(mark) {
            return true;
        }
        let mut settled = settled.subscribe();
        self.wake();
        // Not one alone: the follower and the substitute listen.
        self.waits.notify_waiters();
        let started = self.clock.as_ref().map(|clock| clock.monotonic());
        let timeout = started.map_or(timeout, |now| present::patience(now, timeout));
        let progress = self.progress.load(Ordering::Relaxed);
        let is_stuck = progress == self.stuck_at.load(Ordering::Relaxed);
        let timeout = if is_stuck {
            timeout.min(BRIEF_WAIT)
        } else {
            timeout
        };
        let decided = settled.wait_for(|reached| *reached >= Reached::of(mark));
        let in_time = match tokio::time::timeout(timeout, decided).await {
            Ok(Ok(reached)) => reached.covers(mark),
            Ok(Err(_)) => false,
            Err(_) => {
                if timeout >= STUCK_AFTER && self.progress.load(Ordering::Relaxed) == progress {
                    self.stuck_at.store(progress, Ordering::Relaxed);
                }
                false
            }
        };
        if let Some((clock, started)) = self.clock.as_ref().zip(started) {
            let error = (!in_time).then_some("timeout");
            present::spent(
                Part::LedgerWait,
                "ledger.wait",
                started,
                clock.monotonic(),
                error,
            );
        }
        in_time
    }

    /// The shards whose settlements somebody waits for.
    pub fn waited(&self) -> Vec<u32> {
        let waited = (0..).zip(&self.settled);
        waited
            .filter(|(_, settled)| settled.receiver_count() > 0)
            .map(|(shard, _)| shard)
            .collect()
    }

    /// Returns while somebody waits: at once, or when the first one begins to.
    pub async fn waiting(&self) {
        loop {
            // Made before the look, so that whoever comes in between is noticed.
            let begins = self.waits.notified();
            if !self.waited().is_empty() {
                return;
            }
            begins.await;
        }
    }

    /// Tells the settler that somebody waits.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until somebody waits.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(600);

    fn mark(shard: u32, position: u64) -> Mark {
        Mark {
            shard,
            era: 0,
            position,
        }
    }

    /// Whether a settlement that may wait for long does so.
    async fn waits(acks: &Acks, mark: Mark) -> bool {
        let settled = acks.settled(mark, LONG);
        let in_time = tokio::time::timeout(BRIEF_WAIT * 20, settled).await;
        if let Ok(settled) = in_time {
            assert!(!settled, "nobody has said so");
        }
        in_time.is_err()
    }

    #[tokio::test]
    async fn while_the_ledger_is_stuck_nobody_waits_for_long() {
        let acks = Acks::new(2);
        acks.publish(mark(0, 1));
        // Who is impatient says nothing about the ledger.
        assert!(!acks.settled(mark(0, 2), STUCK_AFTER / 2).await);
        assert!(waits(&acks, mark(0, 2)).await);

        assert!(!acks.settled(mark(0, 2), STUCK_AFTER).await);
        assert!(!waits(&acks, mark(0, 2)).await);
        assert!(!waits(&acks, mark(1, 1)).await);
        // What was known before is no progress.
        acks.publish(mark(0, 1));
        assert!(!waits(&acks, mark(1, 1)).await);
        assert!(acks.settled(mark(0, 1), LONG).await);

        // A brief wait may be just long enough.
        let (settled, ()) = tokio::join!(acks.settled(mark(0, 2), LONG), async {
            acks.publish(mark(0, 2));
        });
        assert!(settled);
        assert!(waits(&acks, mark(1, 1)).await);
        assert!(waits(&acks, mark(0, 3)).await);
    }

    #[tokio::test]
    async fn all_who_listen_hear_that_somebody_waits() {
        let acks = Acks::new(2);
        let waits = acks.settled(mark(1, 1), LONG);
        let listen = async {
            tokio::join!(acks.waiting(), acks.waiting());
            assert_eq!(acks.waited(), [1]);
            acks.publish(mark(1, 1));
        };
        let (settled, ()) = tokio::join!(waits, listen);
        assert!(settled);
        // And those who listen before there is anybody.
        let listen = async { tokio::join!(acks.waiting(), acks.waiting()) };
        let later = async {
            tokio::task::yield_now().await;
            acks.settled(mark(0, 1), LONG).await
        };
        tokio::select! {
            _ = later => panic!("nobody has said so"),
            _ = listen => {}
        }
    }

    #[tokio::test]
    async fn a_shard_that_is_stuck_alone_makes_nobody_hurry() {
        let acks = Acks::new(2);
        let (in_vain, ()) = tokio::join!(acks.settled(mark(0, 1), STUCK_AFTER), async {
            acks.publish(mark(1, 1));
        });
        assert!(!in_vain);
        assert!(waits(&acks, mark(1, 2)).await);
    }
}
