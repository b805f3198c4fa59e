//! Replies of the scripts and records in the store, as the fuzzer makes them.

use super::{
    blobs,
    entries::read_entry,
    packed::Reader,
    records::{self, read_account, read_reservation},
};
use crate::domain::ids::{AccountId, ReservationId};

/// The first byte chooses what the rest is read as.
pub(crate) fn replies(bytes: &[u8]) {
    let (Ok(account), Ok(id)) = (AccountId::new("acme"), ReservationId::new("one")) else {
        return;
    };
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let mut reader = Reader::new(bytes);
    match kind % 11 {
        0 => drop(read_entry(bytes)),
        1 => {
            if let Ok(read) = read_account(&account, bytes) {
                let known = &read.account;
                let again = read_account(&account, &records::write_account(known));
                assert!(again.is_ok() || known.grants.is_empty(), "{again:?}");
            }
        }
        2 => drop(read_reservation(&account, &id, bytes)),
        3 => drop(records::read_head(&mut reader)),
        4 => drop(records::read_receipt(&mut reader)),
        5 => drop(records::read_denial(&mut reader)),
        6 => drop(blobs::read_action(bytes)),
        7 => drop(blobs::read_request(bytes)),
        8 => drop(blobs::read_price(bytes)),
        9 => unfolded(&account, bytes),
        _ => {
            let (kind, rest) = bytes.split_first().unwrap_or((&0, &[]));
            drop(blobs::read_origin(i64::from(*kind), rest));
        }
    }
}

/// A folded account, a byte that says how long it is, and its packed grants.
fn unfolded(account: &AccountId, bytes: &[u8]) {
    let (length, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let (stored, packed) = bytes.split_at(bytes.len().min(usize::from(*length)));
    if let Ok(record) = read_account(account, stored) {
        let _ = record.balance(record.seen);
        let _ = record.found(Some(packed));
    }
}
