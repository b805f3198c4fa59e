//! A ledger, as a Redis store asks it when its server may have lost something.

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;

use super::Ledger;
use crate::{
    clock::Clock,
    domain::{
        account::Account,
        ids::{AccountId, ReservationId},
    },
    hot::{Commits, Fence, Standing, redis::LedgerAccess},
};

type Fault = Box<dyn Error + Send + Sync>;

/// A ledger, for a store that may have lost something.
pub struct Access {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Which grants are live is asked as of now.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ledger")
    }
}

#[async_trait]
impl LedgerAccess for Access {
    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, Fault> {
        Ok(self.ledger.standing(shard, epoch).await?)
    }

    async fn fence(&self, fence: &Fence) -> Result<bool, Fault> {
        Ok(self.ledger.fence(std::slice::from_ref(fence)).await?)
    }

    async fn accounts(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, Fault> {
        let now = self.clock.now();
        Ok(self.ledger.accounts_of(account_ids, now).await?)
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Fault> {
        Ok(self.ledger.commits(account_id, reservation_ids).await?)
    }
}
