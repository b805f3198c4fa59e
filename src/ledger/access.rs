//! A ledger, as a Redis store asks it when its server may have lost something.

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;

use super::Ledger;
use crate::{
    domain::{
        account::Account,
        ids::{AccountId, ReservationId},
    },
    hot::{Commits, Fence, Standing, redis::LedgerAccess},
};

type Fault = Box<dyn Error + Send + Sync>;

/// A ledger, for a store that may have lost something.
pub struct Access(pub Arc<dyn Ledger>);

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ledger")
    }
}

#[async_trait]
impl LedgerAccess for Access {
    async fn standing(&self, shard: u32, epoch: u64) -> Result<Standing, Fault> {
        Ok(self.0.standing(shard, epoch).await?)
    }

    async fn fence(&self, fence: &Fence) -> Result<bool, Fault> {
        Ok(self.0.fence(std::slice::from_ref(fence)).await?)
    }

    async fn accounts(&self, account_ids: &[AccountId]) -> Result<Vec<Account>, Fault> {
        Ok(self.0.accounts_of(account_ids).await?)
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Fault> {
        Ok(self.0.commits(account_id, reservation_ids).await?)
    }
}
