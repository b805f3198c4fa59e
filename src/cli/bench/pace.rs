//! When calls start. In an open loop every start is fixed before the run begins: a server that
//! falls behind gets its calls late, and the waiting counts as its latency (no coordinated
//! omission). In a closed loop a call starts when the one before it was answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::clock::{Clock, SystemClock};

/// The longest that the pacer sleeps without looking whether the run was stopped.
const NAP_MAX: Duration = Duration::from_millis(20);

/// How calls follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// So many a second, whatever the answers do.
    Open {
        /// Calls a second, of all lanes together.
        per_second: f64,
    },
    /// So many in flight at any time.
    Closed {
        /// Calls, of all lanes together.
        in_flight: usize,
    },
}

/// The instants of a run, on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first call.
    pub(super) start: Duration,
    /// From here on calls are measured.
    pub(super) warm: Duration,
    /// No call starts from here on.
    pub(super) end: Duration,
}

/// The starts of an open loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// The run.
    pub(super) span: Span,
    per_second: f64,
}

impl Schedule {
    /// Evenly spread starts, the first one at the start of the run.
    pub(super) fn new(span: Span, per_second: f64) -> Self {
        Schedule { span, per_second }
    }

    /// When the `ticket`-th call starts, counted from 0.
    pub(super) fn start(&self, ticket: u64) -> Duration {
        #[allow(
            clippy::cast_precision_loss,
            reason = "2^53 calls are more than any run makes"
        )]
        let seconds = ticket as f64 / self.per_second;
        self.span.start + Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 2)
    }

    /// How many calls start before `instant`.
    pub(super) fn before(&self, instant: Duration) -> u64 {
        let seconds = instant.saturating_sub(self.span.start).as_secs_f64();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and below the bounds of rate and duration"
        )]
        let about = (seconds * self.per_second) as u64;
        // The product is rounded: the neighbours decide.
        let near = about.saturating_sub(1)..=about + 2;
        let mut later = near.skip_while(|ticket| self.start(*ticket) < instant);
        later.next().unwrap_or(about)
    }
}

/// Ends a run before its time, for everybody.
#[derive(Debug)]
pub(super) struct Stop {
    stopped: AtomicBool,
    at_ns: AtomicU64,
}

impl Stop {
    /// Nobody has stopped yet.
    pub(super) fn new() -> Self {
        Stop {
            stopped: AtomicBool::new(false),
            at_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// Ends the run; `now` is kept as its end where it is the first.
    pub(super) fn stop(&self, now: Duration) {
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.at_ns.fetch_min(now_ns, Ordering::Relaxed);
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the run is over.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// When it was stopped, at most `end`.
    pub(super) fn at(&self, end: Duration) -> Duration {
        end.min(Duration::from_nanos(self.at_ns.load(Ordering::Relaxed)))
    }
}

/// Hands out the calls of an open loop as they become due, one permit each, to the lanes in turn;
/// a thread of its own, since the runtime's timers are a millisecond coarse. At the end it closes
/// the lanes' semaphores: calls that nobody has begun by then are never made.
pub(super) fn spawn(
    schedule: Schedule,
    lanes: Vec<Arc<Semaphore>>,
    clock: Arc<SystemClock>,
    stop: Arc<Stop>,
) -> std::io::Result<()> {
    let pacer = move || {
        let total = schedule.before(schedule.span.end);
        let mut released = 0;
        while released < total && !stop.is_stopped() {
            let now = clock.monotonic();
            // The last one whose start has come, and all before it.
            let due = schedule.before(now + Duration::from_nanos(1)).min(total);
            for ticket in released..due {
                if let Some(lane) = lanes.get(lane_of(ticket, lanes.len())) {
                    lane.add_permits(1);
                }
            }
            released = due;
            nap(schedule.start(released), clock.as_ref());
        }
        while !stop.is_stopped() && clock.monotonic() < schedule.span.end {
            nap(schedule.span.end, clock.as_ref());
        }
        for lane in &lanes {
            lane.close();
        }
    };
    thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(pacer)
        .map(drop)
}

/// The lane that makes a call.
fn lane_of(ticket: u64, lanes: usize) -> usize {
    usize::try_from(ticket % lanes.max(1) as u64).unwrap_or(0)
}

fn nap(until: Duration, clock: &SystemClock) {
    thread::sleep(until.saturating_sub(clock.monotonic()).min(NAP_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_even_and_counted() {
        let span = Span {
            start: Duration::from_secs(5),
            warm: Duration::from_secs(6),
            end: Duration::from_secs(8),
        };
        let schedule = Schedule::new(span, 1_000.0);
        assert_eq!(schedule.start(0), Duration::from_secs(5));
        assert_eq!(schedule.start(1_500), Duration::from_millis(6_500));
        assert_eq!(schedule.before(span.start), 0);
        assert_eq!(schedule.before(span.warm), 1_000);
        assert_eq!(schedule.before(span.end), 3_000);
        for rate in [3.0, 200.0, 333.3, 2_000.0] {
            let schedule = Schedule::new(span, rate);
            for ticket in [1, 2, 21, 22, 219, 220, 221] {
                let start = schedule.start(ticket);
                assert_eq!(schedule.before(start), ticket, "{ticket} at {rate}");
                let next = start + Duration::from_nanos(1);
                assert_eq!(schedule.before(next), ticket + 1, "{ticket} at {rate}");
            }
        }
    }

    #[test]
    fn the_first_stop_counts() {
        let stop = Stop::new();
        let end = Duration::from_secs(9);
        assert_eq!(stop.at(end), end);
        stop.stop(Duration::from_secs(4));
        stop.stop(Duration::from_secs(5));
        assert!(stop.is_stopped());
        assert_eq!(stop.at(end), Duration::from_secs(4));
    }
}
