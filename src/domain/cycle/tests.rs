use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_millis(instant.as_millisecond())
}

#[test]
fn cycles_are_anchored() {
    // anchor, now, index, start, end
    let table = [
        // A plain day: the start belongs to the cycle, the end does not.
        (
            "2026-05-16T10:00:00Z",
            "2026-05-16T10:00:00Z",
            0,
            "2026-05-16T10:00:00Z",
            "2026-06-16T10:00:00Z",
        ),
        (
            "2026-05-16T10:00:00Z",
            "2026-06-16T09:59:59.999Z",
            0,
            "2026-05-16T10:00:00Z",
            "2026-06-16T10:00:00Z",
        ),
        (
            "2026-05-16T10:00:00Z",
            "2026-06-16T10:00:00Z",
            1,
            "2026-06-16T10:00:00Z",
            "2026-07-16T10:00:00Z",
        ),
        (
            "2026-05-16T10:00:00Z",
            "2027-05-16T09:00:00Z",
            11,
            "2027-04-16T10:00:00Z",
            "2027-05-16T10:00:00Z",
        ),
        // Before the anchor it is the first cycle.
        (
            "2026-05-16T10:00:00Z",
            "2026-05-16T09:59:59.999Z",
            0,
            "2026-05-16T10:00:00Z",
            "2026-06-16T10:00:00Z",
        ),
        (
            "2026-05-16T10:00:00Z",
            "2001-01-01T00:00:00Z",
            0,
            "2026-05-16T10:00:00Z",
            "2026-06-16T10:00:00Z",
        ),
        // The 31st: a short month does not move the anchor.
        (
            "2026-01-31T10:00:00Z",
            "2026-02-28T09:59:59.999Z",
            0,
            "2026-01-31T10:00:00Z",
            "2026-02-28T10:00:00Z",
        ),
        (
            "2026-01-31T10:00:00Z",
            "2026-02-28T10:00:00Z",
            1,
            "2026-02-28T10:00:00Z",
            "2026-03-31T10:00:00Z",
        ),
        (
            "2026-01-31T10:00:00Z",
            "2026-03-30T23:00:00Z",
            1,
            "2026-02-28T10:00:00Z",
            "2026-03-31T10:00:00Z",
        ),
        (
            "2026-01-31T10:00:00Z",
            "2026-04-01T00:00:00Z",
            2,
            "2026-03-31T10:00:00Z",
            "2026-04-30T10:00:00Z",
        ),
        (
            "2026-01-31T10:00:00Z",
            "2026-04-30T10:00:00Z",
            3,
            "2026-04-30T10:00:00Z",
            "2026-05-31T10:00:00Z",
        ),
        // Leap years, the century rule included.
        (
            "2028-01-31T00:00:00Z",
            "2028-02-29T00:00:00Z",
            1,
            "2028-02-29T00:00:00Z",
            "2028-03-31T00:00:00Z",
        ),
        (
            "2027-12-30T00:00:00Z",
            "2028-02-28T12:00:00Z",
            1,
            "2028-01-30T00:00:00Z",
            "2028-02-29T00:00:00Z",
        ),
        (
            "2099-12-31T00:00:00Z",
            "2100-02-28T00:00:00Z",
            2,
            "2100-02-28T00:00:00Z",
            "2100-03-31T00:00:00Z",
        ),
        (
            "2000-01-31T00:00:00Z",
            "2000-02-29T00:00:00Z",
            1,
            "2000-02-29T00:00:00Z",
            "2000-03-31T00:00:00Z",
        ),
        // Anchored on 29 February.
        (
            "2028-02-29T08:00:00Z",
            "2029-02-28T07:59:59.999Z",
            11,
            "2029-01-29T08:00:00Z",
            "2029-02-28T08:00:00Z",
        ),
        (
            "2028-02-29T08:00:00Z",
            "2029-02-28T08:00:00Z",
            12,
            "2029-02-28T08:00:00Z",
            "2029-03-29T08:00:00Z",
        ),
        (
            "2028-02-29T08:00:00Z",
            "2032-02-29T08:00:00Z",
            48,
            "2032-02-29T08:00:00Z",
            "2032-03-29T08:00:00Z",
        ),
        // Milliseconds count.
        (
            "2026-12-31T23:59:59.999Z",
            "2027-01-31T23:59:59.998Z",
            0,
            "2026-12-31T23:59:59.999Z",
            "2027-01-31T23:59:59.999Z",
        ),
        (
            "2026-12-31T23:59:59.999Z",
            "2027-01-31T23:59:59.999Z",
            1,
            "2027-01-31T23:59:59.999Z",
            "2027-02-28T23:59:59.999Z",
        ),
    ];
    for (anchor, now, index, start, end) in table {
        let expected = Cycle {
            index,
            start: at(start),
            end: at(end),
        };
        assert_eq!(
            Cycle::at(at(anchor), at(now)),
            expected,
            "{anchor} at {now}"
        );
    }
}

#[test]
fn instants_out_of_range_count_as_the_nearer_bound() {
    let far = [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_millis);
    for anchor in far {
        for now in far {
            let clamped = Cycle::at(anchor.clamp(EARLIEST, LATEST), now.clamp(EARLIEST, LATEST));
            assert_eq!(Cycle::at(anchor, now), clamped);
            assert!(clamped.start < clamped.end);
        }
    }
    let last = Cycle::at(EARLIEST, LATEST);
    assert_eq!(last.start, at("9000-01-01T00:00:00Z"));
    assert_eq!(last.end, at("9000-02-01T00:00:00Z"));
    assert_eq!(last.index, 7000 * 12);
}

proptest! {
    /// Time has no gap and no overlap: every instant from the anchor on lies in the cycle that it
    /// is given, and the cycle's end is the start of the next.
    #[test]
    fn cycles_tile_time(
        anchor in EARLIEST.millis()..4_102_444_800_000,
        later in 0..100_000_000_000_000i64,
    ) {
        let anchor = Timestamp::from_millis(anchor);
        let now = Timestamp::from_millis(anchor.millis() + later);
        let cycle = Cycle::at(anchor, now);
        prop_assert!(cycle.start <= now && now < cycle.end);
        prop_assert_eq!(Cycle::at(anchor, cycle.start), cycle);
        let last = Timestamp::from_millis(cycle.end.millis() - 1);
        prop_assert_eq!(Cycle::at(anchor, last), cycle);
        let next = Cycle::at(anchor, cycle.end);
        prop_assert_eq!(next.index, cycle.index + 1);
        prop_assert_eq!(next.start, cycle.end);
        if cycle.index == 0 {
            prop_assert_eq!(cycle.start, anchor);
        }
        let days = (cycle.end.millis() - cycle.start.millis()) / 86_400_000;
        prop_assert!((28..=31).contains(&days));
    }
}
