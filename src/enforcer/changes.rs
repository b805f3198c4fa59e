//! Administrative changes: into the ledger first, then into the hot store, in order, each once.

use std::sync::Arc;

use super::{CHANGES_MAX, Enforcer, STEP_ATTEMPTS, error::EnforceError};
use crate::{
    domain::{
        change::{Applied, Change},
        decision::{Balance, Refusal},
        ids::AccountId,
    },
    hot::Mark,
    ledger::{ChangeRequest, Ledger, Submitted},
};

/// A change that is done.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As the ledger has it.
    pub change: Change,
    /// The account now.
    pub balance: Balance,
    /// The same request was carried out before.
    pub replayed: bool,
}

/// Carries out changes, for those processes that have a ledger.
#[derive(Clone)]
pub struct Clerk {
    enforcer: Arc<Enforcer>,
    ledger: Arc<dyn Ledger>,
}

impl Clerk {
    /// The enforcer's source must be the same ledger.
    pub fn new(enforcer: Arc<Enforcer>, ledger: Arc<dyn Ledger>) -> Self {
        Clerk { enforcer, ledger }
    }

    /// The ledger, for reading.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Carries out a change and waits until the ledger has its entries. A caller that goes away
    /// in between loses nothing: the applier finishes what the ledger has.
    pub async fn change(&self, request: ChangeRequest) -> Result<Changed, EnforceError> {
        let enforcer = &self.enforcer;
        let now = enforcer.hot.now().await?;
        let (change, replayed) = match self.ledger.submit(&request, now).await? {
            Submitted::New(change) => (change, false),
            Submitted::Known(change) => (change, true),
            Submitted::Conflict { field } => return Err(EnforceError::ChangeConflict { field }),
            Submitted::Refused(refusal) => return Err(EnforceError::ChangeRefused(refusal)),
        };
        let (applied, mark) = enforcer.apply(&change).await?;
        enforcer.settled(mark).await?;
        Ok(Changed {
            change,
            balance: applied.balance,
            replayed,
        })
    }
}

impl Enforcer {
    /// Applies every change of an account that the ledger has and the hot store has not.
    pub async fn catch_up(&self, account_id: &AccountId) -> Result<usize, EnforceError> {
        let (account, _) = self.account(account_id).await?;
        self.apply_from(account_id, account.head.applied_change + 1)
            .await
    }

    pub(super) async fn apply_from(
        &self,
        account_id: &AccountId,
        number: u64,
    ) -> Result<usize, EnforceError> {
        let changes = self.source.changes(account_id, number, CHANGES_MAX).await?;
        for change in &changes {
            Box::pin(self.apply(change)).await?;
        }
        Ok(changes.len())
    }

    async fn apply(&self, change: &Change) -> Result<(Applied, Mark), EnforceError> {
        for _ in 0..STEP_ATTEMPTS {
            match self.on(&change.account_id, || self.hot.apply(change)).await {
                Ok(done) => return Ok((done.value, done.mark)),
                Err(EnforceError::Refused(Refusal::ChangeGap { next })) => {
                    Box::pin(self.apply_from(&change.account_id, next)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(EnforceError::Busy {
            account_id: change.account_id.clone(),
        })
    }
}
