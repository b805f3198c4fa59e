//! An entry on its way from the hot store to the ledger.

use std::{ops::Deref, sync::OnceLock};

use crate::domain::entry::{Entry, usage_json};

/// An entry, and its text as soon as somebody has written it out: a ledger that keeps the text in
/// more than one place pays for it once.
#[derive(Clone, Debug)]
pub struct Line {
    entry: Entry,
    text: OnceLock<Box<str>>,
}

impl Line {
    /// The entry as JSON.
    pub fn text(&self) -> Result<&str, serde_json::Error> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let text = match usage_json(&self.entry) {
            Some(text) => text,
            None => serde_json::to_string(&self.entry)?,
        };
        Ok(self.text.get_or_init(|| text.into_boxed_str()))
    }
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        Line {
            entry,
            text: OnceLock::new(),
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
