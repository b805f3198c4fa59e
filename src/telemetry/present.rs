//! The call that is worked on now: its ids, its trace, and what its time went to.
//!
//! A call's task puts it in place each time that it is polled and takes it away afterwards, so
//! that whatever runs meanwhile (a store, a line of the log) finds it without being handed it. It
//! costs two moves of a few words, and no allocation. What runs on another task than the call's
//! finds nothing, and says nothing.

use std::{cell::RefCell, mem, time::Duration};

use super::trace::{Child, Trace, TraceId};

/// What is kept of a call's time for its answer: a fifth of what is left, and no more than this.
const ANSWER_PART: u32 = 5;
const ANSWER_MAX: Duration = Duration::from_millis(50);

thread_local! {
    static PRESENT: RefCell<Present> = RefCell::new(Present::default());
}

/// What is known of a call.
#[derive(Debug, Default)]
pub struct Present {
    pub(super) in_call: bool,
    /// When its time is up, by the monotonic clock; absent: never.
    pub(super) ends_at: Option<Duration>,
    /// The caller's, or made where one is needed.
    pub(super) request_id: Option<Box<str>>,
    /// The caller's or the sampled one.
    pub(super) trace_id: Option<TraceId>,
    pub(super) trace: Option<Box<Trace>>,
    pub(super) spent: Spent,
}

/// What a call's time went to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) hot: Duration,
    pub(super) hot_steps: u32,
    pub(super) ledger: Duration,
    pub(super) ledger_wait: Duration,
}

/// Something that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A step of the hot store.
    Hot,
    /// An operation of the ledger.
    Ledger,
    /// The wait of a settlement for the ledger.
    LedgerWait,
}

impl Present {
    /// The call's time is up at this instant of the monotonic clock.
    pub fn ends_at(&mut self, instant: Duration) {
        self.ends_at = Some(instant);
    }

    /// The id that the call goes by in logs and answers.
    pub fn request_id(&mut self) -> &str {
        self.request_id
            .get_or_insert_with(|| format!("{:016x}", rand::random::<u64>()).into())
    }
}

/// Puts a call back where it came from, whatever happens meanwhile.
struct Placed<'p>(&'p mut Present);

impl Placed<'_> {
    fn exchange(&mut self) {
        // Nothing below holds on to it: every access ends before it returns.
        PRESENT.with(|present| {
            if let Ok(mut present) = present.try_borrow_mut() {
                mem::swap(&mut *present, self.0);
            }
        });
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        self.exchange();
    }
}

/// Works on a call.
pub fn within<T>(call: &mut Present, work: impl FnOnce() -> T) -> T {
    let mut placed = Placed(call);
    placed.exchange();
    work()
}

/// Notes that the present call, where there is one, spent time; instants by the monotonic clock.
pub fn spent(
    part: Part,
    name: &'static str,
    started: Duration,
    ended: Duration,
    error: Option<&'static str>,
) {
    with(|present| {
        if !present.in_call {
            return;
        }
        let took = ended.saturating_sub(started);
        match part {
            Part::Hot => {
                present.spent.hot += took;
                present.spent.hot_steps += 1;
            }
            Part::Ledger => present.spent.ledger += took,
            Part::LedgerWait => present.spent.ledger_wait += took,
        }
        if let Some(trace) = &mut present.trace {
            trace.child(Child {
                name,
                started,
                ended,
                error,
            });
        }
    });
}

/// How long a part of the present call may wait, at most so long: its caller is still to be
/// answered in time.
pub fn patience(now: Duration, most: Duration) -> Duration {
    let mut ends_at = None;
    with(|present| ends_at = present.ends_at);
    ends_at.map_or(most, |instant| {
        let left = instant.saturating_sub(now);
        most.min(left.saturating_sub(ANSWER_MAX.min(left / ANSWER_PART)))
    })
}

/// Whether there is a present call and it is sampled.
pub fn is_sampled() -> bool {
    let mut is_sampled = false;
    with(|present| is_sampled = present.trace.is_some());
    is_sampled
}

/// Says something about the present call, where it is sampled.
pub fn describe(say: impl FnOnce(&mut Trace)) {
    with(|present| {
        if let Some(trace) = &mut present.trace {
            say(trace);
        }
    });
}

/// The id of the present call, where there is one.
pub fn request_id() -> Option<String> {
    ids().map(|(request_id, _)| request_id)
}

/// The ids of the present call, where there is one.
pub(super) fn ids() -> Option<(String, Option<TraceId>)> {
    let mut found = None;
    with(|present| {
        if present.in_call {
            found = Some((present.request_id().to_owned(), present.trace_id));
        }
    });
    found
}

/// A line of the log that is written while the call is being changed finds none.
fn with(look: impl FnOnce(&mut Present)) {
    PRESENT.with(|present| {
        if let Ok(mut present) = present.try_borrow_mut() {
            look(&mut present);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Present {
        Present {
            in_call: true,
            request_id: Some(id.into()),
            ..Present::default()
        }
    }

    #[test]
    fn calls_take_turns_and_keep_apart() {
        let (mut first, mut second) = (call("first"), call("second"));
        let ms = Duration::from_millis;
        assert_eq!(request_id(), None);
        within(&mut first, || {
            spent(Part::Hot, "hot.reserve", ms(1), ms(3), None);
            within(&mut second, || {
                assert_eq!(request_id().as_deref(), Some("second"));
                spent(Part::LedgerWait, "ledger.wait", ms(1), ms(6), None);
            });
            assert_eq!(request_id().as_deref(), Some("first"));
        });
        spent(Part::Hot, "hot.sweep", ms(1), ms(9), None);
        assert_eq!((first.spent.hot, first.spent.hot_steps), (ms(2), 1));
        assert_eq!(first.spent.ledger_wait, Duration::ZERO);
        assert_eq!(second.spent.ledger_wait, ms(5));
    }

    #[test]
    fn a_panic_leaves_no_call_behind() {
        let mut broken = call("broken");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            within(&mut broken, || panic!("on purpose"));
        }));
        assert!(panicked.is_err());
        assert_eq!(request_id(), None);
        assert_eq!(broken.request_id(), "broken");
    }

    #[test]
    fn an_id_is_made_once_where_the_caller_has_none() {
        let mut present = Present::default();
        let made = present.request_id().to_owned();
        assert_eq!(made.len(), 16);
        assert_eq!(present.request_id(), made);
    }
}
