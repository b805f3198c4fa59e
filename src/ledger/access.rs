//! A ledger, as a Redis store asks it when its server may have lost something.

use std::{error::Error, fmt, sync::Arc};

use async_trait::async_trait;

use super::{EntryFilter, Ledger};
use crate::{
    domain::{
        account::Account,
        entry::Entry,
        ids::{AccountId, ReservationId},
        timestamp::Timestamp,
    },
    hot::{Commits, Fence, Standing, redis::LedgerAccess},
};

/// How many entries of one account and one millisecond are read at once.
const PAGE: usize = 100;

type Fault = Box<dyn Error + Send + Sync>;

/// Whether two entries are of one event: no other one has the same number and time.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let event = |entry: &Entry| (entry.sequence, entry.occurred_at, entry.kind, entry.credits);
    one.account_id == other.account_id
        && event(one) == event(other)
        && one.reservation_id == other.reservation_id
        && one.change == other.change
}

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

    async fn has(&self, entry: &Entry) -> Result<bool, Fault> {
        let at = entry.occurred_at;
        let filter = EntryFilter {
            account_id: Some(entry.account_id.clone()),
            from: Some(at),
            until: Some(Timestamp::from_millis(at.millis() + 1)),
            ..EntryFilter::default()
        };
        let mut page = None;
        loop {
            let found = self.0.entries(&filter, page, PAGE).await?;
            if found
                .entries
                .iter()
                .any(|known| is_same(&known.entry, entry))
            {
                return Ok(true);
            }
            page = found.next;
            if page.is_none() {
                return Ok(false);
            }
        }
    }

    async fn commits(
        &self,
        account_id: &AccountId,
        reservation_ids: &[ReservationId],
    ) -> Result<Vec<(ReservationId, Commits)>, Fault> {
        Ok(self.0.commits(account_id, reservation_ids).await?)
    }
}
