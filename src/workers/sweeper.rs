//! The sweeper gives back holds whose deadline has passed, and forgets settled reservations whose
//! replay window is over.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Progress, StepError, Worker, shares::Shares};
use crate::{
    domain::timestamp::Timestamp,
    hot::{HotStore, Swept},
    telemetry::Metrics,
};

/// Gives back what nobody came for.
pub struct Sweeper {
    /// Where the holds are.
    pub hot: Arc<dyn HotStore>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Says whether this process sweeps: one is enough, two do no harm.
    pub shares: Arc<Shares>,
    /// The most holds, and the most forgotten reservations, of one shard in one step.
    pub batch_max: usize,
}

#[async_trait]
impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "sweeper"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let swept = match self.shares.leads() {
            true => self.hot.sweep(self.batch_max).await?,
            false => Swept::default(),
        };
        self.metrics.reservations_expired(swept.expired as u64);
        self.metrics.accounts_unloaded(swept.unloaded as u64);
        let stats = self.hot.stats().await?;
        self.metrics
            .set_hot_levels(stats.accounts, stats.open, stats.outbox);
        let earliest = stats.earliest_deadline.map(Timestamp::millis);
        self.metrics.set_earliest_deadline(earliest);
        let full = swept.expired >= self.batch_max || swept.forgotten >= self.batch_max;
        Ok(match full {
            _ if !self.shares.leads() => Progress::Resting,
            true => Progress::More,
            false => Progress::Done,
        })
    }
}
