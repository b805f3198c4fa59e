//! The runbook, tried: each alert is made to fire on real processes by what its section says that
//! it means, the panels that the section names show it, its steps are taken as they are written,
//! and it ends. A command is taken out of the runbook's text, so that neither goes its own way.

mod callers;
mod drill;
mod money;
mod process;
mod rules;
mod stores;

use std::collections::BTreeSet;

use super::alerts::alerts;

/// Which alerts are played where. Each of these asserts at its end that it has seen them fire.
const PLAYED: [&[&str]; 4] = [
    callers::ALERTS,
    money::ALERTS,
    process::ALERTS,
    stores::ALERTS,
];

#[test]
fn every_alert_is_played() {
    let played: BTreeSet<String> = PLAYED.concat().into_iter().map(str::to_owned).collect();
    let known: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(played, known);
}
