//! One action of a conversation: all that was settled and refunded under its reservation.

use crate::{
    cli::{
        output::{Column, table},
        show::{count, credits, draws, instant, labels, names, price, price_table, signed},
    },
    pb,
};

/// The entries of one reservation.
pub(super) struct ActionLines<'a> {
    first: &'a pb::Entry,
    entries: Vec<&'a pb::Entry>,
}

impl<'a> ActionLines<'a> {
    /// The first entry of a reservation.
    pub(super) fn new(first: &'a pb::Entry) -> Self {
        ActionLines {
            first,
            entries: vec![first],
        }
    }

    /// Whether the entry is about the same reservation.
    pub(super) fn takes(&self, entry: &pb::Entry) -> bool {
        self.first.account_id == entry.account_id
            && self.first.reservation_id == entry.reservation_id
    }

    /// One more entry of the same reservation.
    pub(super) fn add(&mut self, entry: &'a pb::Entry) {
        self.entries.push(entry);
    }

    /// Whose action it was.
    pub(super) fn account_id(&self) -> &'a str {
        &self.first.account_id
    }

    /// `agent mode, gpt-4o (standard tier): 18 credits, 5 refunded`. What was written off is not
    /// among the credits: nobody paid for it.
    pub(super) fn headline(&self) -> String {
        let mut what = match self.action() {
            Some(action) => {
                let tier = self.price().map_or("", |price| price.tier.as_str());
                format!("{} mode, {}", action.mode, price::model(action, tier))
            }
            None => "action".to_owned(),
        };
        let (charged, written_off) = self.charged();
        what.push_str(&format!(": {}", credits(charged)));
        if written_off > 0 {
            what.push_str(&format!(", {} written off", count(written_off)));
        }
        match self.refunded() {
            0 => {}
            refunded => what.push_str(&format!(", {} refunded", count(refunded))),
        }
        what
    }

    /// Which reservation; the price; and each settlement and refund as a line of a table.
    pub(super) fn details(&self) -> String {
        let mut about = vec![format!("reservation {}", self.first.reservation_id)];
        about.extend(
            self.price()
                .map(|price| format!("rate card {}", price.rate_card_version)),
        );
        about.extend(
            self.usage_entries()
                .last()
                .map(|entry| ended(entry.outcome)),
        );
        let mut blocks = vec![about.join(", ")];
        blocks.extend(self.action().and_then(labels));
        let outcome = self.usage_entries().last();
        let outcome = outcome.and_then(|entry| names::notable_outcome(entry.outcome));
        blocks.push(String::new());
        match (self.price(), self.action()) {
            (Some(price), Some(action)) => {
                blocks.push(price_table(price, &action.mode, outcome.as_deref()));
            }
            (Some(price), None) => blocks.push(price_table(price, "its", outcome.as_deref())),
            (None, _) => {
                blocks.push("no price: the caller gave the credits as they are".to_owned())
            }
        }
        blocks.push(String::new());
        blocks.push(self.settlements());
        blocks.join("\n")
    }

    fn usage_entries(&self) -> impl Iterator<Item = &'a pb::Entry> {
        let entries = self.entries.iter().copied();
        entries.filter(|entry| entry.kind() == pb::EntryKind::Usage)
    }

    fn action(&self) -> Option<&'a pb::Action> {
        self.entries.iter().find_map(|entry| entry.action.as_ref())
    }

    /// Of the whole usage: that of the last report.
    fn price(&self) -> Option<&'a pb::Price> {
        let receipts = self
            .entries
            .iter()
            .rev()
            .filter_map(|entry| entry.receipt.as_ref());
        receipts.flat_map(|receipt| receipt.price.as_ref()).next()
    }

    /// What the account had to pay for, and what was written off instead. A correction takes back
    /// first what nobody paid for.
    fn charged(&self) -> (u64, u64) {
        let receipts = self
            .usage_entries()
            .filter_map(|entry| entry.receipt.as_ref());
        receipts.fold((0, 0), |(charged, written_off), receipt| {
            let absorbed = receipt.corrected.min(written_off);
            let charged = charged + receipt.credits.saturating_sub(receipt.written_off);
            (
                charged.saturating_sub(receipt.corrected - absorbed),
                written_off - absorbed + receipt.written_off,
            )
        })
    }

    fn refunded(&self) -> u64 {
        let refunds = self
            .entries
            .iter()
            .filter(|entry| entry.kind() == pb::EntryKind::Refund);
        let refunded = refunds.map(|entry| entry.credits).sum::<i64>();
        u64::try_from(refunded).unwrap_or(0)
    }

    fn settlements(&self) -> String {
        let columns = [
            Column::Text("when"),
            Column::Number("entry"),
            Column::Text("kind"),
            Column::Number("held"),
            Column::Number("charged"),
            Column::Number("returned"),
            Column::Number("above hold"),
            Column::Text("grants"),
            Column::Text("notes"),
        ];
        table(&columns, self.entries.iter().map(|entry| row(entry)))
    }
}

fn ended(outcome: i32) -> String {
    names::notable_outcome(outcome).unwrap_or_else(|| "succeeded".to_owned())
}

fn row(entry: &pb::Entry) -> Vec<String> {
    let is_usage = entry.kind() == pb::EntryKind::Usage;
    let receipt = entry.receipt.as_ref().filter(|_| is_usage);
    let exact = |part: u64| i64::try_from(part).unwrap_or(i64::MAX);
    let charged = match receipt {
        Some(receipt) => exact(receipt.credits).saturating_sub(exact(receipt.corrected)),
        None => -entry.credits,
    };
    let charged = match charged {
        0.. => count(charged.unsigned_abs()),
        _ => signed(charged),
    };
    let part = |part: fn(&pb::Receipt) -> u64| {
        receipt.map_or(String::new(), |receipt| count(part(receipt)))
    };
    vec![
        instant(entry.occurred_at.as_ref()),
        count(entry.sequence),
        names::entry_kind(entry.kind),
        receipt.map_or(String::new(), held),
        charged,
        part(|receipt| receipt.returned),
        part(|receipt| receipt.overage),
        draws(&entry.draws),
        notes(entry),
    ]
}

/// What was held before the settlement. Where nothing came back and nothing went above it, the
/// hold may have stayed open with more in it.
fn held(receipt: &pb::Receipt) -> String {
    let used = receipt.credits.saturating_sub(receipt.overage);
    match (used, receipt.returned, receipt.overage) {
        (0, 0, 0) => "-".to_owned(),
        (_, 0, 0) => format!("≥ {}", count(used)),
        (_, returned, _) => count(used + returned),
    }
}

fn notes(entry: &pb::Entry) -> String {
    let mut notes: Vec<String> = names::notable_outcome(entry.outcome).into_iter().collect();
    if let Some(receipt) = &entry.receipt {
        if receipt.late {
            notes.push("late".to_owned());
        }
        if receipt.debt_added > 0 {
            notes.push(format!("{} became debt", count(receipt.debt_added)));
        }
        if receipt.written_off > 0 {
            notes.push(format!("{} written off", count(receipt.written_off)));
        }
    }
    notes.extend(Some(entry.reason.clone()).filter(|reason| !reason.is_empty()));
    notes.extend(Some(format!("by {}", entry.actor)).filter(|_| !entry.actor.is_empty()));
    notes.join(", ")
}
