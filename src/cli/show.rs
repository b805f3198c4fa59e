//! Answers as text for people. Everything exact is in the JSON as well; nothing here is meant to
//! be read by programs, and nothing here decides anything.

mod account;
mod audit;
mod catalog;
mod conversation;
mod denial;
mod entries;
mod names;
mod price;
mod receipt;
mod reservation;

use prost_types::Timestamp;

pub(crate) use self::{
    account::{account, accounts, balance, balance_line, grant_line},
    audit::audit,
    catalog::catalog,
    conversation::conversation,
    denial::denial,
    entries::{entries, entry_line},
    price::{headline, price_table},
    receipt::{Settlement, receipt},
    reservation::{charged, committed, extended, released, reservation, reserved},
};
use crate::pb;

/// Digits between two commas.
const GROUP: usize = 3;

/// A number with commas: `12,400`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / GROUP);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(GROUP) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its sign: `+500`, `-18`, `0`.
fn signed(number: i64) -> String {
    let size = count(number.unsigned_abs());
    match number.signum() {
        1 => format!("+{size}"),
        -1 => format!("-{size}"),
        _ => size,
    }
}

/// `1 credit`, `18 credits`.
pub(crate) fn credits(number: u64) -> String {
    plural(number, "credit")
}

fn plural(number: u64, what: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {what}{end}", count(number))
}

/// An instant in RFC 3339; `-` where there is none.
pub(crate) fn instant(at: Option<&Timestamp>) -> String {
    let read = at.map(|at| jiff::Timestamp::new(at.seconds, at.nanos));
    match read {
        Some(Ok(at)) if at.subsec_nanosecond() == 0 => at.to_string(),
        Some(Ok(at)) => format!("{at:.3}"),
        Some(Err(_)) => "beyond the calendar".to_owned(),
        None => "-".to_owned(),
    }
}

/// `plan:0 18, pack-1 3`, in the order in which they were spent.
fn draws(draws: &[pb::GrantDraw]) -> String {
    let parts = draws
        .iter()
        .map(|draw| format!("{} {}", draw.grant_id, count(draw.credits)));
    parts.collect::<Vec<_>>().join(", ")
}

/// The meters above zero: the contract's own, then the others by name.
fn meters(usage: &pb::Usage) -> Vec<(String, u64)> {
    let own = crate::domain::usage::METERS
        .into_iter()
        .map(str::to_owned)
        .zip([
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.tool_calls,
            usage.file_operations,
            usage.build_seconds,
        ]);
    let mut custom: Vec<(String, u64)> = usage
        .custom
        .iter()
        .map(|(name, quantity)| (name.clone(), *quantity))
        .collect();
    custom.sort();
    own.chain(custom)
        .filter(|(_, quantity)| *quantity > 0)
        .collect()
}

/// `labels a=1, b=2`, by key; `None` where there are none.
fn labels(action: &pb::Action) -> Option<String> {
    let pairs = action.labels.iter();
    let mut labels: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    (!labels.is_empty()).then(|| format!("labels {}", labels.join(", ")))
}

/// Each line, that much further to the right.
fn indent(text: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    let lines = text.lines().map(|line| match line.is_empty() {
        true => String::new(),
        false => format!("{margin}{line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_and_signs() {
        let shown = [0, 7, 999, 1_000, 12_400, 1_000_000].map(count);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,400", "1,000,000"]);
        assert_eq!([-1_800, 0, 500].map(signed), ["-1,800", "0", "+500"]);
        assert_eq!(
            [0, 1, 2].map(credits),
            ["0 credits", "1 credit", "2 credits"]
        );
    }

    #[test]
    fn instants_are_rfc_3339() {
        let at = |seconds, nanos| instant(Some(&Timestamp { seconds, nanos }));
        assert_eq!(at(1_769_853_600, 0), "2026-01-31T10:00:00Z");
        assert_eq!(at(0, 50_000_000), "1970-01-01T00:00:00.050Z");
        assert_eq!(at(i64::MAX, 0), "beyond the calendar");
        assert_eq!(instant(None), "-");
    }
}
