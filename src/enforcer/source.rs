//! Where an account comes from that the hot store does not know: from the ledger, or, in a
//! process that has none, from whoever has one.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::EnforceError;
use crate::{
    domain::{change::Change, ids::AccountId},
    hot::HotStore,
    ledger::Ledger,
};

/// Brings in what the hot store lacks.
#[async_trait]
pub trait Source: Send + Sync {
    /// Returns once the hot store has the account, and the number of the first change that it
    /// may still lack, where that is this process's to apply. `is_absent`: the hot store says
    /// that the ledger had no such account a moment ago.
    async fn bring(
        &self,
        hot: &dyn HotStore,
        account_id: &AccountId,
        is_absent: bool,
    ) -> Result<Option<u64>, EnforceError>;

    /// The account's changes from `number` on, in order, at most `max`.
    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, EnforceError>;

    /// The text of a catalogue's version that is not loaded; `None`: nobody knows it.
    async fn catalog(&self, version: &str) -> Result<Option<String>, EnforceError>;
}

/// The ledger itself, which this process has open.
pub struct LedgerSource(pub Arc<dyn Ledger>);

#[async_trait]
impl Source for LedgerSource {
    async fn bring(
        &self,
        hot: &dyn HotStore,
        account_id: &AccountId,
        _is_absent: bool,
    ) -> Result<Option<u64>, EnforceError> {
        let loading = hot.loading(account_id).await?;
        let stored = self.0.account(account_id, loading.now).await?;
        let account = stored.ok_or_else(|| EnforceError::AccountNotFound {
            account_id: account_id.clone(),
        })?;
        let next = account.head.applied_change + 1;
        hot.load(account, loading).await?;
        Ok(Some(next))
    }

    async fn changes(
        &self,
        account_id: &AccountId,
        number: u64,
        max: usize,
    ) -> Result<Vec<Change>, EnforceError> {
        Ok(self.0.changes(account_id, number, max).await?)
    }

    async fn catalog(&self, version: &str) -> Result<Option<String>, EnforceError> {
        let stored = self.0.catalogs().await?;
        let found = stored.into_iter().find(|known| known.version == version);
        Ok(found.map(|known| known.yaml))
    }
}
