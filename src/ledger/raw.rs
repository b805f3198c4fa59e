//! Bytes that are written down as they are: serde takes a slice of them apart, one by one. And how the
//! embedded ledger and its log mention a reservation with them.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::batch::Key;
use crate::domain::packed::Packed;

/// A reservation as it is written down: its account, its id, and its bytes unless it is forgotten.
pub(super) type Mention<'a> = (&'a str, &'a str, Option<Raw<'a>>);

/// Mentions a reservation.
pub(super) fn mention<'a>((account_id, id): Key<'a>, packed: Option<&'a Packed>) -> Mention<'a> {
    let bytes = packed.map(|packed| Raw(packed.as_bytes()));
    (account_id.as_str(), id.as_str(), bytes)
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
