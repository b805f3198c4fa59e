//! Names and numbers of a catalogue file, from the text that the file has.

use rust_decimal::Decimal;

use crate::domain::{credits::Credits, rate_card::DECIMALS_MAX};

/// The longest name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Checks a name: of the version, a plan, a pack, a tier, a mode or a meter.
pub(super) fn name(text: &str) -> Result<&str, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(allowed) {
        let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
        return Err(format!(
            "{shown:?} is not a name: 1 to {NAME_BYTES_MAX} of [A-Za-z0-9._:-]"
        ));
    }
    Ok(text)
}

/// A decimal, digit by digit: `12`, `0.40`. No exponent, no sign but a minus, which the caller
/// refuses with a better text.
pub(super) fn decimal(text: &str) -> Result<Decimal, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return Err(format!("{:?} is not a decimal, as 0.40", shown(text)));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > DECIMALS_MAX as usize {
        return Err(format!(
            "{} is too precise: at most {DECIMALS_MAX} decimals",
            shown(text)
        ));
    }
    // Zeros at the end say nothing, and must not count towards the digits that fit.
    let sign = if text.starts_with('-') { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Decimal::from_str_exact(&format!("{sign}{whole}{point}{fraction}"))
        .map_err(|_| format!("{} has too many digits", shown(text)))
}

/// A whole number from zero.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{:?} is not a whole number, as 500", shown(text)));
    }
    text.parse()
        .map_err(|_| format!("{} is too large: at most {}", shown(text), u64::MAX))
}

/// A number of credits.
pub(super) fn credits(text: &str) -> Result<Credits, String> {
    Credits::new(whole(text)?).map_err(|error| error.to_string())
}

/// As much of the text as an error needs.
fn shown(text: &str) -> String {
    text.chars().take(NAME_BYTES_MAX).collect()
}
