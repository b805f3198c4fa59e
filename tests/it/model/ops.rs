//! What a random run does: small pools of ids, so that retries, conflicts and requests on every
//! state are frequent; mostly small amounts, sometimes close to 2^53; time that jumps to just
//! before, at and just after the instants where something ends.

use proptest::{option, prelude::*};
use tollgate::domain::{account::Status, credits::MAX_CREDITS, grant::GrantKind, usage::Outcome};

/// One request, and how time moves before it.
#[derive(Clone, Debug)]
pub struct Step {
    pub jump: Jump,
    pub op: Op,
}

/// How time moves. An instant in the past moves nothing.
#[derive(Clone, Copy, Debug)]
pub enum Jump {
    None,
    Ms(u64),
    /// To a hold's deadline.
    Deadline {
        which: usize,
        offset_ms: i64,
    },
    /// To where a lot begins or ends.
    Lot {
        which: usize,
        ends: bool,
        offset_ms: i64,
    },
    /// To the end of the cycle.
    Cycle {
        offset_ms: i64,
    },
    Days(u64),
}

/// How a request names its amount.
#[derive(Clone, Copy, Debug)]
pub enum Say {
    Credits(u64),
    /// Priced by the test: one credit each, and two.
    Usage {
        input: u64,
        output: u64,
    },
    /// Credits: what there is to be spent, and a difference.
    Available(i64),
    /// Credits: what the reservation has been charged, and a difference.
    Charged(i64),
    /// Credits: what it has been charged and holds, and a difference.
    Held(i64),
}

/// A request.
#[derive(Clone, Debug)]
pub enum Op {
    Reserve {
        id: u8,
        mode: u8,
        amount: Say,
        min: Option<u64>,
        ttl_ms: Option<u64>,
        dry_run: bool,
    },
    Extend {
        id: u8,
        extension: u8,
        add: u64,
        ttl_ms: Option<u64>,
    },
    Commit {
        id: u8,
        amount: Say,
        outcome: Outcome,
        keep_open: bool,
        next: u64,
        mistaken: bool,
    },
    Release {
        id: u8,
    },
    Charge {
        id: u8,
        mode: u8,
        amount: Say,
        force: bool,
    },
    Sweep {
        max: usize,
    },
    Balance,
    Grant {
        kind: GrantKind,
        amount: u64,
        priority: i32,
        from_s: i64,
        lasts_s: Option<u64>,
    },
    Void {
        which: usize,
    },
    Refund {
        id: u8,
        credits: u64,
    },
    SetStatus(Status),
    ChangePlan {
        plan: usize,
        at_renewal: Option<bool>,
    },
    /// A hot command that was sent before, word by word.
    Again {
        back: usize,
    },
    /// A change that was applied before.
    Reapply {
        which: usize,
    },
    /// A change whose predecessor is missing.
    Gap,
}

/// The durations that callers ask for.
const TTLS_MS: [u64; 4] = [1, 1_000, 60_000, 3_600_000];

/// How large amounts are.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// Mostly small, now and then close to 2^53.
    Plain,
    /// Mostly close to 2^53 and to the half of it, two of which meet there.
    Edge,
}

fn amount(scale: Scale) -> impl Strategy<Value = u64> {
    const HALF: u64 = MAX_CREDITS / 2;
    let (small, halves, edge) = match scale {
        Scale::Plain => (10, 1, 1),
        Scale::Edge => (2, 12, 12),
    };
    prop_oneof![
        2 => Just(0u64),
        2 * small => 1..80u64,
        small => 80..700u64,
        2 => 700..6_000u64,
        halves => HALF - 2..=HALF + 2,
        edge => MAX_CREDITS - 3..=MAX_CREDITS,
    ]
}

fn say(scale: Scale) -> impl Strategy<Value = Say> {
    prop_oneof![
        6 => amount(scale).prop_map(Say::Credits),
        3 => (0..60u64, 0..60u64).prop_map(|(input, output)| Say::Usage { input, output }),
        1 => (-2..=2i64).prop_map(Say::Available),
    ]
}

fn report(scale: Scale) -> impl Strategy<Value = Say> {
    prop_oneof![
        4 => say(scale),
        4 => (-60..60i64).prop_map(Say::Charged),
        3 => (-60..60i64).prop_map(Say::Held),
    ]
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.4, prop::sample::select(TTLS_MS.to_vec()))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![8 => Just(Outcome::Succeeded), 1 => Just(Outcome::Failed),
        1 => Just(Outcome::Cancelled)]
}

fn jump() -> impl Strategy<Value = Jump> {
    let offset_ms = || -1..=1i64;
    prop_oneof![
        60 => Just(Jump::None),
        10 => (1..5_000u64).prop_map(Jump::Ms),
        6 => (0..8usize, offset_ms()).prop_map(|(which, offset_ms)| Jump::Deadline { which, offset_ms }),
        4 => (0..8usize, any::<bool>(), offset_ms())
            .prop_map(|(which, ends, offset_ms)| Jump::Lot { which, ends, offset_ms }),
        3 => offset_ms().prop_map(|offset_ms| Jump::Cycle { offset_ms }),
        2 => (1..100u64).prop_map(Jump::Days),
    ]
}

fn hot_op(scale: Scale) -> impl Strategy<Value = Op> {
    let id = || prop_oneof![3 => 0..2u8, 2 => 2..5u8];
    let mode = || prop_oneof![5 => Just(0u8), 1 => Just(1u8)];
    prop_oneof![
        10 => (id(), mode(), say(scale), option::weighted(0.25, prop_oneof![1 => Just(0), 2 => 1..90u64]), ttl(), prop::bool::weighted(0.1))
            .prop_map(|(id, mode, amount, min, ttl_ms, dry_run)| {
                Op::Reserve { id, mode, amount, min, ttl_ms, dry_run }
            }),
        5 => (id(), 0..3u8, prop_oneof![1 => Just(0), 1 => amount(scale)], ttl())
            .prop_map(|(id, extension, add, ttl_ms)| Op::Extend { id, extension, add, ttl_ms }),
        12 => (id(), report(scale), outcome(), any::<bool>(), prop_oneof![2 => Just(0), 1 => amount(scale)],
            prop::bool::weighted(0.05))
            .prop_map(|(id, amount, outcome, keep_open, next, mistaken)| {
                Op::Commit { id, amount, outcome, keep_open, next, mistaken }
            }),
        4 => id().prop_map(|id| Op::Release { id }),
        4 => (0..7u8, mode(), say(scale), any::<bool>())
            .prop_map(|(id, mode, amount, force)| Op::Charge { id, mode, amount, force }),
        2 => (0..4usize).prop_map(|max| Op::Sweep { max }),
        1 => Just(Op::Balance),
        7 => (1..4usize).prop_map(|back| Op::Again { back }),
    ]
}

fn grant(scale: Scale) -> impl Strategy<Value = Op> {
    let kind = prop::sample::select(vec![
        GrantKind::Pack,
        GrantKind::Promo,
        GrantKind::Adjustment,
    ]);
    let priority = prop_oneof![3 => Just(100), 1 => 99..=101i32];
    let from_s = prop_oneof![4 => Just(0), 1 => -100..0i64, 2 => 1..10_000i64];
    let lasts_s = option::weighted(0.5, prop_oneof![1..100u64, 100..5_000_000u64]);
    (kind, amount(scale), priority, from_s, lasts_s).prop_map(
        |(kind, amount, priority, from_s, lasts_s)| Op::Grant {
            kind,
            amount,
            priority,
            from_s,
            lasts_s,
        },
    )
}

fn admin_op(scale: Scale) -> impl Strategy<Value = Op> {
    let status = prop_oneof![
        6 => Just(Status::Active),
        2 => Just(Status::Suspended),
        1 => Just(Status::Closed),
    ];
    prop_oneof![
        8 => grant(scale),
        2 => (0..8usize).prop_map(|which| Op::Void { which }),
        8 => (0..7u8, prop_oneof![1 => Just(0), 1 => 1..60u64])
            .prop_map(|(id, credits)| Op::Refund { id, credits }),
        3 => status.prop_map(Op::SetStatus),
        5 => (0..5usize, any::<Option<bool>>())
            .prop_map(|(plan, at_renewal)| Op::ChangePlan { plan, at_renewal }),
        2 => (0..8usize).prop_map(|which| Op::Reapply { which }),
        1 => Just(Op::Gap),
    ]
}

/// One step of a run.
pub fn step(scale: Scale) -> impl Strategy<Value = Step> {
    let op = prop_oneof![4 => hot_op(scale), 1 => admin_op(scale)];
    (jump(), op).prop_map(|(jump, op)| Step { jump, op })
}
