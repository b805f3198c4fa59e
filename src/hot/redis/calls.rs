//! The hot path's calls: which script, on which keys, with which arguments.

use super::{
    blobs, scripts,
    steps::{Step, flag, text},
};
use crate::domain::{
    book::least_credits,
    command::{Charge, Commit, Extend, Release, Reserve},
    credits::Credits,
    ids::AccountId,
    reservation::{CommitRequest, Origin, Terms},
    usage::Outcome,
};

pub(super) fn reserve(command: &Reserve) -> Step<'_> {
    let origin = Origin::Reserve {
        amount: command.amount.clone(),
        min_credits: command.min_credits,
        ttl_ms: command.ttl_ms,
    };
    Step {
        operation: "reserve",
        script: &scripts::RESERVE,
        account_id: &command.account_id,
        reservation_id: Some(&command.reservation_id),
        arguments: vec![
            command.reservation_id.as_str().into(),
            text(command.credits.get()),
            text(least_credits(command)),
            text(command.effective_ttl_ms),
            flag(command.dry_run),
            blobs::action(&command.action),
            blobs::asked(&origin),
            command.rate_card_version.as_bytes().into(),
        ],
    }
}

pub(super) fn extend(command: &Extend) -> Step<'_> {
    Step {
        operation: "extend",
        script: &scripts::EXTEND,
        account_id: &command.account_id,
        reservation_id: Some(&command.reservation_id),
        arguments: vec![
            command.reservation_id.as_str().into(),
            command.extension_id.as_str().into(),
            text(command.add.get()),
            command.ttl_ms.map(text).unwrap_or_default(),
        ],
    }
}

/// `remembered`: the terms by which it is priced where they were not read, for the script to check.
pub(super) fn commit<'a>(command: &'a Commit, remembered: Option<&Terms>) -> Step<'a> {
    let mut arguments = vec![
        command.reservation_id.as_str().into(),
        blobs::request(&command.request),
        text(command.credits.get()),
        flag(command.known),
        blobs::price(command.price.as_deref()),
        flag(command.request.keep_open),
        text(command.request.next_hold.get()),
    ];
    let amount = command.request.amount.clone();
    arguments.extend(match (command.known, remembered) {
        (true, None) => [vec![], vec![], vec![], vec![]],
        (true, Some(terms)) => [
            blobs::action(&terms.action),
            vec![],
            terms.rate_card_version.as_bytes().into(),
            vec![],
        ],
        (false, _) => [
            blobs::action(&command.action),
            blobs::asked(&Origin::Commit { amount }),
            command.rate_card_version.as_bytes().into(),
            text(command.effective_ttl_ms),
        ],
    });
    Step {
        operation: "commit",
        script: &scripts::COMMIT,
        account_id: &command.account_id,
        reservation_id: Some(&command.reservation_id),
        arguments,
    }
}

pub(super) fn release(command: &Release) -> Step<'_> {
    Step {
        operation: "release",
        script: &scripts::RELEASE,
        account_id: &command.account_id,
        reservation_id: Some(&command.reservation_id),
        arguments: vec![command.reservation_id.as_str().into()],
    }
}

pub(super) fn charge(command: &Charge) -> Step<'_> {
    let origin = Origin::Charge {
        amount: command.amount.clone(),
        force: command.force,
    };
    let request = CommitRequest {
        amount: command.amount.clone(),
        outcome: Outcome::Succeeded,
        keep_open: false,
        next_hold: Credits::ZERO,
    };
    Step {
        operation: "charge",
        script: &scripts::CHARGE,
        account_id: &command.account_id,
        reservation_id: Some(&command.charge_id),
        arguments: vec![
            command.charge_id.as_str().into(),
            blobs::request(&request),
            text(command.credits.get()),
            flag(command.force),
            blobs::price(command.price.as_deref()),
            blobs::action(&command.action),
            blobs::asked(&origin),
            command.rate_card_version.as_bytes().into(),
        ],
    }
}

pub(super) fn balance(account_id: &AccountId) -> Step<'_> {
    Step {
        operation: "balance",
        script: &scripts::BALANCE,
        account_id,
        reservation_id: None,
        arguments: Vec::new(),
    }
}
