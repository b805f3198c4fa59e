//! Packed reservations and entries, as the fuzzer makes them.

use super::{
    ids::{AccountId, ReservationId},
    packed::{Packed, pack_entry, unpack_entry},
};

/// What unpacks packs to what unpacks to the same.
pub(crate) fn packed(bytes: &[u8]) {
    let (Ok(account), Ok(id)) = (AccountId::new("acme"), ReservationId::new("one")) else {
        return;
    };
    let packed = Packed::from_bytes(bytes);
    let _ = packed.times();
    let _ = packed.summary();
    if let Ok(reservation) = packed.unpack(&account, &id) {
        let again = Packed::new(&reservation).unpack(&account, &id);
        assert_eq!(again.as_ref().ok(), Some(&reservation), "{again:?}");
    }
    if let Ok(entry) = unpack_entry(bytes) {
        let again = unpack_entry(&pack_entry(&entry));
        assert_eq!(again.as_ref().ok(), Some(&entry), "{again:?}");
    }
}
