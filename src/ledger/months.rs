//! Calendar months of UTC, by which a ledger parts its entries.

use jiff::{Timestamp as Instant, civil::Date, tz::TimeZone};

use crate::domain::timestamp::Timestamp;

/// One month of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Month {
    year: i16,
    /// 1 to 12.
    month: i8,
}

impl Month {
    /// The month of an instant; `None` beyond the years that a calendar has.
    pub(super) fn of(at: Timestamp) -> Option<Self> {
        let instant = Instant::from_millisecond(at.millis()).ok()?;
        let date = instant.to_zoned(TimeZone::UTC).date();
        Some(Month {
            year: date.year(),
            month: date.month(),
        })
    }

    /// The month after it; `None` after the last one that a calendar has.
    pub(super) fn next(self) -> Option<Self> {
        let (year, month) = match self.month {
            12 => (self.year.checked_add(1)?, 1),
            month => (self.year, month + 1),
        };
        Date::new(year, month, 1).ok()?;
        Some(Month { year, month })
    }

    /// Its first instant; `None` where a calendar's first or last day is too near.
    pub(super) fn start(self) -> Option<Timestamp> {
        let date = Date::new(self.year, self.month, 1).ok()?;
        let start = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_millis(start.as_millisecond()))
    }

    /// E.g. `2026_01`.
    pub(super) fn suffix(self) -> String {
        format!("{:04}_{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: Instant = text.parse().unwrap();
        Timestamp::from_millis(instant.as_millisecond())
    }

    #[test]
    fn a_month_is_half_open() {
        let month = Month::of(at("2026-01-31T23:59:59.999Z")).unwrap();
        assert_eq!(month.suffix(), "2026_01");
        assert_eq!(month.start().unwrap(), at("2026-01-01T00:00:00Z"));
        let next = month.next().unwrap();
        assert_eq!(next.start().unwrap(), at("2026-02-01T00:00:00Z"));
        assert_eq!(Month::of(next.start().unwrap()).unwrap(), next);
        assert!(month < next);
    }

    #[test]
    fn december_is_followed_by_january() {
        let december = Month::of(at("1999-12-05T00:00:00Z")).unwrap();
        assert_eq!(december.next().unwrap().suffix(), "2000_01");
    }

    #[test]
    fn no_instant_is_beyond_a_refusal() {
        for millis in [i64::MIN, i64::MAX] {
            assert_eq!(Month::of(Timestamp::from_millis(millis)), None);
        }
        let last = Month::of(at("9999-12-01T00:00:00Z")).unwrap();
        assert_eq!(last.next(), None);
    }
}
