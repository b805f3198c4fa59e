//! Accounts in both stores, at one sequence.

use std::collections::HashMap;

use crate::{
    domain::{account::Account, command::Repair, drift::differences, ids::AccountId},
    hot::{HotFault, HotStore, OldHold},
    ledger::{Ledger, LedgerFault},
    workers::StepError,
};

/// What some accounts were found to be.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// How many were at one sequence in both.
    pub accounts: usize,
    /// How many holds were read for that.
    pub holds: usize,
    /// How many changed too fast to be seen at one sequence.
    pub moving: usize,
    /// Of the holds the one that has stood for longest.
    pub oldest: Option<OldHold>,
    /// Those that differ.
    pub drifts: Vec<Drift>,
}

/// An account that is not as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The account.
    pub account_id: AccountId,
    /// How it differs.
    pub reason: String,
    /// What puts it right; absent: the ledger does not know the account, or a newer version may
    /// have written what this one can't read.
    pub repair: Option<Repair>,
}

/// Compares some loaded accounts with the ledger. Both are read at any time, and only what is at
/// one sequence is compared: then nothing but holds can have moved in between. An account whose
/// ledger is still on its way is looked at so many times.
pub async fn compare(
    hot: &dyn HotStore,
    ledger: &dyn Ledger,
    ids: &[AccountId],
    looks: usize,
) -> Result<Compared, StepError> {
    let mut compared = Compared::default();
    let mut left: Vec<AccountId> = ids.to_vec();
    for _ in 0..looks {
        if left.is_empty() {
            break;
        }
        let mut seen = Vec::with_capacity(left.len());
        for id in &left {
            match hot.stored(id).await {
                // What was unloaded meanwhile is the ledger's alone.
                Ok(found) => seen.extend(found),
                Err(fault) => compared.drifts.push(unreadable(id, fault)?),
            }
        }
        let of_ledger = ledger.accounts_of(&left).await?;
        let mut of_ledger: HashMap<AccountId, Account> = of_ledger
            .into_iter()
            .map(|account| (account.id.clone(), account))
            .collect();
        left.clear();
        for found in seen {
            let (account, broken) = (found.account, found.broken);
            compared.holds += found.holds;
            compared.oldest = older(compared.oldest, found.oldest);
            match of_ledger.remove(&account.id) {
                Some(stored) if stored.sequence != account.sequence => left.push(account.id),
                Some(stored) => {
                    compared.accounts += 1;
                    let drift = drift(ledger, account, broken, stored).await?;
                    compared.drifts.extend(drift);
                }
                None => compared.drifts.push(Drift {
                    account_id: account.id,
                    reason: "the ledger does not know it".to_owned(),
                    repair: None,
                }),
            }
        }
    }
    compared.moving = left.len();
    Ok(compared)
}

/// An account whose record can't be read. Any other fault is the shard's.
fn unreadable(account_id: &AccountId, fault: HotFault) -> Result<Drift, HotFault> {
    match fault.unreadable() {
        Some(unreadable) => Ok(Drift {
            account_id: account_id.clone(),
            reason: unreadable.to_string(),
            repair: None,
        }),
        None => Err(fault),
    }
}

/// The older one of two holds.
pub(super) fn older(one: Option<OldHold>, other: Option<OldHold>) -> Option<OldHold> {
    [one, other]
        .into_iter()
        .flatten()
        .min_by_key(|hold| hold.since)
}

/// How an account differs from the ledger's at the same sequence, which is asked for the grants
/// that are live in the hot store only.
pub async fn differences_of(
    account: &Account,
    stored: &Account,
    ledger: &dyn Ledger,
) -> Result<Vec<String>, LedgerFault> {
    let mut others = Vec::new();
    for grant in &account.grants {
        if stored.grant(&grant.id).is_none() {
            others.extend(ledger.grant(&account.id, &grant.id).await?);
        }
    }
    Ok(differences(account, stored, &others))
}

async fn drift(
    ledger: &dyn Ledger,
    account: Account,
    broken: Option<String>,
    stored: Account,
) -> Result<Option<Drift>, StepError> {
    let mut found = differences_of(&account, &stored, ledger).await?;
    found.extend(broken);
    if found.is_empty() {
        return Ok(None);
    }
    let reason = found.join("; ");
    Ok(Some(Drift {
        account_id: account.id,
        reason: reason.clone(),
        repair: Some(Repair {
            stored,
            version: account.version,
            reason,
        }),
    }))
}
