//! What the embedded ledger and its log read entries from.

use crate::domain::{
    entry::Entry,
    packed::{Unreadable, unpack_entry},
};

/// What JSON starts with, and no packed entry does.
const JSON: u8 = b'{';

/// Why kept bytes are no entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoEntry {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Packed(#[from] Unreadable),
}

/// An entry as it is kept: packed, or as JSON by a version before that.
pub(super) fn kept_entry(bytes: &[u8]) -> Result<Entry, NoEntry> {
    if bytes.first() == Some(&JSON) {
        Ok(serde_json::from_slice(bytes)?)
    } else {
        Ok(unpack_entry(bytes)?)
    }
}
