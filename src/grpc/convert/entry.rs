//! Ledger entries, written out, and what those of one conversation add up to.

use std::collections::HashMap;

use super::{
    action::{action_message, outcome_message, usage_message},
    answer,
    fields::timestamp,
};
use crate::{
    domain::{
        entry::{EntryKind, Receipt},
        ids::{AccountId, ReservationId},
        usage::Usage,
    },
    ledger::Recorded,
    pb,
};

/// Every kind of entry as the contract has it.
pub const KINDS: [(pb::EntryKind, EntryKind); 10] = [
    (pb::EntryKind::Grant, EntryKind::Grant),
    (pb::EntryKind::Usage, EntryKind::Usage),
    (pb::EntryKind::Refund, EntryKind::Refund),
    (pb::EntryKind::Expiry, EntryKind::Expiry),
    (pb::EntryKind::Void, EntryKind::Void),
    (pb::EntryKind::Renewal, EntryKind::Renewal),
    (pb::EntryKind::PlanChange, EntryKind::PlanChange),
    (pb::EntryKind::DebtRepaid, EntryKind::DebtRepaid),
    (pb::EntryKind::Status, EntryKind::Status),
    (pb::EntryKind::Repair, EntryKind::Repair),
];

/// One line of the ledger.
pub fn entry(recorded: &Recorded) -> pb::Entry {
    let entry = &recorded.entry;
    let settlement = entry.settlement.as_deref();
    let reservation_id = entry.reservation_id.as_ref().map_or("", |id| id.as_str());
    let outcome = settlement.map_or(pb::Outcome::Unspecified, |settled| {
        outcome_message(settled.outcome)
    });
    pb::Entry {
        account_id: entry.account_id.to_string(),
        sequence: entry.sequence,
        kind: kind(entry.kind).into(),
        credits: entry.credits,
        available_after: entry.available_after,
        debt_after: entry.debt_after,
        draws: answer::draws(&entry.draws),
        reservation_id: reservation_id.to_owned(),
        action: settlement.map(|settled| action_message(&settled.action)),
        usage: settlement.and_then(|settled| answer::amount_message(&settled.amount)),
        receipt: settlement.map(|settled| answer::receipt(&settled.receipt, reservation_id)),
        outcome: outcome.into(),
        occurred_at: Some(timestamp(entry.occurred_at)),
        recorded_at: Some(timestamp(recorded.recorded_at)),
        reason: entry.reason.clone(),
        actor: entry.actor.clone(),
    }
}

fn kind(kind: EntryKind) -> pb::EntryKind {
    match kind {
        EntryKind::Grant => pb::EntryKind::Grant,
        EntryKind::Usage => pb::EntryKind::Usage,
        EntryKind::Refund => pb::EntryKind::Refund,
        EntryKind::Expiry => pb::EntryKind::Expiry,
        EntryKind::Void => pb::EntryKind::Void,
        EntryKind::Renewal => pb::EntryKind::Renewal,
        EntryKind::PlanChange => pb::EntryKind::PlanChange,
        EntryKind::DebtRepaid => pb::EntryKind::DebtRepaid,
        EntryKind::Status => pb::EntryKind::Status,
        EntryKind::Repair => pb::EntryKind::Repair,
    }
}

/// What one reservation of a conversation came to.
#[derive(Default)]
struct Sum {
    /// What the account had to pay for, debt included and write-offs not.
    charged: u64,
    /// What nobody paid for.
    written_off: u64,
    /// The last report; usage is cumulative.
    usage: Option<Usage>,
}

impl Sum {
    fn add(&mut self, receipt: &Receipt) {
        // A correction takes back first what nobody paid for.
        let absorbed = self.written_off.min(receipt.corrected);
        self.written_off = self.written_off - absorbed + receipt.written_off;
        self.charged += receipt.credits - receipt.written_off.min(receipt.credits);
        self.charged = self.charged.saturating_sub(receipt.corrected - absorbed);
    }
}

/// What a conversation comes to, from its usage and refund entries, oldest first.
#[derive(Default)]
pub struct Sums {
    reservations: HashMap<(AccountId, ReservationId), Sum>,
    refunded: u64,
}

impl Sums {
    /// Adds entries.
    pub fn add(&mut self, entries: &[Recorded]) {
        for Recorded { entry, .. } in entries {
            if entry.kind == EntryKind::Refund {
                self.refunded += u64::try_from(entry.credits).unwrap_or(0);
            }
            let Some((id, settled)) = entry
                .reservation_id
                .as_ref()
                .zip(entry.settlement.as_deref())
            else {
                continue;
            };
            let key = (entry.account_id.clone(), id.clone());
            let sum = self.reservations.entry(key).or_default();
            sum.add(&settled.receipt);
            if let Some(usage) = answer::usage(&settled.amount) {
                sum.usage = Some(usage.clone());
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.reservations.is_empty() && self.refunded == 0
    }

    /// The conversation, with some of its entries.
    pub fn answer(
        &self,
        page: &[Recorded],
        next_page_token: String,
    ) -> pb::GetConversationResponse {
        let sums = || self.reservations.values();
        let mut usage = Usage::default();
        for (meter, quantity) in sums()
            .filter_map(|sum| sum.usage.as_ref())
            .flat_map(Usage::iter)
        {
            usage.set(meter, usage.get(meter).saturating_add(quantity));
        }
        pb::GetConversationResponse {
            credits: sums().map(|sum| sum.charged).sum(),
            refunded: self.refunded,
            usage: Some(usage_message(&usage)),
            entries: page.iter().map(entry).collect(),
            next_page_token,
        }
    }
}
