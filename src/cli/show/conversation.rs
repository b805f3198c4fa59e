//! The receipt that support reads: every action of a conversation with its exact quantities,
//! rates, multiplier and rounding, the hold against what was used, the grants that paid, and what
//! was given back. It adds up what it lists; the totals at the top are the server's.

mod action;

use self::action::ActionLines;
use super::{count, indent, instant, meters, plural};
use crate::pb;

/// How far an action's lines stand to the right.
const MARGIN: usize = 3;

/// A conversation: totals, then the actions in the order in which they were first settled.
pub(crate) fn conversation(answer: &pb::GetConversationResponse, id: &str) -> String {
    let (Some(first), Some(last)) = (answer.entries.first(), answer.entries.last()) else {
        return format!("conversation {id}: nothing was ever charged to it");
    };
    let actions = group(&answer.entries);
    let mut accounts: Vec<&str> = actions.iter().map(ActionLines::account_id).collect();
    accounts.dedup();
    let net = answer.credits.saturating_sub(answer.refunded);
    let mut lines = vec![
        format!("conversation {id} of {}", accounts.join(", ")),
        format!(
            "{}, settled from {} to {}",
            plural(actions.len() as u64, "action"),
            instant(first.occurred_at.as_ref()),
            instant(last.occurred_at.as_ref()),
        ),
        format!(
            "charged {}, refunded {}, in all {}",
            count(answer.credits),
            count(answer.refunded),
            super::credits(net),
        ),
    ];
    lines.extend(answer.usage.as_ref().and_then(used));
    for (place, action) in actions.iter().enumerate() {
        lines.push(String::new());
        lines.push(format!("{}. {}", place + 1, action.headline()));
        lines.push(indent(&action.details(), MARGIN));
    }
    lines.join("\n")
}

/// `used 12,400 input_tokens, 7 tool_calls`.
fn used(usage: &pb::Usage) -> Option<String> {
    let meters = meters(usage);
    let parts = meters
        .iter()
        .map(|(name, quantity)| format!("{} {name}", count(*quantity)));
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| format!("used {}", parts.join(", ")))
}

/// The entries of each reservation, in the order of the first one of each.
fn group(entries: &[pb::Entry]) -> Vec<ActionLines<'_>> {
    let mut actions: Vec<ActionLines<'_>> = Vec::new();
    for entry in entries {
        match actions.iter_mut().find(|action| action.takes(entry)) {
            Some(action) => action.add(entry),
            None => actions.push(ActionLines::new(entry)),
        }
    }
    actions
}

#[cfg(test)]
mod tests;
