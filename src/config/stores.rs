//! The URLs of the two stores.

use std::{fmt, path::PathBuf};

use super::error::redact;

/// Where the hot balances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HotUrl {
    /// In this process: `memory:`.
    Memory,
    /// In Redis or Valkey: `redis://HOST:PORT` and its kin.
    Redis(SecretUrl),
}

/// The schemes of a Redis URL: one server, Sentinels, a cluster, each with and without TLS.
const REDIS_SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

impl HotUrl {
    /// What [`HotUrl::parse`] accepts, in words.
    pub(super) const ACCEPTED: &str = "\"memory:\", \"redis://HOST:PORT\", \"rediss://HOST:PORT\", \"redis+unix:///PATH\", \"redis+sentinel://HOST:PORT,HOST:PORT/MASTER\" or \"redis+cluster://HOST:PORT,HOST:PORT\" (the last two with rediss+ for TLS)";

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "memory:" {
            return Some(HotUrl::Memory);
        }
        let (scheme, rest) = text.split_once("://")?;
        let is_redis = REDIS_SCHEMES.contains(&scheme)
            && !rest.is_empty()
            && !text.contains(char::is_whitespace);
        is_redis.then(|| HotUrl::Redis(SecretUrl(text.to_owned())))
    }
}

impl fmt::Display for HotUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HotUrl::Memory => f.write_str("memory:"),
            HotUrl::Redis(url) => url.fmt(f),
        }
    }
}

/// Where the ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerUrl {
    /// A SQLite file: `sqlite://PATH`.
    Sqlite(PathBuf),
    /// A Postgres database: `postgres://USER@HOST:PORT/DATABASE`.
    Postgres(SecretUrl),
}

/// A URL that may hold a password. It is shown without user, password and parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The whole URL, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl LedgerUrl {
    /// What [`LedgerUrl::parse`] accepts, in words.
    pub(super) const ACCEPTED: &str = "\"sqlite://PATH\", \"postgres://USER@HOST:PORT/DATABASE\", or empty for ledger.db in data_dir";

    /// `Some(None)` where the text is empty. Everything after `sqlite://` is the path.
    pub(super) fn parse(text: &str) -> Option<Option<Self>> {
        if text.is_empty() {
            return Some(None);
        }
        let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| {
            text.strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty())
        });
        if is_postgres && !text.contains(char::is_whitespace) {
            return Some(Some(LedgerUrl::Postgres(SecretUrl(text.to_owned()))));
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
            LedgerUrl::Postgres(url) => url.fmt(f),
        }
    }
}
