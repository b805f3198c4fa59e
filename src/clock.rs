//! Where time comes from: the machine, or a test that moves it by hand.
//!
//! The one place that reads the machine's clocks. It never waits and never wakes anybody:
//! whoever needs to sleep does so with the runtime's timers.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::domain::timestamp::Timestamp;

/// A source of time, shared by everything in the process that needs one.
pub trait Clock: Send + Sync + Debug {
    /// The instant now, in UTC. May go back when the machine's clock is set.
    fn now(&self) -> Timestamp;

    /// The same instant in nanoseconds since 1970, as fine as the clock is: for spans.
    fn unix_nanos(&self) -> u64 {
        let ms = u64::try_from(self.now().millis()).unwrap_or(0);
        ms.saturating_mul(1_000_000)
    }

    /// Time since the clock was made. Never goes back: for latencies and deadlines.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[allow(
        clippy::disallowed_methods,
        reason = "the clock itself reads the machine's clock"
    )]
    pub fn new() -> Self {
        SystemClock {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the clock itself reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        // A machine whose clock stands before 1970 is read as standing at its start.
        Timestamp::from_millis(millis(since_epoch.unwrap_or(Duration::ZERO)))
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the clock itself reads the machine's clock"
    )]
    fn unix_nanos(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since_epoch.unwrap_or(Duration::ZERO).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is moved: for tests and for the demo.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    monotonic_us: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        ManualClock {
            now_ms: AtomicI64::new(now.millis()),
            monotonic_us: AtomicU64::new(0),
        }
    }

    /// Puts UTC to `now`, forward or back. The monotonic clock goes along forward only.
    pub fn set(&self, now: Timestamp) {
        let before = self.now_ms.swap(now.millis(), Ordering::SeqCst);
        let forward_ms = u64::try_from(now.millis().saturating_sub(before)).unwrap_or(0);
        self.monotonic_us
            .fetch_add(forward_ms.saturating_mul(1_000), Ordering::SeqCst);
    }

    /// Moves both clocks forward. UTC moves by whole milliseconds, the rest is dropped from it.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(millis(by), Ordering::SeqCst);
        let by_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.monotonic_us.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::SeqCst))
    }
}

/// Whole milliseconds, at most what an `i64` holds.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_clock_moves_only_by_hand() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        assert_eq!(clock.now(), Timestamp::from_millis(1_000));
        assert_eq!(clock.monotonic(), Duration::ZERO);

        clock.advance(Duration::from_micros(2_500));
        assert_eq!(clock.now(), Timestamp::from_millis(1_002));
        assert_eq!(clock.monotonic(), Duration::from_micros(2_500));

        clock.set(Timestamp::from_millis(500));
        assert_eq!(clock.now(), Timestamp::from_millis(500));
        assert_eq!(
            clock.monotonic(),
            Duration::from_micros(2_500),
            "never back"
        );

        clock.set(Timestamp::from_millis(501));
        assert_eq!(clock.monotonic(), Duration::from_micros(3_500));
    }

    #[test]
    fn the_system_clock_reads_this_century() {
        let clock = SystemClock::new();
        assert!(clock.now() > crate::domain::timestamp::EARLIEST);
        assert!(clock.now() < crate::domain::timestamp::LATEST);
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
    }
}
