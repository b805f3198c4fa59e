//! Entries of usage for tests, as odd as the types allow.

use std::sync::Arc;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{Entry, EntryKind, GrantMove, Receipt, Settlement};
use crate::domain::{
    account::{AccountHead, OveragePolicy, PlanTerm, Status},
    credits::Credits,
    cycle::Cycle,
    grant::Draw,
    ids::{AccountId, GrantId, PlanId, ReservationId},
    rate_card::{LineItem, Price},
    timestamp::Timestamp,
    usage::{Action, Amount, Outcome, Usage},
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..100u64, any::<u64>()]
}

fn signed() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), -100..100i64, any::<i64>()]
}

fn at() -> impl Strategy<Value = Timestamp> {
    signed().prop_map(Timestamp::from_millis)
}

/// Mostly plain, now and then with what needs escapes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-z -~&&[^\"\\\\]]{0,12}", 8 => "[ä-ü€😀]{0,4}", 1 => ".{0,6}"]
}

fn id() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._:-]{1,40}"
}

fn decimal() -> impl Strategy<Value = Decimal> {
    (number(), 0..=24u32).prop_map(|(n, scale)| Decimal::from_i128_with_scale(n.into(), scale))
}

fn draws() -> BoxedStrategy<Vec<Draw>> {
    let draw = (id(), number()).prop_map(|(id, credits)| Draw {
        grant_id: GrantId::new(&id).unwrap(),
        credits,
    });
    proptest::collection::vec(draw, 0..3).boxed()
}

fn moves() -> BoxedStrategy<Vec<GrantMove>> {
    let moved = (
        id(),
        signed(),
        signed(),
        signed(),
        proptest::option::of(at()),
    )
        .prop_map(|(id, amount, used, expired, voided_at)| GrantMove {
            amount,
            used,
            expired,
            voided_at,
            ..GrantMove::of(&GrantId::new(&id).unwrap())
        });
    proptest::collection::vec(moved, 0..3).boxed()
}

fn usage() -> BoxedStrategy<Usage> {
    let custom = proptest::collection::vec((id(), number()), 0..3);
    (
        [number(), number(), number(), number(), number(), number()],
        custom,
    )
        .prop_map(|(contract, custom)| {
            let mut usage = Usage::of(contract);
            for (meter, quantity) in custom {
                usage.set(&meter, quantity);
            }
            usage
        })
        .boxed()
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        usage().prop_map(Amount::Usage),
        (0..1000u64).prop_map(|credits| Amount::Credits(Credits::new(credits).unwrap())),
    ]
}

fn price() -> BoxedStrategy<Price> {
    let item =
        (text(), number(), decimal(), decimal()).prop_map(|(meter, quantity, rate, amount)| {
            LineItem {
                meter,
                quantity,
                rate,
                amount,
            }
        });
    let items = proptest::collection::vec(item, 0..3);
    let sums = (decimal(), decimal(), decimal());
    (number(), text(), text(), items, sums)
        .prop_map(|(credits, version, tier, items, sums)| Price {
            credits,
            rate_card_version: Arc::from(version),
            tier,
            items,
            subtotal: sums.0,
            multiplier: sums.1,
            exact: sums.2,
        })
        .boxed()
}

fn receipt() -> BoxedStrategy<Receipt> {
    let numbers = [
        number(),
        number(),
        number(),
        number(),
        number(),
        number(),
        number(),
    ];
    let price = proptest::option::of(price().prop_map(Arc::new));
    (numbers, price, draws(), any::<bool>())
        .prop_map(|(n, price, draws, late)| Receipt {
            credits: n[0],
            corrected: n[1],
            price,
            returned: n[2],
            overage: n[3],
            debt_added: n[4],
            written_off: n[5],
            draws,
            late,
            sequence: n[6],
        })
        .boxed()
}

fn settlement() -> BoxedStrategy<Settlement> {
    let labels = proptest::collection::btree_map(text(), text(), 0..3);
    let action = (text(), text(), text(), labels);
    let ended = (any::<u32>(), any::<bool>(), 0..3usize, number());
    (action, amount(), ended, receipt())
        .prop_map(|(action, amount, ended, receipt)| Settlement {
            commit: ended.0,
            last: ended.1,
            action: Arc::new(Action {
                mode: action.0,
                model: action.1,
                conversation_id: action.2,
                labels: action.3,
            }),
            amount,
            outcome: Outcome::ALL[ended.2],
            held_before: ended.3,
            receipt,
        })
        .boxed()
}

fn plan() -> impl Strategy<Value = PlanTerm> {
    (id(), number()).prop_map(|(id, allowance)| PlanTerm {
        id: PlanId::new(&id).unwrap(),
        allowance,
    })
}

fn head() -> BoxedStrategy<AccountHead> {
    let status = prop_oneof![
        Just(Status::Active),
        Just(Status::Suspended),
        Just(Status::Closed)
    ];
    let overage = prop_oneof![Just(OveragePolicy::Debt), Just(OveragePolicy::Absorb)];
    let plans = (plan(), proptest::option::of(plan()));
    let times = (at(), any::<u32>(), at(), at());
    (status, overage, plans, times, number(), number())
        .prop_map(
            |(status, overage, plans, times, debt, applied_change)| AccountHead {
                status,
                plan: plans.0,
                next_plan: plans.1,
                overage,
                anchor: times.0,
                cycle: Cycle {
                    index: times.1,
                    start: times.2,
                    end: times.3,
                },
                debt,
                applied_change,
            },
        )
        .boxed()
}

/// An entry of usage, without a reason, an actor or a change.
pub(in crate::domain) fn usage_entry() -> BoxedStrategy<Entry> {
    let ids = (id(), proptest::option::of(id()));
    let numbers = (number(), signed(), number(), number(), at());
    let settlement = proptest::option::of(settlement().prop_map(Box::new));
    (ids, numbers, draws(), settlement, moves(), head())
        .prop_map(|(ids, numbers, draws, settlement, moves, head)| Entry {
            account_id: AccountId::new(&ids.0).unwrap(),
            sequence: numbers.0,
            kind: EntryKind::Usage,
            credits: numbers.1,
            available_after: numbers.2,
            debt_after: numbers.3,
            draws,
            occurred_at: numbers.4,
            reason: String::new(),
            actor: String::new(),
            reservation_id: ids.1.map(|id| ReservationId::new(&id).unwrap()),
            settlement,
            change: None,
            moves,
            head,
        })
        .boxed()
}
