//! Rows of the ledger, as the fuzzer makes them: the bodies that both backends keep as JSON.

use crate::domain::{change::Change, entry::Entry, grant::Grant, reservation::Reservation};

/// What is read is written as what is read the same.
pub(crate) fn rows(bytes: &[u8]) {
    macro_rules! row {
        ($type:ty) => {
            if let Ok(row) = serde_json::from_slice::<$type>(bytes)
                && let Ok(text) = serde_json::to_string(&row)
            {
                let again: Result<$type, _> = serde_json::from_str(&text);
                assert_eq!(again.ok(), Some(row));
            }
        };
    }
    row!(Entry);
    row!(Change);
    row!(Grant);
    row!(Reservation);
    row!(Vec<(String, String)>);
}
