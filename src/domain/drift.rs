//! How an account in a hot store differs from the ledger's at the same sequence. What is held is
//! the hot store's alone and is no difference.

use super::{account::Account, grant::Grant};

/// The differences, each in a few words; empty: there are none. `others` are the ledger's grants
/// that are not live any more, as far as the hot store still has them.
pub fn differences(hot: &Account, stored: &Account, others: &[Grant]) -> Vec<String> {
    let mut found = Vec::new();
    if hot.head != stored.head {
        found.push(head_difference(hot, stored));
    }
    for grant in stored.grants.iter().chain(others) {
        match hot.grant(&grant.id) {
            Some(hot) => found.extend(grant_difference(hot, grant)),
            None if grant.remaining() > 0 => {
                found.push(format!("grant {} is missing", grant.id));
            }
            // What is used up may be gone.
            None => {}
        }
    }
    let is_known = |grant: &&Grant| {
        let known = stored.grants.iter().chain(others);
        !known.map(|known| &known.id).any(|id| *id == grant.id)
    };
    for grant in hot.grants.iter().filter(is_known) {
        found.push(format!("grant {} is not in the ledger", grant.id));
    }
    found
}

fn head_difference(hot: &Account, stored: &Account) -> String {
    let (hot, stored) = (&hot.head, &stored.head);
    if hot.debt != stored.debt {
        return format!("debt is {}, not {}", hot.debt, stored.debt);
    }
    if hot.status != stored.status {
        let (hot, stored) = (hot.status.name(), stored.status.name());
        return format!("status is {hot}, not {stored}");
    }
    "plan, cycle or policy is another one".to_owned()
}

fn grant_difference(hot: &Grant, stored: &Grant) -> Option<String> {
    let id = &stored.id;
    let parts = [
        ("amount", hot.amount, stored.amount),
        ("used", hot.used, stored.used),
        ("expired", hot.expired, stored.expired),
    ];
    if let Some((part, hot, stored)) = parts.into_iter().find(|(_, hot, stored)| hot != stored) {
        return Some(format!("grant {id}: {part} is {hot}, not {stored}"));
    }
    let stored = Grant {
        held: hot.held,
        ..stored.clone()
    };
    (*hot != stored).then(|| format!("grant {id}: its terms are others"))
}
