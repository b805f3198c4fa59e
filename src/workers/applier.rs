//! The applier finishes administrative changes whose caller, or whose process, went away between
//! the ledger and the hot store.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Progress, StepError, Worker, on_each};
use crate::{enforcer::Enforcer, ledger::Ledger};

/// The most accounts of one step.
const ACCOUNTS_MAX: usize = 100;

/// Finishes changes.
pub struct Applier {
    /// Says what is not applied.
    pub ledger: Arc<dyn Ledger>,
    /// Applies it.
    pub enforcer: Arc<Enforcer>,
}

#[async_trait]
impl Worker for Applier {
    fn name(&self) -> &'static str {
        "applier"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let unapplied = self.ledger.unapplied(ACCOUNTS_MAX).await?;
        on_each(&unapplied, |account_id| self.enforcer.catch_up(account_id)).await?;
        Ok(Progress::Done)
    }
}
