//! Start-up: puts back into memory what the ledger has, and checks that it adds up before
//! anything is answered from it.

use std::{collections::HashMap, time::Duration};

use super::error::StartError;
use crate::{
    clock::Clock,
    domain::{
        ids::{AccountId, ReservationId},
        reservation::{Reservation, State},
    },
    hot::{Cursor, Fence, HotStore, memory::MemoryHot},
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
    let mut reservations = all_reservations(ledger, &mut restored).await?;
    let mut after: Option<AccountId> = None;
    loop {
        let page = ledger.accounts(after.as_ref(), PAGE, clock.now()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        restored.accounts += page.len();
        let of_page = page
            .iter()
            .filter_map(|account| reservations.remove(&account.id))
            .flatten()
            .collect();
        memory.restore(page, of_page);
    }
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

async fn all_reservations(
    ledger: &dyn Ledger,
    restored: &mut Restored,
) -> Result<HashMap<AccountId, Vec<Reservation>>, StartError> {
    let mut by_account: HashMap<AccountId, Vec<Reservation>> = HashMap::new();
    let mut after: Option<(AccountId, ReservationId)> = None;
    loop {
        let page = ledger.reservations(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.account_id.clone(), last.id.clone()));
        for reservation in page {
            restored.holds += usize::from(reservation.state == State::Open);
            by_account
                .entry(reservation.account_id.clone())
                .or_default()
                .push(reservation);
        }
    }
    Ok(by_account)
}
