//! How far the ledger is: settlements wait here until it has them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use crate::{
    clock::Clock,
    hot::Mark,
    telemetry::present::{self, Part},
};

/// How far the ledger is, shard by shard.
#[derive(Debug)]
pub struct Acks {
    settled: Vec<watch::Sender<Reached>>,
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
            settled.send_if_modified(|reached| {
                let further = Reached::of(mark) > *reached;
                *reached = Reached::of(mark).max(*reached);
                further
            });
        }
    }

    /// Waits until the ledger has `mark`, at most so long and no longer than the present call may
    /// take, and wakes the settler for it. `false`: not in time, or the shard was verified anew
    /// meanwhile: whoever asks again learns whether it is there.
    pub async fn settled(&self, mark: Mark, timeout: Duration) -> bool {
        let Some(settled) = self.settled.get(mark.shard as usize) else {
            return false;
        };
        if settled.borrow().covers(mark) {
            return true;
        }
        let mut settled = settled.subscribe();
        self.wake();
        self.waits.notify_one();
        let started = self.clock.as_ref().map(|clock| clock.monotonic());
        let timeout = started.map_or(timeout, |now| present::patience(now, timeout));
        let decided = settled.wait_for(|reached| *reached >= Reached::of(mark));
        let in_time = match tokio::time::timeout(timeout, decided).await {
            Ok(Ok(reached)) => reached.covers(mark),
            Ok(Err(_)) | Err(_) => false,
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
        while self.waited().is_empty() {
            self.waits.notified().await;
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
