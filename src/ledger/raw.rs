//! Bytes that are written down as they are: serde takes a slice of them apart, one by one. And
//! what the embedded ledger and its log read entries from.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

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

/// Bytes, borrowed from whoever has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Borrow).map(Raw)
    }
}

struct Borrow;

impl<'de> Visitor<'de> for Borrow {
    type Value = &'de [u8];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
        Ok(bytes)
    }
}
