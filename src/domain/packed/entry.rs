//! A ledger's entry as bytes: what the embedded ledger and the log in front of it keep of it, in a
//! quarter of what it takes as JSON.

use super::{
    Unreadable,
    codec::{Bytes, Reader, put_text},
    parts::{fields, ids, variants},
};
use crate::domain::{
    account::{AccountHead, OveragePolicy, PlanTerm, Status},
    cycle::Cycle,
    entry::{Entry, EntryKind, GrantMove, Settlement},
    grant::{Grant, GrantKind},
    ids::{AccountId, PlanId, ReservationId},
};

/// The number of this format, the first byte.
const FORMAT: u8 = 1;
/// What the bytes of an entry usually take at most.
const USUAL_BYTES: usize = 512;

fields! {
    Entry {
        account_id, sequence, kind, credits, available_after, debt_after, draws, occurred_at,
        reason, actor, reservation_id, settlement, change, moves, head,
    }
    Settlement { commit, last, action, amount, outcome, held_before, receipt }
    GrantMove { grant_id, amount, used, expired, voided_at, made }
    Grant {
        id, kind, amount, used, held, expired, priority, effective_at, expires_at, voided_at,
        source,
    }
    AccountHead { status, plan, next_plan, overage, anchor, cycle, debt, applied_change }
    PlanTerm { id, allowance }
    Cycle { index, start, end }
}

variants! {
    EntryKind {
        Grant = 0, Usage = 1, Refund = 2, Expiry = 3, Void = 4, Renewal = 5, PlanChange = 6,
        DebtRepaid = 7, Status = 8, Repair = 9,
    }
    GrantKind { Plan = 0, Pack = 1, Promo = 2, Adjustment = 3 }
    Status { Active = 0, Suspended = 1, Closed = 2 }
    OveragePolicy { Debt = 0, Absorb = 1 }
}

ids!(AccountId, PlanId, ReservationId);

/// The entry as bytes.
pub fn pack_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    out.push(FORMAT);
    entry.put(&mut out);
    out
}

/// The entry that [`pack_entry`] packed.
pub fn unpack_entry(bytes: &[u8]) -> Result<Entry, Unreadable> {
    let mut from = Reader::new(bytes);
    if from.byte()? != FORMAT {
        return Err(Unreadable("of another format"));
    }
    let entry = Entry::read(&mut from)?;
    from.finish()?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{entry::strategies, ids::GrantId, timestamp::Timestamp};

    fn made() -> Grant {
        Grant {
            id: GrantId::new("pack-1").unwrap(),
            kind: GrantKind::Pack,
            amount: 500,
            used: 1,
            held: 2,
            expired: 3,
            priority: -4,
            effective_at: Timestamp::from_millis(5),
            expires_at: Some(Timestamp::from_millis(6)),
            voided_at: None,
            source: "small".to_owned(),
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            entry in strategies::usage_entry(),
            kind in 0..EntryKind::ALL.len(),
            reason in ".{0,6}",
            change in proptest::option::of(any::<u64>()),
        ) {
            let mut entry = entry;
            entry.kind = EntryKind::ALL[kind];
            entry.actor = reason.clone();
            entry.reason = reason;
            entry.change = change;
            if let Some(moved) = entry.moves.first_mut() {
                moved.made = Some(Box::new(made()));
            }
            let bytes = pack_entry(&entry);
            prop_assert_eq!(unpack_entry(&bytes), Ok(entry));
            for length in 0..bytes.len() {
                prop_assert!(unpack_entry(&bytes[..length]).is_err());
            }
            let mut longer = bytes;
            longer.push(0);
            prop_assert!(unpack_entry(&longer).is_err());
        }
    }
}
