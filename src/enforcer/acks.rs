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
    settled: Vec<watch::Sender<u64>>,
    wake: Notify,
    /// What waiting is timed by.
    clock: Option<Arc<dyn Clock>>,
}

impl Acks {
    /// For a number of shards, none of which has anything settled.
    pub fn new(shards: u32) -> Self {
        Acks {
            settled: (0..shards).map(|_| watch::Sender::new(0)).collect(),
            wake: Notify::new(),
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
            settled.send_if_modified(|position| {
                let further = mark.position > *position;
                *position = mark.position.max(*position);
                further
            });
        }
    }

    /// Waits until the ledger has `mark`, and wakes the settler for it. `false`: not in time.
    pub async fn settled(&self, mark: Mark, timeout: Duration) -> bool {
        let Some(settled) = self.settled.get(mark.shard as usize) else {
            return false;
        };
        if *settled.borrow() >= mark.position {
            return true;
        }
        let mut settled = settled.subscribe();
        self.wake();
        let started = self.clock.as_ref().map(|clock| clock.monotonic());
        let reached = settled.wait_for(|position| *position >= mark.position);
        let in_time = matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)));
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

    /// Tells the settler that somebody waits.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until somebody waits.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}
