//! A ledger on paper: adds up what the entries say, and nothing else. Whatever the hot store says
//! about an account must be what its entries add up to (DESIGN.md, invariant 4).

use std::collections::BTreeMap;

use proptest::test_runner::TestCaseError;
use tollgate::domain::{
    account::Account,
    entry::{Entry, EntryKind},
    grant::Grant,
    ids::{GrantId, ReservationId},
    refund::{Cost, Spread},
};

/// What the entries of one account add up to.
#[derive(Debug, Default)]
pub struct Clerk {
    pub entries: Vec<Entry>,
    /// Every grant that was ever made, without what is held of it.
    pub grants: BTreeMap<GrantId, Grant>,
    worth: i64,
    /// Every refund, as it was worked out.
    pub refunds: Vec<(ReservationId, Spread)>,
}

impl Clerk {
    /// Takes one more entry.
    pub fn take(&mut self, entry: &Entry) -> Result<(), TestCaseError> {
        let gap = format!("entry {} after {}", entry.sequence, self.entries.len());
        check(entry.sequence == self.entries.len() as u64 + 1, &gap)?;
        self.worth += entry.credits;
        for moved in &entry.moves {
            if let Some(made) = &moved.made {
                let blank = Grant {
                    amount: 0,
                    ..made.as_ref().clone()
                };
                let again = self.grants.insert(moved.grant_id.clone(), blank);
                check(
                    again.is_none(),
                    &format!("{} was made twice", moved.grant_id),
                )?;
            }
            let Some(grant) = self.grants.get_mut(&moved.grant_id) else {
                return Err(TestCaseError::fail(format!(
                    "{} was never made",
                    moved.grant_id
                )));
            };
            let plus = |number: u64, delta: i64| number.checked_add_signed(delta);
            let sums = (
                plus(grant.amount, moved.amount),
                plus(grant.used, moved.used),
                plus(grant.expired, moved.expired),
            );
            let (Some(amount), Some(used), Some(expired)) = sums else {
                return Err(TestCaseError::fail(format!(
                    "{moved:?} takes {grant:?} below zero"
                )));
            };
            (grant.amount, grant.used, grant.expired) = (amount, used, expired);
            grant.voided_at = grant.voided_at.or(moved.voided_at);
        }
        self.entries.push(entry.clone());
        Ok(())
    }

    /// The account as the store has it must be what its entries add up to.
    pub fn check_account(&self, account: &Account) -> Result<(), TestCaseError> {
        check(
            account.sequence == self.entries.len() as u64,
            "the sequence",
        )?;
        let worth = format!("worth {} and entries of {}", account.worth(), self.worth);
        check(account.worth() == self.worth, &worth)?;
        let head = self.entries.last().map(|entry| &entry.head);
        check(head == Some(&account.head), "the head of the last entry")?;
        for grant in &account.grants {
            let summed = self.grants.get(&grant.id);
            let known = Grant {
                held: 0,
                ..grant.clone()
            };
            check(
                summed == Some(&known),
                &format!("{grant:?} is {summed:?} by its entries"),
            )?;
        }
        for (id, grant) in &self.grants {
            let is_live = account.grants.iter().any(|live| live.id == *id);
            let is_spent = grant.used + grant.expired == grant.amount;
            check(
                is_live || is_spent,
                &format!("{grant:?} is gone with something left"),
            )?;
        }
        Ok(())
    }

    /// What a reservation has cost, by its entries.
    pub fn cost(&self, id: &ReservationId) -> Cost {
        let usage = self.entries.iter().filter(|entry| {
            entry.kind == EntryKind::Usage && entry.reservation_id.as_ref() == Some(id)
        });
        let refunds = self
            .refunds
            .iter()
            .filter(|(of, _)| of == id)
            .map(|(_, spread)| spread);
        Cost::new(usage, refunds)
    }
}

fn check(holds: bool, what: &str) -> Result<(), TestCaseError> {
    if holds {
        Ok(())
    } else {
        Err(TestCaseError::fail(what.to_owned()))
    }
}
