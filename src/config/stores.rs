//! The URLs of the two stores.

use std::{fmt, path::PathBuf};

/// Where the hot balances are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotUrl {
    /// In this process: `memory:`.
    Memory,
}

impl HotUrl {
    /// What [`HotUrl::parse`] accepts, in words.
    pub(super) const ACCEPTED: &str = "\"memory:\" (this version has no other hot store)";

    pub(super) fn parse(text: &str) -> Option<Self> {
        (text == "memory:").then_some(HotUrl::Memory)
    }
}

impl fmt::Display for HotUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HotUrl::Memory => f.write_str("memory:"),
        }
    }
}

/// Where the ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerUrl {
    /// A SQLite file: `sqlite://PATH`.
    Sqlite(PathBuf),
}

impl LedgerUrl {
    /// What [`LedgerUrl::parse`] accepts, in words.
    pub(super) const ACCEPTED: &str =
        "\"sqlite://PATH\", or empty for ledger.db in data_dir (this version has no other ledger)";

    /// `Some(None)` where the text is empty. Everything after `sqlite://` is the path.
    pub(super) fn parse(text: &str) -> Option<Option<Self>> {
        if text.is_empty() {
            return Some(None);
        }
        let path = text.strip_prefix("sqlite://")?;
        (!path.is_empty() && !path.contains(['?', '\0']))
            .then(|| Some(LedgerUrl::Sqlite(PathBuf::from(path))))
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerUrl::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
        }
    }
}
