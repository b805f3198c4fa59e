//! What entries add up to: each account after its last entry, each grant moved by the sum of its
//! moves. Pure: the backends write it.

use std::collections::BTreeMap;

use super::batch::Unfit;
use crate::domain::{
    entry::{Entry, EntryKind, GrantMove},
    grant::Grant,
    ids::{AccountId, GrantId},
    timestamp::Timestamp,
};

/// What some entries add up to.
pub(super) struct Moves<'a> {
    pub(super) accounts: BTreeMap<&'a AccountId, AccountMove<'a>>,
    grants: BTreeMap<(&'a AccountId, &'a GrantId), GrantSum<'a>>,
}

/// From where to where one account moves.
pub(super) struct AccountMove<'a> {
    pub(super) first: &'a Entry,
    pub(super) last: &'a Entry,
    /// Whether more than sequence and debt may have changed.
    whole: bool,
    /// When a grant of it may have come to its end.
    ended_at: Option<Timestamp>,
}

/// By how much one grant moves.
#[derive(Default)]
pub(super) struct GrantSum<'a> {
    pub(super) made: Option<&'a Grant>,
    pub(super) amount: i64,
    pub(super) used: i64,
    pub(super) expired: i64,
    pub(super) voided_at: Option<Timestamp>,
}

/// A grant that moves.
pub(super) type GrantLine<'m> = (&'m AccountId, &'m GrantId, &'m GrantSum<'m>);

/// The grants that move, by what has to be written; each in the order of account and grant.
pub(super) struct GrantLines<'m> {
    /// Those that are made.
    pub(super) made: Vec<GrantLine<'m>>,
    /// Those of which nothing but `used` moves: the common case, which touches no index.
    pub(super) used: Vec<GrantLine<'m>>,
    /// The others.
    pub(super) moved: Vec<GrantLine<'m>>,
}

impl<'a> Moves<'a> {
    /// Adds up entries; those of each account must be in sequence.
    pub(super) fn new(entries: &[&'a Entry]) -> Result<Self, Unfit> {
        let mut moves = Moves {
            accounts: BTreeMap::new(),
            grants: BTreeMap::new(),
        };
        for entry in entries {
            moves.add_account(entry)?;
            for moved in &entry.moves {
                moves
                    .grants
                    .entry((&entry.account_id, &moved.grant_id))
                    .or_default()
                    .add(moved);
            }
        }
        Ok(moves)
    }

    fn add_account(&mut self, entry: &'a Entry) -> Result<(), Unfit> {
        let account = self
            .accounts
            .entry(&entry.account_id)
            .or_insert(AccountMove {
                first: entry,
                last: entry,
                whole: false,
                ended_at: None,
            });
        let follows =
            std::ptr::eq(account.first, entry) || entry.sequence == account.last.sequence + 1;
        if !follows {
            let detail = format!(
                "entry {} comes after entry {}",
                entry.sequence, account.last.sequence
            );
            return Err(Unfit::Broken {
                account_id: entry.account_id.clone(),
                detail,
            });
        }
        account.last = entry;
        account.whole |= changes_head(entry.kind);
        if ends_grants(entry.kind) {
            account.ended_at = Some(entry.occurred_at);
        }
        Ok(())
    }

    /// The accounts of which nothing but sequence and debt moves, and the others; both by id.
    pub(super) fn slim_and_whole(&self) -> (Vec<&AccountMove<'a>>, Vec<&AccountMove<'a>>) {
        self.accounts.values().partition(|account| !account.whole)
    }

    /// The accounts of which a grant may have come to its end, and when.
    pub(super) fn ended(&self) -> Vec<(&'a AccountId, Timestamp)> {
        self.accounts
            .iter()
            .filter_map(|(id, account)| account.ended_at.map(|at| (*id, at)))
            .collect()
    }

    /// The grants that move.
    pub(super) fn grant_lines(&self) -> GrantLines<'_> {
        let lines = self
            .grants
            .iter()
            .map(|((account_id, id), sum)| (*account_id, *id, sum));
        let (made, known): (Vec<GrantLine<'_>>, Vec<_>) =
            lines.partition(|(_, _, sum)| sum.made.is_some());
        let (used, moved) = known.into_iter().partition(|(_, _, sum)| sum.is_use());
        GrantLines { made, used, moved }
    }
}

impl AccountMove<'_> {
    /// Why the account can't move from the sequence that the ledger has; `None` where it can, or
    /// has already.
    pub(super) fn gap(&self, stored: Option<u64>) -> Option<Unfit> {
        let detail = match stored {
            Some(stored) if stored == self.last.sequence => return None,
            Some(stored) => format!(
                "the ledger is at entry {stored}, so entry {} can't be the next",
                self.first.sequence
            ),
            None => "the ledger does not know it".to_owned(),
        };
        Some(Unfit::Broken {
            account_id: self.first.account_id.clone(),
            detail,
        })
    }
}

/// A grant is moved that was never made.
pub(super) fn unknown_grant(account_id: &AccountId, id: &GrantId) -> Unfit {
    Unfit::Broken {
        account_id: account_id.clone(),
        detail: format!("grant {id} is moved, but the ledger does not know it"),
    }
}

/// A grant was charged that was never made.
pub(super) fn uncharged_grant(account_id: &AccountId, id: &GrantId) -> Unfit {
    Unfit::Broken {
        account_id: account_id.clone(),
        detail: format!("grant {id} was charged, but the ledger has none"),
    }
}

/// Usage, expiry and the payment of debt change nothing of the head but the debt. The audit
/// compares every head with the last entry's.
fn changes_head(kind: EntryKind) -> bool {
    match kind {
        EntryKind::Usage | EntryKind::Expiry | EntryKind::DebtRepaid => false,
        EntryKind::Grant
        | EntryKind::Refund
        | EntryKind::Void
        | EntryKind::Renewal
        | EntryKind::PlanChange
        | EntryKind::Status
        | EntryKind::Repair => true,
    }
}

fn ends_grants(kind: EntryKind) -> bool {
    match kind {
        EntryKind::Expiry | EntryKind::Renewal => true,
        EntryKind::Usage
        | EntryKind::DebtRepaid
        | EntryKind::Grant
        | EntryKind::Refund
        | EntryKind::Void
        | EntryKind::PlanChange
        | EntryKind::Status
        | EntryKind::Repair => false,
    }
}

impl<'a> GrantSum<'a> {
    fn add(&mut self, moved: &'a GrantMove) {
        self.made = self.made.or(moved.made.as_deref());
        self.amount += moved.amount;
        self.used += moved.used;
        self.expired += moved.expired;
        self.voided_at = moved.voided_at.or(self.voided_at);
    }

    fn is_use(&self) -> bool {
        self.amount == 0 && self.expired == 0 && self.voided_at.is_none()
    }
}
