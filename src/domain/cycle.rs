//! The billing cycle: which month-long stretch of an account's life an instant falls into.
//!
//! Every bound is `anchor + n months`, worked out afresh; bounds are never chained, so a short
//! month moves nothing: from 31 January come 28 (29) February, 31 March, 30 April. All of it is
//! UTC, to the millisecond.

use jiff::{Span, civil::DateTime, tz::Offset};
use serde::{Deserialize, Serialize};

use super::timestamp::{EARLIEST, LATEST, Timestamp};

#[cfg(test)]
mod tests;

/// One billing cycle of an account, from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// How many cycles came before it.
    pub index: u32,
    /// The first instant: the anchor and `index` months.
    pub start: Timestamp,
    /// The first instant of the next cycle: the anchor and `index + 1` months.
    pub end: Timestamp,
}

impl Cycle {
    /// When the next cycle begins: this one does, where the subscription is still to come.
    pub fn next(&self, now: Timestamp) -> Timestamp {
        if now < self.start {
            self.start
        } else {
            self.end
        }
    }

    /// The cycle that `now` falls into, of an account anchored at `anchor`. Before the anchor it
    /// is the first one. Instants outside [`EARLIEST`] to [`LATEST`] count as the nearer bound.
    pub fn at(anchor: Timestamp, now: Timestamp) -> Cycle {
        let anchor = anchor.clamp(EARLIEST, LATEST);
        let now = now.clamp(EARLIEST, LATEST);
        // The bound that lies in `now`'s own calendar month is either `now`'s cycle's start or,
        // where it is still to come, its end.
        let months = month_number(civil(now)) - month_number(civil(anchor));
        let mut index = u32::try_from(months).unwrap_or(0);
        if index > 0 && bound(anchor, index) > now {
            index -= 1;
        }
        Cycle {
            index,
            start: bound(anchor, index),
            end: bound(anchor, index + 1),
        }
    }
}

/// Months since year 0.
fn month_number(date: DateTime) -> i32 {
    i32::from(date.year()) * 12 + i32::from(date.month())
}

/// The anchor and `months` months, on the month's last day where it lacks the anchor's.
fn bound(anchor: Timestamp, months: u32) -> Timestamp {
    let moved = Span::new()
        .try_months(months)
        .and_then(|span| civil(anchor).checked_add(span))
        .and_then(|date| Offset::UTC.to_timestamp(date));
    // The calendar ends in 9999, a thousand years after the latest instant that gets here.
    moved.map_or(LATEST, |instant| {
        Timestamp::from_millis(instant.as_millisecond())
    })
}

fn civil(instant: Timestamp) -> DateTime {
    let instant = jiff::Timestamp::from_millisecond(instant.millis());
    Offset::UTC.to_datetime(instant.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
