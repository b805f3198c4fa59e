//! Values of options as people write them: durations, instants, pairs. Only their form is
//! checked here; what a server accepts, the server says.

use std::time::Duration;

use jiff::civil;

use crate::domain::credits::MAX_CREDITS;

/// The longest duration that an option takes.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A whole number and a unit: `500ms`, `90s`, `10m`, `2h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const ACCEPTED: &str = "a whole number and a unit up to 366d, e.g. 500ms, 90s, 10m, 2h, 1d";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| ACCEPTED.to_owned())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(ACCEPTED.to_owned()),
    };
    let total = number.checked_mul(unit_ms).map(Duration::from_millis);
    let total = total.filter(|total| !total.is_zero() && *total <= DURATION_MAX);
    total.ok_or_else(|| ACCEPTED.to_owned())
}

/// RFC 3339, or a date, which is its first instant in UTC.
pub(crate) fn instant(text: &str) -> Result<prost_types::Timestamp, String> {
    const ACCEPTED: &str = "an instant with its zone, or a day in UTC, e.g. 2026-05-16T10:00:00Z, \
        2026-05-16";
    let parsed = text.parse::<jiff::Timestamp>();
    let parsed = parsed.or_else(|_| {
        let midnight = match text.contains(['T', 't', ' ']) {
            true => return Err(ACCEPTED.to_owned()),
            false => text.parse::<civil::Date>(),
        };
        let midnight = midnight.map_err(|_| ACCEPTED.to_owned())?;
        let zoned = midnight.to_zoned(jiff::tz::TimeZone::UTC);
        zoned
            .map(|zoned| zoned.timestamp())
            .map_err(|_| ACCEPTED.to_owned())
    })?;
    Ok(prost_types::Timestamp {
        seconds: parsed.as_second(),
        nanos: parsed.subsec_nanosecond(),
    })
}

/// `key=value`, with a key.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("key=value".to_owned()),
    }
}

/// `name=quantity`.
pub(crate) fn quantity(text: &str) -> Result<(String, u64), String> {
    const FORM: &str = "name=quantity, e.g. gpu_seconds=90, the quantity";
    let accepted = |number: &str| format!("{FORM} {number}");
    let (name, quantity) = pair(text).map_err(|_| accepted("a whole number"))?;
    let quantity = whole(&quantity).map_err(|number| accepted(&number))?;
    Ok((name, quantity))
}

/// A number of credits, or a quantity.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number <= MAX_CREDITS);
    number.ok_or_else(|| format!("a whole number from 0 to {MAX_CREDITS}"))
}

/// A number of credits above zero.
pub(crate) fn some_credits(text: &str) -> Result<u64, String> {
    let number = whole(text).ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("a whole number from 1 to {MAX_CREDITS}"))
}

/// A duration as the contract has it.
pub(crate) fn to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // Durations of options are at most a year: neither number can be out of range.
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [
            ("1ms", 1),
            ("500ms", 500),
            ("90s", 90_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("366d", 366 * 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "60",
            "s",
            "1.5s",
            "-1s",
            "0s",
            "1w",
            "367d",
            "99999999999999999999s",
        ] {
            assert!(duration(text).unwrap_err().contains("500ms"), "{text}");
        }
    }

    #[test]
    fn instants_are_rfc_3339_or_a_day() {
        for (text, seconds) in [
            ("1970-01-01T00:01:00Z", 60),
            ("1970-01-01T00:01Z", 60),
            ("1970-01-01T01:01:00+01:00", 60),
            ("1970-01-02", 86_400),
        ] {
            assert_eq!(instant(text).map(|at| at.seconds), Ok(seconds), "{text}");
        }
        for text in [
            "",
            "now",
            "1970-01-01T00:01:00",
            "1970-13-01",
            "1970-02-30T00:00:00Z",
        ] {
            assert!(instant(text).unwrap_err().contains("2026-05-16"), "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_in_range() {
        assert_eq!(whole("0"), Ok(0));
        assert_eq!(whole("9007199254740991"), Ok(MAX_CREDITS));
        assert_eq!(some_credits("1"), Ok(1));
        for text in ["", "-1", "1.5", "1e3", "9007199254740992", "many"] {
            let error = whole(text).unwrap_err();
            assert_eq!(error, "a whole number from 0 to 9007199254740991", "{text}");
            let error = some_credits(text).unwrap_err();
            assert_eq!(error, "a whole number from 1 to 9007199254740991", "{text}");
        }
        assert!(some_credits("0").is_err());
    }

    #[test]
    fn pairs_have_a_key() {
        assert_eq!(pair("team=a=b"), Ok(("team".to_owned(), "a=b".to_owned())));
        assert_eq!(pair("team="), Ok(("team".to_owned(), String::new())));
        assert!(pair("team").is_err());
        assert!(pair("=x").is_err());
        assert_eq!(
            quantity("gpu_seconds=90"),
            Ok(("gpu_seconds".to_owned(), 90))
        );
        assert!(quantity("gpu_seconds=-1").is_err());
    }
}
