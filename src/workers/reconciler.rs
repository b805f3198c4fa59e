//! The reconciler holds what is loaded against the ledger, account by account, where both stand at
//! the same sequence. A difference is logged and counted, and put right where that is wanted: the
//! ledger is the truth, open holds stay, and an entry of its own says what was repaired. A record
//! that can't be read is logged and counted, and left as it is: a newer version may have written it.
//!
//! It goes on where it was, a bounded number of accounts at a time, round and round.

mod compare;
mod oldest;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

pub use self::{
    compare::{Compared, Drift, compare, differences_of},
    oldest::Oldest,
};
use super::{Progress, StepError, Worker};
use crate::{
    domain::{command::Repair, timestamp::Timestamp},
    hot::{HotStore, Loaded},
    ledger::Ledger,
    telemetry::Metrics,
};

/// As many open holds are as much work as one account more.
const HOLDS_LIKE_AN_ACCOUNT: usize = 20;

/// Compares, and repairs.
pub struct Reconciler {
    /// What is compared.
    pub hot: Arc<dyn HotStore>,
    /// With what.
    pub ledger: Arc<dyn Ledger>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// About how many accounts one step compares; fewer where they have many holds.
    pub batch_max: usize,
    /// Whether what differs is put right.
    pub repair: bool,
    /// Where the next step goes on.
    pub place: Mutex<Place>,
    /// The oldest hold that it has met.
    pub oldest: Oldest,
}

/// A place on the way through all accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    shard: u32,
    from: Option<String>,
}

impl Place {
    /// The accounts at this place, and the next one; `None`: that was all.
    pub async fn next(
        self,
        hot: &dyn HotStore,
        max: usize,
    ) -> Result<(Loaded, Option<Place>), StepError> {
        let page = hot.loaded(self.shard, self.from.as_deref(), max).await?;
        let next = match &page.next {
            Some(from) => Some(Place {
                from: Some(from.clone()),
                ..self
            }),
            None if self.shard + 1 < hot.shards() => Some(Place {
                shard: self.shard + 1,
                from: None,
            }),
            None => None,
        };
        Ok((page, next))
    }
}

#[async_trait]
impl Worker for Reconciler {
    fn name(&self) -> &'static str {
        "reconciler"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        self.oldest.look_again(self.hot.as_ref()).await;
        let done = self.go_on().await;
        self.tell_oldest();
        done
    }

    // Whoever does the work tells; what this process knows would only grow older.
    fn rest(&self) {
        self.oldest.forget();
        self.tell_oldest();
    }
}

impl Reconciler {
    fn tell_oldest(&self) {
        let since = self.oldest.since().map(Timestamp::millis);
        self.metrics.set_oldest_hold(since);
    }

    async fn go_on(&self) -> Result<Progress, StepError> {
        let mut place = self.place.lock().clone();
        let mut looked_at = 0;
        loop {
            // A shard that can't be read is left for the next round: every round would end there.
            let (work, next) = match self.look_at(place.clone()).await {
                Ok(done) => done,
                Err(error) => {
                    let shard = place.shard + 1;
                    let skipped = Place { shard, from: None };
                    let is_last = shard >= self.hot.shards();
                    *self.place.lock() = if is_last { Place::default() } else { skipped };
                    return Err(error);
                }
            };
            looked_at += work;
            let Some(next) = next else {
                *self.place.lock() = Place::default();
                return Ok(Progress::Done);
            };
            *self.place.lock() = next.clone();
            place = next;
            if looked_at >= self.batch_max {
                return Ok(Progress::Done);
            }
        }
    }

    /// Compares the accounts at a place, and puts right what differs; answers how much work it was,
    /// and the next place.
    async fn look_at(&self, place: Place) -> Result<(usize, Option<Place>), StepError> {
        let hot = self.hot.as_ref();
        let (page, next) = place.next(hot, self.batch_max).await?;
        let compared = compare(hot, self.ledger.as_ref(), &page.ids, 1).await?;
        self.oldest.note(compared.oldest);
        for drift in &compared.drifts {
            self.found(drift).await;
        }
        let work = page.ids.len() + compared.holds / HOLDS_LIKE_AN_ACCOUNT;
        Ok((work, next))
    }

    async fn found(&self, drift: &Drift) {
        let Drift {
            account_id,
            reason,
            repair,
        } = drift;
        self.metrics.drift();
        tracing::error!(account = %account_id, reason, "the hot store differs from the ledger");
        let Some(repair) = repair.as_ref().filter(|_| self.repair) else {
            return;
        };
        match repaired(self.hot.as_ref(), repair).await {
            Ok(true) => self.metrics.repaired(),
            Ok(false) => {}
            // It is found again in the next round, and holds up no other account.
            Err(error) => {
                tracing::warn!(account = %account_id, %error, "not repaired: will look again");
            }
        }
    }
}

/// Puts an account right; answers whether it did: it may have moved on.
pub async fn repaired(hot: &dyn HotStore, repair: &Repair) -> Result<bool, StepError> {
    let account = &repair.stored.id;
    match hot.repair(repair).await? {
        Ok(done) => {
            if let Some(expired) = done.value {
                tracing::warn!(%account, expired, "repaired from the ledger; holds that it can't cover expired");
            }
            Ok(done.value.is_some())
        }
        Err(refusal) => {
            tracing::warn!(%account, %refusal, "not repaired: will look again");
            Ok(false)
        }
    }
}
