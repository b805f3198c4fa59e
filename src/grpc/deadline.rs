//! The deadline that a caller sets: the `grpc-timeout` header.

use std::time::Duration;

use http::HeaderMap;

/// The most digits that the header has, by the protocol.
const DIGITS_MAX: usize = 8;

/// How long the caller waits. A header that is wrong counts as absent: the server has a limit of
/// its own.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_protocol_writes_it() {
        let cases = [
            ("100m", Some(Duration::from_millis(100))),
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30u", Some(Duration::from_micros(30))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("m", None),
            ("123456789m", None),
            ("-1m", None),
            ("+1m", None),
            ("10", None),
            ("10x", None),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(wanted(&headers), expected, "{text:?}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
