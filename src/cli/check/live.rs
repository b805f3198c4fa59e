//! What a running deployment needs of its catalogue, read from the ledger page by page.

use std::collections::BTreeSet;

use crate::{
    domain::{
        account::{Account, Status},
        ids::{AccountId, ReservationId},
        reservation::State,
        timestamp::Timestamp,
    },
    ledger::{Ledger, LedgerFault},
};

/// How many accounts or reservations are read at a time.
const PAGE_ROWS: usize = 1_000;
/// The most pages that are read: a thousand million rows.
const PAGES_MAX: usize = 1_000_000;

/// Names that the catalogue must have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Plans of accounts that are not closed, now and from their renewal on.
    pub(super) plans: BTreeSet<String>,
    /// Modes of open reservations.
    pub(super) modes: BTreeSet<String>,
}

/// Reads the whole ledger's needs.
pub(super) async fn needs(ledger: &dyn Ledger, now: Timestamp) -> Result<Needs, LedgerFault> {
    let mut needs = Needs::default();
    let mut after: Option<AccountId> = None;
    for _ in 0..PAGES_MAX {
        let page = ledger.accounts(after.as_ref(), PAGE_ROWS, now).await?;
        page.iter().for_each(|account| needs.add_plans(account));
        match page.last() {
            Some(last) => after = Some(last.id.clone()),
            None => break,
        }
    }
    let mut after: Option<(AccountId, ReservationId)> = None;
    for _ in 0..PAGES_MAX {
        let page = ledger.reservations(after.as_ref(), PAGE_ROWS).await?;
        let open = page.iter().filter(|one| one.state == State::Open);
        needs.modes.extend(open.map(|one| one.action.mode.clone()));
        match page.last() {
            Some(last) => after = Some((last.account_id.clone(), last.id.clone())),
            None => break,
        }
    }
    Ok(needs)
}

impl Needs {
    fn add_plans(&mut self, account: &Account) {
        match account.head.status {
            Status::Active | Status::Suspended => {}
            Status::Closed => return,
        }
        let next = account.head.next_plan.iter();
        let plans = std::iter::once(&account.head.plan).chain(next);
        self.plans.extend(plans.map(|plan| plan.id.to_string()));
    }
}
