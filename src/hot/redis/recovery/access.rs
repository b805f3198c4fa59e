//! The ledger, as far as a shard's verification needs it.

use std::{error::Error, fmt};

use async_trait::async_trait;

use crate::{
    domain::{
        account::Account,
        entry::Entry,
        ids::{AccountId, ReservationId},
    },
    hot::{Commits, Fence, Standing},
};

/// What failed.
type Fault = Box<dyn Error + Send + Sync>;

/// The ledger, for a store that may have lost something.
#[async_trait]
pub trait LedgerAccess: fmt::Debug + Send + Sync {
    /// Where a shard stands, and up to where the history of `epoch` is the ledger's.
    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, Fault>;
    /// Begins a shard's next epoch; `false` where it has another one than the fence says.
    async fn fence(&self, fence: &Fence) -> Result<bool, Fault>;
    /// Those of some accounts that there are, with their live grants and nothing held of them.
    async fn accounts(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, Fault>;
    /// Whether the ledger has just this entry.
    async fn has(&self, entry: &Entry) -> Result<bool, Fault>;
    /// What there is of some reservations of one account; those without a commit are left out.
    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Fault>;
}
