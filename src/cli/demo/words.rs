//! Short ways to say what the play asks for, and to read what comes back.

use super::ACCOUNT;
use crate::{domain::timestamp::Timestamp, pb};

/// The length of `2026-01-31T10:05`: an instant to the minute.
const TO_THE_MINUTE: usize = 16;

/// A small model.
pub(super) const HAIKU: &str = "claude-haiku-4-5";
/// A middling one.
pub(super) const SONNET: &str = "claude-sonnet-4-5";
/// A large one.
pub(super) const OPUS: &str = "claude-opus-4-5";

/// An action of some mode.
pub(super) fn action(mode: &str, model: &str, conversation_id: &str) -> pb::Action {
    pb::Action {
        mode: mode.to_owned(),
        model: model.to_owned(),
        conversation_id: conversation_id.to_owned(),
        ..pb::Action::default()
    }
}

/// So many tokens in and out.
pub(super) fn tokens(input_tokens: u64, output_tokens: u64) -> pb::Usage {
    pb::Usage {
        input_tokens,
        output_tokens,
        ..pb::Usage::default()
    }
}

/// Holds what an estimate prices at.
pub(super) fn reserve(
    reservation_id: &str,
    action: pb::Action,
    estimate: pb::Usage,
) -> pb::ReserveRequest {
    pb::ReserveRequest {
        account_id: ACCOUNT.to_owned(),
        reservation_id: reservation_id.to_owned(),
        action: Some(action),
        amount: Some(pb::reserve_request::Amount::Estimate(estimate)),
        ..pb::ReserveRequest::default()
    }
}

/// Holds so many credits.
pub(super) fn reserve_credits(
    reservation_id: &str,
    action: pb::Action,
    credits: u64,
) -> pb::ReserveRequest {
    pb::ReserveRequest {
        amount: Some(pb::reserve_request::Amount::Credits(credits)),
        ..reserve(reservation_id, action, pb::Usage::default())
    }
}

/// Settles what was used, for good.
pub(super) fn commit(reservation_id: &str, usage: pb::Usage) -> pb::CommitRequest {
    pb::CommitRequest {
        account_id: ACCOUNT.to_owned(),
        reservation_id: reservation_id.to_owned(),
        amount: Some(pb::commit_request::Amount::Usage(usage)),
        ..pb::CommitRequest::default()
    }
}

/// Settles a build of so many seconds, whose cost is known at once.
pub(super) fn charge_build(charge_id: &str, build_seconds: u64) -> pb::ChargeRequest {
    let usage = pb::Usage {
        build_seconds,
        ..pb::Usage::default()
    };
    pb::ChargeRequest {
        account_id: ACCOUNT.to_owned(),
        charge_id: charge_id.to_owned(),
        action: Some(action("build", "", "")),
        amount: Some(pb::charge_request::Amount::Usage(usage)),
        ..pb::ChargeRequest::default()
    }
}

/// A price before it was rounded, in the receipt's own words.
pub(super) fn exact(receipt: &pb::Receipt) -> &str {
    receipt
        .price
        .as_ref()
        .map_or("", |price| price.exact.as_str())
}

/// The words of an enum's name that only it has: `EXPIRED` of `RESERVATION_STATE_EXPIRED`.
pub(super) fn name(full: &'static str) -> &'static str {
    let prefixes = ["RESERVATION_STATE_", "DENIAL_REASON_", "ENTRY_KIND_"];
    let found = prefixes.iter().find_map(|prefix| full.strip_prefix(prefix));
    found.unwrap_or(full)
}

/// From which grants credits were taken: `plan-0 12, order-1 3`.
pub(super) fn draws(draws: &[pb::GrantDraw]) -> String {
    let each = draws
        .iter()
        .map(|draw| format!("{} {}", draw.grant_id, thousands(draw.credits)));
    each.collect::<Vec<_>>().join(", ")
}

/// What the account's owner can do, one line each.
pub(super) fn remedies(denial: &pb::Denial) -> Vec<String> {
    use pb::remedy::Remedy::{BuyPack, UpgradePlan, WaitForRenewal};
    let each = denial
        .remedies
        .iter()
        .filter_map(|remedy| remedy.remedy.as_ref());
    each.map(|remedy| match remedy {
        BuyPack(pack) => format!("buy pack {}: {}", pack.pack_id, thousands(pack.credits)),
        UpgradePlan(plan) => {
            format!(
                "move to plan {}: {} a cycle",
                plan.plan_id,
                thousands(plan.allowance)
            )
        }
        WaitForRenewal(wait) => {
            format!(
                "wait for the renewal on {}",
                instant(wait.renews_at.as_ref())
            )
        }
    })
    .collect()
}

/// An instant to the minute: `2026-01-31 10:05`.
pub(super) fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..TO_THE_MINUTE).unwrap_or(&text).replace('T', " ")
}

/// An instant of the contract, to the minute; `never` where there is none.
pub(super) fn instant(at: Option<&prost_types::Timestamp>) -> String {
    let millis = |at: &prost_types::Timestamp| {
        at.seconds
            .saturating_mul(1_000)
            .saturating_add(i64::from(at.nanos / 1_000_000))
    };
    at.map_or_else(
        || "never".to_owned(),
        |at| minute(Timestamp::from_millis(millis(at))),
    )
}

/// The month and day of `2026-01-31 10:05`.
pub(super) fn day(minute: &str) -> &str {
    minute
        .get("2026-".len().."2026-01-31".len())
        .unwrap_or(minute)
}

/// A number as people write it: `10,000`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its sign: `+500`, `-1,200`, `0`.
pub(super) fn signed(number: i64) -> String {
    let sign = match number.signum() {
        1 => "+",
        0 => "",
        _ => "-",
    };
    format!("{sign}{}", thousands(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!([500, 0, -1_200].map(signed), ["+500", "0", "-1,200"]);
    }

    #[test]
    fn instants_are_written_to_the_minute() {
        let at = prost_types::Timestamp {
            seconds: 1_769_853_659,
            nanos: 0,
        };
        assert_eq!(instant(Some(&at)), "2026-01-31 10:00");
        assert_eq!(instant(None), "never");
    }
}
