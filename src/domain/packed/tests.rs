use std::sync::Arc;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::domain::{
    credits::Credits,
    decision::{Denial, DenialReason},
    entry::Receipt,
    ids::{ExtensionId, GrantId},
    rate_card::{LineItem, Price},
    reservation::{CommitRequest, Extension, LastCommit, Origin},
    usage::{Action, Amount, Outcome, Usage},
};

fn amount(quantities: &[(&str, u64)]) -> Amount {
    let mut usage = Usage::default();
    for (meter, quantity) in quantities {
        usage.set(meter, *quantity);
    }
    Amount::Usage(usage)
}

fn credits(credits: u64) -> Credits {
    Credits::new(credits).unwrap()
}

fn ids() -> (AccountId, ReservationId) {
    (
        AccountId::new("acme").unwrap(),
        ReservationId::new("r1").unwrap(),
    )
}

fn open() -> Reservation {
    let (account_id, id) = ids();
    let action = Action {
        mode: "agent".to_owned(),
        model: "claude-haiku".to_owned(),
        conversation_id: "Gespräch".to_owned(),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
    };
    let origin = Origin::Reserve {
        amount: amount(&[("input_tokens", 12_400), ("gpu_ms", 7), ("tool_calls", 1)]),
        min_credits: Some(credits(3)),
        ttl_ms: Some(60_000),
    };
    let now = Timestamp::from_millis(1_769_853_600_000);
    let version = Arc::from("2026-01");
    let given = (&Arc::new(action), &version);
    Reservation {
        holds: vec![draw("plan:0", 18), draw("pack", u64::MAX)],
        ..Reservation::new((&account_id, &id), given, origin, 60_000, now)
    }
}

fn draw(grant_id: &str, credits: u64) -> Draw {
    Draw {
        grant_id: GrantId::new(grant_id).unwrap(),
        credits,
    }
}

fn price() -> Price {
    Price {
        credits: 18,
        rate_card_version: Arc::from("2026-01"),
        tier: "standard".to_owned(),
        items: vec![LineItem {
            meter: "input_tokens".to_owned(),
            quantity: 12_400,
            rate: Decimal::new(1, 12),
            amount: Decimal::MAX,
        }],
        subtotal: Decimal::new(17_565, 3),
        multiplier: Decimal::ONE,
        exact: Decimal::new(17_565, 3),
    }
}

fn settled() -> Reservation {
    let receipt = Receipt {
        credits: 18,
        corrected: 1,
        price: Some(Arc::new(price())),
        returned: 2,
        overage: 3,
        debt_added: 4,
        written_off: 5,
        draws: vec![draw("plan:0", 18)],
        late: true,
        sequence: 6,
    };
    let last = LastCommit {
        request: CommitRequest {
            amount: Amount::Credits(credits(18)),
            outcome: Outcome::Cancelled,
            keep_open: true,
            next_hold: credits(9),
        },
        receipt,
        next_hold_denial: Some(Denial {
            reason: DenialReason::DebtOutstanding,
            required: 9,
            available: 8,
        }),
    };
    let extension = Extension {
        id: ExtensionId::new("e1").unwrap(),
        add: credits(5),
        ttl_ms: None,
    };
    Reservation {
        state: State::Expired,
        charges: vec![draw("plan:0", 18)],
        charged: 1,
        debt: 2,
        written_off: 3,
        commits: 4,
        last_commit: Some(Box::new(last)),
        extensions: vec![extension],
        returned: 5,
        ended_at: Some(Timestamp::from_millis(-1)),
        ..open()
    }
}

fn others() -> [Reservation; 2] {
    let charge = Origin::Charge {
        amount: amount(&[]),
        force: true,
    };
    let commit = Origin::Commit {
        amount: Amount::Credits(Credits::ZERO),
    };
    [(State::Committed, charge), (State::Released, commit)].map(|(state, origin)| Reservation {
        state,
        origin,
        ..open()
    })
}

#[test]
fn every_field_comes_back() {
    let (account_id, id) = ids();
    let [charge, commit] = others();
    for reservation in [open(), settled(), charge, commit] {
        let packed = Packed::new(&reservation);
        let stored = Packed::from_bytes(packed.as_bytes());
        assert_eq!(stored.unpack(&account_id, &id), Ok(reservation.clone()));
        let summary = Summary {
            state: reservation.state,
            ended_at: reservation.ended_at,
            expires_at: reservation.expires_at,
            charged: reservation.charged,
            holds: reservation.holds.clone(),
            mode: "agent".to_owned(),
        };
        assert_eq!(stored.summary(), Ok(summary));
        let terms = Terms {
            action: Arc::clone(&reservation.action),
            rate_card_version: Arc::clone(&reservation.rate_card_version),
        };
        assert_eq!(stored.terms(), Ok(terms));
        let Reservation {
            state,
            ended_at,
            expires_at,
            ..
        } = reservation;
        assert_eq!(stored.times(), Ok((state, ended_at, expires_at)));
    }
}

/// The size that the module's introduction promises: five meters, one grant, a text for each id.
#[test]
fn usual_reservations_take_few_bytes() {
    let usage = amount(&[
        ("input_tokens", 12_400),
        ("cached_input_tokens", 30_000),
        ("output_tokens", 1_850),
        ("tool_calls", 7),
        ("file_operations", 9),
    ]);
    let mut usual = open();
    usual.holds.truncate(1);
    usual.origin = Origin::Commit {
        amount: usage.clone(),
    };
    let open_bytes = Packed::new(&usual).as_bytes().len();
    let item = price().items.remove(0);
    let mut price = price();
    price.items = vec![
        LineItem {
            amount: Decimal::new(12_400, 4),
            ..item
        };
        5
    ];
    let mut last = *settled().last_commit.unwrap();
    last.request.amount = usage;
    last.receipt.price = Some(Arc::new(price));
    usual.charges = std::mem::take(&mut usual.holds);
    usual.last_commit = Some(Box::new(last));
    let settled_bytes = Packed::new(&usual).as_bytes().len();
    assert!(open_bytes <= 110, "{open_bytes}");
    assert!(settled_bytes <= 250, "{settled_bytes}");
}

/// What was stored once is read for ever: a change of any field here needs another format number.
#[test]
fn what_was_stored_before_is_what_is_stored_now() {
    let (account_id, id) = ids();
    let stored = [
        (
            open(),
            include_bytes!("../../../tests/fuzz/corpus/packed/open-1").as_slice(),
        ),
        (
            settled(),
            include_bytes!("../../../tests/fuzz/corpus/packed/settled-1"),
        ),
    ];
    for (reservation, bytes) in stored {
        let packed = Packed::from_bytes(bytes);
        assert_eq!(packed.unpack(&account_id, &id).as_ref(), Ok(&reservation));
        assert_eq!(Packed::new(&reservation), packed);
    }
    let bytes = include_bytes!("../../../tests/fuzz/corpus/packed/entry-1");
    let entry = unpack_entry(bytes).unwrap();
    let json = include_str!("../../../tests/fuzz/corpus/rows/entry-1");
    assert_eq!(serde_json::to_string(&entry).unwrap(), json.trim_end());
    assert_eq!(pack_entry(&entry), bytes);
}

#[test]
fn bytes_that_end_early_or_late_are_refused() {
    let (account_id, id) = ids();
    let packed = Packed::new(&settled());
    let whole = packed.as_bytes();
    for length in 0..whole.len() {
        let cut = Packed::from_bytes(&whole[..length]);
        assert!(cut.unpack(&account_id, &id).is_err(), "{length}");
    }
    let longer = Packed::from_bytes(&[whole, &[0]].concat());
    assert!(longer.unpack(&account_id, &id).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        place in 0usize..400,
        byte: u8,
        random in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (account_id, id) = ids();
        let mut damaged = Packed::new(&settled()).as_bytes().to_vec();
        let place = place % damaged.len();
        damaged[place] = byte;
        let random = [vec![FORMAT], random].concat();
        for bytes in [damaged, random] {
            let packed = Packed::from_bytes(&bytes);
            let read = packed.unpack(&account_id, &id);
            if let Ok(reservation) = read {
                let again = Packed::new(&reservation).unpack(&account_id, &id);
                prop_assert_eq!(again, Ok(reservation));
            }
            let _ = packed.summary();
        }
    }

    #[test]
    fn numbers_of_every_size_come_back(number: u64, signed: i64) {
        let mut out = Vec::new();
        number.put(&mut out);
        signed.put(&mut out);
        let mut from = Reader::new(&out);
        prop_assert_eq!(u64::read(&mut from), Ok(number));
        prop_assert_eq!(i64::read(&mut from), Ok(signed));
        prop_assert_eq!(from.finish(), Ok(()));
    }
}
