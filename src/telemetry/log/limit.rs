//! How often one line of the program may be logged.

use std::{collections::HashMap, time::Duration};

use tracing::callsite::Identifier;

/// The most lines of one place in the program within a window.
pub(super) const LINES_MAX: u32 = 20;
/// A window.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Counts lines by the place that they come from; there are as many as the program has.
#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<Identifier, Place>);

#[derive(Debug)]
struct Place {
    /// When its window began.
    since: Duration,
    lines: u32,
    left_out: u64,
}

impl Limiter {
    /// Whether a line may be written, and how many were left out since the last one.
    pub(super) fn pass(&mut self, place: Identifier, now: Duration) -> Option<u64> {
        let place = self.0.entry(place).or_insert(Place {
            since: now,
            lines: 0,
            left_out: 0,
        });
        if now.saturating_sub(place.since) >= WINDOW {
            place.since = now;
            place.lines = 0;
        }
        if place.lines >= LINES_MAX {
            place.left_out += 1;
            return None;
        }
        place.lines += 1;
        Some(std::mem::take(&mut place.left_out))
    }
}
