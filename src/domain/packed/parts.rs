//! The parts of a reservation or an entry as bytes. A struct is its fields, one after the other; an
//! enum is the number of its variant, which never changes, and the variant's fields.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{
    Unreadable,
    codec::{Bytes, Reader, put_text},
};
use crate::domain::{
    credits::Credits,
    decision::{Denial, DenialReason},
    entry::Receipt,
    grant::Draw,
    ids::{ExtensionId, GrantId},
    rate_card::{LineItem, Price},
    reservation::{CommitRequest, Extension, LastCommit, Origin, State},
    timestamp::Timestamp,
    usage::{Action, Amount, METERS, Outcome, Usage},
};

/// Stands for a meter that is not the contract's own.
const OTHER_METER: u8 = u8::MAX;

macro_rules! fields {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {$(
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let $name { $($field),+ } = self;
                $($field.put(out);)+
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
                Ok($name { $($field: Bytes::read(from)?),+ })
            }
        }
    )+};
}

pub(super) use fields;

macro_rules! variants {
    ($($name:ident { $($variant:ident = $number:literal),+ $(,)? })+) => {$(
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $($name::$variant => $number),+ });
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
                match from.byte()? {
                    $($number => Ok($name::$variant),)+
                    _ => Err(Unreadable(concat!("no such ", stringify!($name)))),
                }
            }
        }
    )+};
}

pub(super) use variants;

macro_rules! ids {
    ($($name:ident),+) => {$(
        impl Bytes for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_text(self.as_str(), out);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
                $name::new(from.text()?).map_err(|_| Unreadable("an id is none"))
            }
        }
    )+};
}

pub(super) use ids;

// A mode comes first: it is read without the rest.
fields! {
    Action { mode, model, conversation_id, labels }
    Draw { grant_id, credits }
    CommitRequest { amount, outcome, keep_open, next_hold }
    LastCommit { request, receipt, next_hold_denial }
    Extension { id, add, ttl_ms }
    Denial { reason, required, available }
    Price { credits, rate_card_version, tier, items, subtotal, multiplier, exact }
    Receipt {
        credits, corrected, price, returned, overage, debt_added, written_off, draws, late,
        sequence,
    }
}

variants! {
    State { Open = 0, Committed = 1, Released = 2, Expired = 3 }
    Outcome { Succeeded = 0, Failed = 1, Cancelled = 2 }
    DenialReason {
        InsufficientCredits = 0, BalanceExhausted = 1, DebtOutstanding = 2, AccountSuspended = 3,
        AccountClosed = 4,
    }
}

ids!(GrantId, ExtensionId);

/// A meter of the contract is its place, any other one is its name.
impl Bytes for LineItem {
    fn put(&self, out: &mut Vec<u8>) {
        let LineItem {
            meter,
            quantity,
            rate,
            amount,
        } = self;
        match METERS.iter().position(|known| known == meter) {
            // There are six of them.
            Some(place) => out.push(place as u8),
            None => {
                out.push(OTHER_METER);
                meter.put(out);
            }
        }
        quantity.put(out);
        rate.put(out);
        amount.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let meter = match from.byte()? {
            OTHER_METER => String::read(from)?,
            place => METERS
                .get(usize::from(place))
                .map(|meter| (*meter).to_owned())
                .ok_or(Unreadable("no such meter"))?,
        };
        Ok(LineItem {
            meter,
            quantity: Bytes::read(from)?,
            rate: Bytes::read(from)?,
            amount: Bytes::read(from)?,
        })
    }
}

impl Bytes for Origin {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Origin::Reserve {
                amount,
                min_credits,
                ttl_ms,
            } => {
                out.push(0);
                amount.put(out);
                min_credits.put(out);
                ttl_ms.put(out);
            }
            Origin::Charge { amount, force } => {
                out.push(1);
                amount.put(out);
                force.put(out);
            }
            Origin::Commit { amount } => {
                out.push(2);
                amount.put(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => Ok(Origin::Reserve {
                amount: Bytes::read(from)?,
                min_credits: Bytes::read(from)?,
                ttl_ms: Bytes::read(from)?,
            }),
            1 => Ok(Origin::Charge {
                amount: Bytes::read(from)?,
                force: Bytes::read(from)?,
            }),
            2 => Ok(Origin::Commit {
                amount: Bytes::read(from)?,
            }),
            _ => Err(Unreadable("no such Origin")),
        }
    }
}

impl Bytes for Amount {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Amount::Usage(usage) => {
                out.push(0);
                usage.put(out);
            }
            Amount::Credits(credits) => {
                out.push(1);
                credits.put(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        match from.byte()? {
            0 => Usage::read(from).map(Amount::Usage),
            1 => Credits::read(from).map(Amount::Credits),
            _ => Err(Unreadable("no such Amount")),
        }
    }
}

/// One bit for each of the contract's meters that is there, then their quantities, then the
/// other meters by name.
impl Bytes for Usage {
    fn put(&self, out: &mut Vec<u8>) {
        let quantities = self.of_contract();
        let present = (0..METERS.len()).filter(|place| quantities[*place] > 0);
        let bits = present.fold(0u8, |bits, place| bits | 1 << place);
        out.push(bits);
        for quantity in quantities.iter().filter(|quantity| **quantity > 0) {
            quantity.put(out);
        }
        (self.custom().len() as u64).put(out);
        for (meter, quantity) in self.custom() {
            put_text(meter, out);
            quantity.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let bits = from.byte()?;
        let mut contract = [0; METERS.len()];
        for (place, quantity) in contract.iter_mut().enumerate() {
            if bits & (1 << place) != 0 {
                *quantity = u64::read(from)?;
            }
        }
        let mut usage = Usage::of(contract);
        for _ in 0..u64::read(from)? {
            let meter = from.text()?;
            usage.set(meter, u64::read(from)?);
        }
        Ok(usage)
    }
}

impl Bytes for BTreeMap<String, String> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut map = BTreeMap::new();
        for _ in 0..u64::read(from)? {
            let key = String::read(from)?;
            map.insert(key, String::read(from)?);
        }
        Ok(map)
    }
}

impl Bytes for Credits {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Credits::new(u64::read(from)?).map_err(|_| Unreadable("credits are out of range"))
    }
}

impl Bytes for Timestamp {
    fn put(&self, out: &mut Vec<u8>) {
        self.millis().put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        i64::read(from).map(Timestamp::from_millis)
    }
}

/// The digits in two halves, and where the point stands. No price is negative.
impl Bytes for Decimal {
    fn put(&self, out: &mut Vec<u8>) {
        let digits = self.mantissa().unsigned_abs();
        self.scale().put(out);
        (digits as u64).put(out);
        ((digits >> 64) as u64).put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let scale = u32::read(from)?;
        let low = u64::read(from)?;
        let digits = i128::from(u64::read(from)?) << 64 | i128::from(low);
        Decimal::try_from_i128_with_scale(digits, scale)
            .map_err(|_| Unreadable("a decimal is out of range"))
    }
}
