//! The runbook, tried: each alert is made to fire on real processes by what its section says that
//! it means, the panels that the section names show it, its steps are taken as they are written,
//! and it ends. A command is taken out of the runbook's text, so that neither goes its own way.

mod callers;
pub mod drill;
mod hot_store;
mod ledger;
mod money;
mod pair;
mod process;
mod rules;

use std::collections::BTreeSet;

use super::alerts::alerts;

/// Which alerts are played where. Each of these asserts at its end that it has seen them fire.
const PLAYED: [&[&str]; 5] = [
    callers::ALERTS,
    hot_store::ALERTS,
    ledger::ALERTS,
    money::ALERTS,
    process::ALERTS,
];

#[test]
fn every_alert_is_played() {
    let played: BTreeSet<String> = PLAYED.concat().into_iter().map(str::to_owned).collect();
    let known: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(played, known);
}

/// All at once: whoever plays an incident waits most of the time. What failed is said last, after
/// the traces of where.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn what_the_runbook_says_is_so_and_helps() -> Result<(), Vec<String>> {
    let plays = [
        ("callers", tokio::spawn(callers::play())),
        ("hot store", tokio::spawn(hot_store::play())),
        ("ledger", tokio::spawn(ledger::play())),
        ("money", tokio::spawn(money::play())),
        ("process", tokio::spawn(process::play())),
    ];
    let mut failures = Vec::new();
    for (name, play) in plays {
        failures.extend(play.await.err().map(|error| format!("{name}: {error}")));
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures),
    }
}
