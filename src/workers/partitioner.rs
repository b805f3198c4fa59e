//! The partitioner makes the months of a Postgres ledger's entries before they begin. An entry of
//! a month that has none gets its own all the same, at the price of one more round trip.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Progress, StepError, Worker};
use crate::{clock::Clock, ledger::postgres::PostgresLedger};

/// Makes months ahead.
pub struct Partitioner {
    /// Where they are made.
    pub ledger: Arc<PostgresLedger>,
    /// Says which month it is.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Worker for Partitioner {
    fn name(&self) -> &'static str {
        "partitioner"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let made = self.ledger.ensure_partitions(self.clock.now()).await?;
        if made > 0 {
            tracing::info!(made, "made months of entries ahead");
        }
        Ok(Progress::Done)
    }
}
