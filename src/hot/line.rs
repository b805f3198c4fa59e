//! An entry on its way from the hot store to the ledger.

use std::{ops::Deref, sync::OnceLock};

use crate::domain::{
    entry::{Entry, usage_json},
    packed::pack_entry,
};

/// An entry, and its bytes as soon as somebody has packed it: a ledger that keeps them in more
/// than one place pays for them once.
#[derive(Clone, Debug)]
pub struct Line {
    entry: Entry,
    packed: OnceLock<Box<[u8]>>,
}

impl Line {
    /// The entry as JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        match usage_json(&self.entry) {
            Some(text) => Ok(text),
            None => serde_json::to_string(&self.entry),
        }
    }

    /// The entry as bytes.
    pub fn packed(&self) -> &[u8] {
        let pack = || pack_entry(&self.entry).into_boxed_slice();
        self.packed.get_or_init(pack)
    }
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        Line {
            entry,
            packed: OnceLock::new(),
        }
    }
}

impl Deref for Line {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.entry == other.entry
    }
}
