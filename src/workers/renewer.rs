//! The renewer lets time pass on idle accounts: renewals and expiries happen by themselves at the
//! next request, and here where no request comes, so that the ledger is right in time.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Progress, StepError, Worker, on_each};
use crate::{clock::Clock, enforcer::Enforcer, ledger::Ledger};

/// Renews idle accounts.
pub struct Renewer {
    /// Says which accounts are due.
    pub ledger: Arc<dyn Ledger>,
    /// Renews them.
    pub enforcer: Arc<Enforcer>,
    /// Says when.
    pub clock: Arc<dyn Clock>,
    /// The most accounts of one step.
    pub batch_max: usize,
}

#[async_trait]
impl Worker for Renewer {
    fn name(&self) -> &'static str {
        "renewer"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let due = self.ledger.due(self.clock.now(), self.batch_max).await?;
        on_each(&due, |account_id| self.enforcer.touch(account_id)).await?;
        // What was touched stays due until the settler has written it: the timer comes back.
        Ok(Progress::Done)
    }
}
