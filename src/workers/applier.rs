//! The applier finishes administrative changes whose caller, or whose process, went away between
//! the ledger and the hot store. It goes round: an account stays listed until what was applied is
//! settled, and while that waits the others have their turn too.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Progress, StepError, Worker, on_each};
use crate::{domain::ids::AccountId, enforcer::Enforcer, ledger::Ledger};

/// The most accounts of one step.
pub const ACCOUNTS_MAX: usize = 100;

/// Finishes changes.
pub struct Applier {
    /// Says what is not applied.
    pub ledger: Arc<dyn Ledger>,
    /// Applies it.
    pub enforcer: Arc<Enforcer>,
    /// The account that the last step ended with; none at the start of a round.
    pub place: Mutex<Option<AccountId>>,
}

#[async_trait]
impl Worker for Applier {
    fn name(&self) -> &'static str {
        "applier"
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let after = self.place.lock().clone();
        let unapplied = self.ledger.unapplied(after.as_ref(), ACCOUNTS_MAX).await?;
        // Whatever becomes of these: the next step is the next ones' turn.
        let is_end = unapplied.len() < ACCOUNTS_MAX;
        *self.place.lock() = unapplied.last().filter(|_| !is_end).cloned();
        on_each(&unapplied, |account_id| self.enforcer.catch_up(account_id)).await?;
        Ok(Progress::Done)
    }
}
