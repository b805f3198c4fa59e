//! Start-up: puts back into memory what the ledger has, and checks that it adds up before
//! anything is answered from it.

use std::time::Duration;

use super::error::StartError;
use crate::{
    clock::Clock,
    domain::{
        ids::{AccountId, ReservationId},
        reservation::State,
    },
    hot::{Cursor, Fence, HotStore, KeptReservation, memory::MemoryHot},
    ledger::Ledger,
};

/// The name under which a store in memory settles.
const SERVER: &str = "memory:";
/// How many accounts or reservations are read at once.
const PAGE: usize = 10_000;

/// What was put back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restored {
    /// Accounts.
    pub accounts: usize,
    /// Open holds.
    pub holds: usize,
    /// How long it took.
    pub took: Duration,
}

/// Puts everything back, and checks the invariants of every account.
pub async fn restore(
    memory: &MemoryHot,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
) -> Result<Restored, StartError> {
    let started = clock.monotonic();
    let mut restored = Restored::default();
    memory.restore_cursors(&take_over(ledger).await?);
    restored.accounts = restore_accounts(memory, ledger, clock).await?;
    restored.holds = restore_reservations(memory, ledger).await?;
    let broken = memory
        .broken_invariants(1)
        .await
        .map_err(|fault| StartError::Internal(Box::new(fault)))?;
    if let Some((account, broken)) = broken.into_iter().next() {
        return Err(StartError::BrokenInvariant {
            account: account.to_string(),
            broken,
        });
    }
    restored.took = clock.monotonic().saturating_sub(started);
    Ok(restored)
}

/// Fences every shard: what another store has that the ledger has not counts no more.
async fn take_over(ledger: &dyn Ledger) -> Result<Vec<Cursor>, StartError> {
    let fences: Vec<Fence> = ledger
        .cursors()
        .await?
        .into_iter()
        .map(|cursor| Fence {
            shard: cursor.shard,
            epoch: cursor.epoch,
            server: SERVER.to_owned(),
        })
        .collect();
    if !ledger.fence(&fences).await? {
        return Err(StartError::Internal(
            "another process takes the same ledger over".into(),
        ));
    }
    Ok(ledger.cursors().await?)
}

/// Puts every account back; answers how many there are.
async fn restore_accounts(
    memory: &MemoryHot,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
) -> Result<usize, StartError> {
    let mut accounts = 0;
    let mut after: Option<AccountId> = None;
    loop {
        let page = ledger.accounts(after.as_ref(), PAGE, clock.now()).await?;
        let Some(last) = page.last() else {
            return Ok(accounts);
        };
        after = Some(last.id.clone());
        accounts += page.len();
        memory.restore_accounts(page);
    }
}

/// Puts every reservation back into its account; answers how many are open.
///
/// They come in no order of the accounts, and there may be thousands for each: so the accounts are
/// there before them, and no more than a page is in memory twice.
async fn restore_reservations(
    memory: &MemoryHot,
    ledger: &dyn Ledger,
) -> Result<usize, StartError> {
    let mut open = 0;
    let mut after: Option<(AccountId, ReservationId)> = None;
    loop {
        let page = ledger.reservations(after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(open);
        };
        after = Some(last.clone());
        let is_open =
            |(_, packed): &&KeptReservation| matches!(packed.times(), Ok((State::Open, ..)));
        open += page.iter().filter(is_open).count();
        memory.restore_reservations(page);
    }
}
