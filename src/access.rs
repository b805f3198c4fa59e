//! Who may do what: principals, what they are known by, their roles and their accounts.
//!
//! The access file lists the principals. A caller is known by the bearer token of its call, else by
//! the certificate or the Unix credentials of its connection; what it may call is in `table`, for
//! which accounts in its principal. Nothing here reads a socket, and no token is kept: only
//! what it hashes to. Without an access file whoever can connect may do everything.

mod file;
pub mod table;
pub mod token;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use self::file::AccessError;
use self::{table::Role, token::TokenHash};

/// The largest access file that is read, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its name, in the audit log and in refusals.
    pub name: String,
    /// What it does.
    pub roles: Vec<Role>,
    /// What the ids of its accounts start with; empty: all accounts are its.
    pub accounts: Vec<String>,
}

impl Principal {
    /// Whether it may act for some accounts only.
    pub fn is_scoped(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// Whether it may act for this account.
    pub fn has_account(&self, account_id: &str) -> bool {
        let starts = |prefix: &String| account_id.starts_with(prefix.as_str());
        self.accounts.is_empty() || self.accounts.iter().any(starts)
    }
}

/// What a connection says about who is at its other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The URI names of its verified certificate, e.g. a SPIFFE id.
    pub uris: Vec<String>,
    /// The DNS names of its verified certificate.
    pub dns: Vec<String>,
    /// User and group of the process at the other end of a Unix socket.
    pub unix: Option<(u32, u32)>,
}

/// What a principal is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Mark {
    Uri(String),
    Dns(String),
    Uid(u32),
    Gid(u32),
}

/// The principals of one access file.
#[derive(Clone, Debug, Default)]
pub struct Access {
    marks: HashMap<Mark, Arc<Principal>>,
    tokens: Vec<(TokenHash, Arc<Principal>)>,
}

impl Access {
    /// Reads the text of an access file, whole and strictly.
    pub fn parse(text: &str) -> Result<Access, AccessError> {
        file::parse(text)
    }

    /// Whose token it is. Every token is compared to its end, whichever it is.
    pub fn by_token(&self, token: &str) -> Option<&Arc<Principal>> {
        let presented = TokenHash::of(token);
        let mut found = None;
        for (hash, principal) in &self.tokens {
            if hash.equals(&presented) {
                found = Some(principal);
            }
        }
        found
    }

    /// Who is at the other end of a connection: by URI, then DNS name, then user, then group.
    pub fn by_connection(&self, credentials: &Credentials) -> Option<&Arc<Principal>> {
        let uris = credentials.uris.iter().map(|uri| Mark::Uri(uri.clone()));
        let dns = credentials.dns.iter();
        let dns = dns.map(|name| Mark::Dns(name.to_ascii_lowercase()));
        let unix = credentials.unix.into_iter();
        let unix = unix.flat_map(|(uid, gid)| [Mark::Uid(uid), Mark::Gid(gid)]);
        uris.chain(dns)
            .chain(unix)
            .find_map(|mark| self.marks.get(&mark))
    }

    /// How many principals there are.
    pub fn len(&self) -> usize {
        let of_marks = self.marks.values();
        let all = of_marks.chain(self.tokens.iter().map(|(_, principal)| principal));
        let names: std::collections::BTreeSet<&str> =
            all.map(|principal| principal.name.as_str()).collect();
        names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.tokens.is_empty()
    }
}

/// How long a changed file must stay as it is before it is used.
const WRITING: Duration = Duration::from_millis(100);

/// Whether what a file has stays as it is, and nobody is writing it: looks again a moment later.
pub(crate) fn is_written<T: PartialEq, E>(seen: &T, again: impl FnOnce() -> Result<T, E>) -> bool {
    thread::sleep(WRITING);
    again().is_ok_and(|now| now == *seen)
}

/// What became of a look at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It is as it was.
    Same,
    /// It changed, and is in use.
    Changed,
}

/// An access file that is in use, and read again when it changes.
#[derive(Debug)]
pub struct AccessFile {
    path: PathBuf,
    current: ArcSwap<Access>,
    /// What was read last, in use or not; absent: nothing could be read.
    seen: Mutex<Option<Vec<u8>>>,
}

impl AccessFile {
    /// Reads a file and takes it into use.
    pub fn open(path: &Path) -> Result<AccessFile, AccessError> {
        let bytes = read(path)?;
        let access = parse(&bytes)?;
        Ok(AccessFile {
            path: path.to_owned(),
            current: ArcSwap::from_pointee(access),
            seen: Mutex::new(Some(bytes)),
        })
    }

    /// What is in use now.
    pub fn current(&self) -> arc_swap::Guard<Arc<Access>> {
        self.current.load()
    }

    /// Looks at the file, and takes it into use where it changed. One that is bad is an error, once
    /// for each such text, and what was in use stays in use.
    pub fn refresh(&self) -> Result<Refreshed, AccessError> {
        let mut seen = self.seen.lock();
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                // That too is told once.
                return seen.take().map_or(Ok(Refreshed::Same), |_| Err(error));
            }
        };
        if seen.as_ref() == Some(&bytes) {
            return Ok(Refreshed::Same);
        }
        if !is_written(&bytes, || read(&self.path)) {
            return Ok(Refreshed::Same);
        }
        let parsed = parse(&bytes);
        *seen = Some(bytes);
        self.current.store(Arc::new(parsed?));
        Ok(Refreshed::Changed)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AccessError> {
    let unreadable = |source: io::Error| AccessError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(unreadable)?;
    match bytes.len() > FILE_BYTES_MAX {
        true => Err(unreadable(io::Error::other(format!(
            "larger than {FILE_BYTES_MAX} bytes"
        )))),
        false => Ok(bytes),
    }
}

fn parse(bytes: &[u8]) -> Result<Access, AccessError> {
    let text = std::str::from_utf8(bytes).map_err(|_| AccessError::Text)?;
    Access::parse(text)
}

#[cfg(test)]
mod tests;
