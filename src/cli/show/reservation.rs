//! The answers of the hot path: holds, extensions, settlements, releases, charges.

use super::{
    Settlement, balance_line, count, credits, denial, indent, instant, labels, names, price::model,
    receipt,
};
use crate::pb::{
    self, charge_response::Result as ChargeResult, extend_response::Result as ExtendResult,
    reserve_response::Result as ReserveResult,
};

/// What a repeated request is told.
const REPLAYED: &str = "  this request was answered before: nothing happened twice";

/// What a repeated request is told whose reservation has ended since.
const ENDED: &str = "  nothing is held: another action needs an id of its own";

/// How far what explains an answer stands to the right.
const MARGIN: usize = 2;

/// The answer to a reserve.
pub(crate) fn reserved(answer: &pb::ReserveResponse, account_id: &str, dry_run: bool) -> String {
    let mut lines = Vec::new();
    match &answer.result {
        Some(ReserveResult::Reservation(hold)) if dry_run => {
            lines.push(format!(
                "would hold {} (dry run: nothing is held)",
                credits(hold.held)
            ));
            lines.extend(limits(hold));
        }
        Some(ReserveResult::Reservation(hold)) => {
            lines.extend(standing("held", hold));
            lines.extend(limits(hold));
        }
        Some(ReserveResult::Denial(denied)) => lines.push(denial(denied, account_id)),
        None => {}
    }
    if answer.degraded {
        let note = "  the store is out of reach: this was decided by the account's failure policy";
        lines.push(note.to_owned());
    }
    finish(lines, answer.replayed, answer.balance.as_ref())
}

/// The answer to an extension.
pub(crate) fn extended(answer: &pb::ExtendResponse, account_id: &str) -> String {
    let mut lines = Vec::new();
    match &answer.result {
        Some(ExtendResult::Reservation(hold)) => {
            lines.extend(standing("extended: now held", hold));
            lines.extend(limits(hold));
        }
        Some(ExtendResult::Denial(denied)) => {
            lines.push(denial(denied, account_id));
            lines.push("  the hold stands as it was".to_owned());
        }
        None => {}
    }
    finish(lines, answer.replayed, answer.balance.as_ref())
}

/// The answer to a commit. `outcome` is named where it changed the price.
pub(crate) fn committed(
    answer: &pb::CommitResponse,
    account_id: &str,
    outcome: Option<&str>,
) -> String {
    let mut lines = Vec::new();
    if answer.buffered {
        lines
            .push("accepted: safe on the server's disk, settled when the store is back".to_owned());
    }
    let hold = answer.reservation.as_ref();
    if let Some(settled) = &answer.receipt {
        let mode = mode(hold.and_then(|hold| hold.action.as_ref()));
        lines.push(format!("charged {}", credits(settled.credits)));
        lines.push(indent(
            &receipt(settled, Settlement::Commit, mode, outcome),
            MARGIN,
        ));
    }
    if let Some(hold) = hold {
        lines.push(state(hold));
        lines.extend(limits(hold).into_iter().filter(|_| is_open(hold)));
    }
    if let Some(denied) = &answer.next_hold_denial {
        lines.push(format!("the next hold is {}", denial(denied, account_id)));
    }
    finish(lines, answer.replayed, answer.balance.as_ref())
}

/// The answer to a release.
pub(crate) fn released(answer: &pb::ReleaseResponse) -> String {
    let mut lines = vec![format!("returned {}", credits(answer.returned))];
    lines.extend(answer.reservation.as_ref().map(state));
    finish(lines, answer.replayed, answer.balance.as_ref())
}

/// A reservation as it is now, and what it is for.
pub(crate) fn reservation(hold: &pb::Reservation) -> String {
    let mut lines = vec![state(hold)];
    lines.extend(limits(hold).filter(|_| is_open(hold)));
    if let Some(action) = &hold.action {
        let mut parts = vec![format!("{} mode", action.mode), model(action, "")];
        if !action.conversation_id.is_empty() {
            parts.push(format!("conversation {}", action.conversation_id));
        }
        parts.push(format!("rate card {}", hold.rate_card_version));
        lines.push(indent(&parts.join(", "), MARGIN));
        lines.extend(labels(action).map(|labels| indent(&labels, MARGIN)));
    }
    lines.join("\n")
}

/// The answer to a charge.
pub(crate) fn charged(answer: &pb::ChargeResponse, account_id: &str, mode: &str) -> String {
    let mut lines = Vec::new();
    match &answer.result {
        Some(ChargeResult::Receipt(settled)) => {
            let (charged, id) = (credits(settled.credits), &settled.reservation_id);
            lines.push(format!("charged {charged}: charge {id}"));
            lines.push(indent(
                &receipt(settled, Settlement::Charge, mode, None),
                MARGIN,
            ));
        }
        Some(ChargeResult::Denial(denied)) => lines.push(denial(denied, account_id)),
        None => {}
    }
    finish(lines, answer.replayed, answer.balance.as_ref())
}

fn finish(mut lines: Vec<String>, replayed: bool, balance: Option<&pb::Balance>) -> String {
    if replayed {
        lines.push(REPLAYED.to_owned());
    }
    lines.extend(balance.map(balance_line));
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

fn mode(action: Option<&pb::Action>) -> &str {
    action.map_or("", |action| action.mode.as_str())
}

fn is_open(hold: &pb::Reservation) -> bool {
    hold.state() == pb::ReservationState::Open
}

/// What a granted request made; or, where it was answered before, how that stands now.
fn standing(what: &str, hold: &pb::Reservation) -> Vec<String> {
    if !is_open(hold) {
        return vec![state(hold), ENDED.to_owned()];
    }
    let (id, until) = (&hold.reservation_id, instant(hold.expires_at.as_ref()));
    vec![format!(
        "{what} {}: reservation {id}, open until {until}",
        credits(hold.held)
    )]
}

fn state(hold: &pb::Reservation) -> String {
    let mut line = format!(
        "reservation {} is {}: {} held, {} charged in all",
        hold.reservation_id,
        names::reservation_state(hold.state),
        count(hold.held),
        count(hold.charged),
    );
    if is_open(hold) {
        line.push_str(&format!(", until {}", instant(hold.expires_at.as_ref())));
    }
    line
}

fn limits(hold: &pb::Reservation) -> Option<String> {
    let tokens = hold.max_output_tokens?;
    Some(format!(
        "  pays for at most {} output tokens",
        count(tokens)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance() -> Option<pb::Balance> {
        Some(pb::Balance {
            available: 440,
            held: 60,
            plan_id: "starter".to_owned(),
            renews_at: at(1_769_853_600),
            ..Default::default()
        })
    }

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn hold(state: pb::ReservationState) -> pb::Reservation {
        pb::Reservation {
            reservation_id: "r1".to_owned(),
            account_id: "acme".to_owned(),
            state: state.into(),
            held: 60,
            expires_at: at(60),
            max_output_tokens: Some(20_000),
            ..Default::default()
        }
    }

    fn granted(state: pb::ReservationState) -> pb::ReserveResponse {
        pb::ReserveResponse {
            result: Some(ReserveResult::Reservation(hold(state))),
            balance: balance(),
            ..Default::default()
        }
    }

    #[test]
    fn a_hold_says_what_it_pays_for() {
        let expected = "\
held 60 credits: reservation r1, open until 1970-01-01T00:01:00Z
  pays for at most 20,000 output tokens
balance: 440 available, 60 held; plan starter, renews 2026-01-31T10:00:00Z";
        let answer = granted(pb::ReservationState::Open);
        assert_eq!(reserved(&answer, "acme", false), expected);
        let dry = granted(pb::ReservationState::Unspecified);
        let first = reserved(&dry, "acme", true)
            .lines()
            .next()
            .map(str::to_owned);
        assert_eq!(
            first.as_deref(),
            Some("would hold 60 credits (dry run: nothing is held)")
        );
    }

    #[test]
    fn a_repeated_reserve_shows_the_reservation_as_it_is_now() {
        let mut answer = granted(pb::ReservationState::Committed);
        answer.replayed = true;
        if let Some(ReserveResult::Reservation(hold)) = &mut answer.result {
            (hold.held, hold.charged, hold.max_output_tokens) = (0, 45, None);
        }
        let expected = "\
reservation r1 is committed: 0 held, 45 charged in all
  nothing is held: another action needs an id of its own
  this request was answered before: nothing happened twice
balance: 440 available, 60 held; plan starter, renews 2026-01-31T10:00:00Z";
        assert_eq!(reserved(&answer, "acme", false), expected);
    }

    #[test]
    fn a_commit_whose_next_hold_is_denied_has_settled_all_the_same() {
        let answer = pb::CommitResponse {
            receipt: Some(pb::Receipt {
                credits: 45,
                returned: 15,
                ..Default::default()
            }),
            reservation: Some(pb::Reservation {
                held: 0,
                charged: 45,
                max_output_tokens: None,
                ..hold(pb::ReservationState::Open)
            }),
            next_hold_denial: Some(pb::Denial {
                reason: pb::DenialReason::BalanceExhausted.into(),
                required: 20,
                ..Default::default()
            }),
            ..Default::default()
        };
        let expected = "\
charged 45 credits
  of the hold 45 used, 15 returned
reservation r1 is open: 0 held, 45 charged in all, until 1970-01-01T00:01:00Z
the next hold is denied: no credits are left (balance_exhausted)
  required 20 credits, available 0: 20 short";
        assert_eq!(committed(&answer, "acme", None), expected);
    }

    #[test]
    fn a_release_says_what_came_back() {
        let answer = pb::ReleaseResponse {
            reservation: Some(pb::Reservation {
                held: 0,
                ..hold(pb::ReservationState::Released)
            }),
            returned: 60,
            balance: balance(),
            replayed: false,
        };
        let expected = "\
returned 60 credits
reservation r1 is released: 0 held, 0 charged in all
balance: 440 available, 60 held; plan starter, renews 2026-01-31T10:00:00Z";
        assert_eq!(released(&answer), expected);
    }
}
