//! Lines of the ledger, as a table.

use super::{count, draws, instant, names, signed};
use crate::{
    cli::output::{Column, table},
    pb,
};

/// The entries as they come, one a line.
pub(crate) fn entries(entries: &[pb::Entry]) -> String {
    let columns = [
        Column::Text("when"),
        Column::Text("account"),
        Column::Number("entry"),
        Column::Text("kind"),
        Column::Number("credits"),
        Column::Number("available"),
        Column::Number("debt"),
        Column::Text("grants"),
        Column::Text("what"),
    ];
    let rows = entries.iter().map(|entry| {
        vec![
            instant(entry.occurred_at.as_ref()),
            entry.account_id.clone(),
            count(entry.sequence),
            names::entry_kind(entry.kind),
            signed(entry.credits),
            count(entry.available_after),
            count(entry.debt_after),
            draws(&entry.draws),
            what(entry),
        ]
    });
    table(&columns, rows)
}

/// An entry in one line, below another answer.
pub(crate) fn entry_line(entry: &pb::Entry) -> String {
    let mut line = format!(
        "entry {} of {}: {} {}",
        count(entry.sequence),
        entry.account_id,
        names::entry_kind(entry.kind),
        signed(entry.credits),
    );
    if !entry.draws.is_empty() {
        line.push_str(&format!(", {}", draws(&entry.draws)));
    }
    line
}

/// The reservation, the action, how it ended, why and who: as far as there is something to say.
fn what(entry: &pb::Entry) -> String {
    let mut parts = vec![entry.reservation_id.clone()];
    if let Some(action) = &entry.action {
        parts.push(
            [action.mode.as_str(), action.model.as_str()]
                .join(" ")
                .trim()
                .to_owned(),
        );
    }
    parts.extend(names::notable_outcome(entry.outcome));
    if entry.receipt.as_ref().is_some_and(|receipt| receipt.late) {
        parts.push("late".to_owned());
    }
    parts.push(entry.reason.clone());
    if !entry.actor.is_empty() {
        parts.push(format!("by {}", entry.actor));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(grant_id: &str, credits: u64) -> pb::GrantDraw {
        pb::GrantDraw {
            grant_id: grant_id.to_owned(),
            credits,
        }
    }

    #[test]
    fn entries_are_a_table() {
        let shown = [
            pb::Entry {
                account_id: "acme".to_owned(),
                sequence: 3,
                kind: pb::EntryKind::Refund.into(),
                credits: 5,
                available_after: 487,
                draws: vec![draw("plan:0", 5)],
                reservation_id: "r1".to_owned(),
                occurred_at: Some(prost_types::Timestamp {
                    seconds: 120,
                    nanos: 0,
                }),
                reason: "answer was cut off".to_owned(),
                actor: "ann".to_owned(),
                ..Default::default()
            },
            pb::Entry {
                account_id: "acme".to_owned(),
                sequence: 2,
                kind: pb::EntryKind::Usage.into(),
                credits: -18,
                available_after: 482,
                draws: vec![draw("plan:0", 15), draw("pack-1", 3)],
                reservation_id: "r1".to_owned(),
                action: Some(pb::Action {
                    mode: "agent".to_owned(),
                    model: "gpt-4o".to_owned(),
                    ..Default::default()
                }),
                outcome: pb::Outcome::Cancelled.into(),
                receipt: Some(pb::Receipt {
                    late: true,
                    ..Default::default()
                }),
                occurred_at: Some(prost_types::Timestamp {
                    seconds: 60,
                    nanos: 0,
                }),
                ..Default::default()
            },
        ];
        let expected = "\
when                  account  entry  kind    credits  available  debt  grants               what
1970-01-01T00:02:00Z  acme         3  refund       +5        487     0  plan:0 5             r1, answer was cut off, by ann
1970-01-01T00:01:00Z  acme         2  usage       -18        482     0  plan:0 15, pack-1 3  r1, agent gpt-4o, cancelled, late";
        assert_eq!(entries(&shown), expected);
        let expected = "entry 2 of acme: usage -18, plan:0 15, pack-1 3";
        assert_eq!(entry_line(&shown[1]), expected);
    }
}
