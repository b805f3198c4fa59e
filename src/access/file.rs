//! The access file: TOML, one table a principal.
//!
//! ```toml
//! [[principal]]
//! name = "gateway"
//! roles = ["gateway"]
//! spiffe = ["spiffe://prod.example/ns/ai/sa/gateway"]
//! accounts = ["eu-"]
//! ```
//!
//! It is read strictly: an unknown key, an unknown role, or two principals that are known by the
//! same thing make the whole file bad.

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc};

use serde::Deserialize;

use super::{
    Access, Mark, Principal,
    table::Role,
    token::{TOKEN_PREFIX, TokenHash},
};

/// The most principals of a file.
const PRINCIPALS_MAX: usize = 1000;
/// The most tokens of a file: each call with a token is compared with all of them.
const TOKENS_MAX: usize = 1000;
/// The most names, tokens, numbers or prefixes that one principal has of a kind.
const ITEMS_MAX: usize = 100;
/// The longest name, SAN or prefix, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Why an access file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It can't be read.
    #[error("access.file {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no text.
    #[error("the access file is not UTF-8")]
    Text,
    /// It is no TOML of this shape.
    #[error("the access file is wrong:\n{0}")]
    Syntax(String),
    /// A principal is wrong.
    #[error("the access file is wrong: principal {principal:?}: {problem}")]
    Principal {
        /// Its name, as far as it has one.
        principal: String,
        /// What is wrong, and what is accepted.
        problem: String,
    },
    /// It lets nobody in, as one does that is not written yet.
    #[error("the access file has no [[principal]]: give at least one")]
    Nobody,
    /// There is too much of it.
    #[error("the access file has more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    principal: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    roles: Vec<String>,
    #[serde(default)]
    spiffe: Vec<String>,
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    uids: Vec<u32>,
    #[serde(default)]
    gids: Vec<u32>,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    accounts: Option<Vec<String>>,
}

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Access, AccessError> {
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    if file.principal.is_empty() {
        return Err(AccessError::Nobody);
    }
    if file.principal.len() > PRINCIPALS_MAX {
        let (what, max) = ("principals", PRINCIPALS_MAX);
        return Err(AccessError::TooMany { what, max });
    }
    let mut access = Access::default();
    let mut names = BTreeSet::new();
    for entry in file.principal {
        let name = entry.name.clone();
        let wrong = |problem: String| AccessError::Principal {
            principal: name.clone(),
            problem,
        };
        if !names.insert(name.clone()) {
            return Err(wrong("stands twice".to_owned()));
        }
        add(&mut access, entry).map_err(wrong)?;
    }
    if access.tokens.len() > TOKENS_MAX {
        let (what, max) = ("tokens", TOKENS_MAX);
        return Err(AccessError::TooMany { what, max });
    }
    Ok(access)
}

/// Where and why, without the line itself: a token may stand there by mistake.
fn syntax(text: &str, error: &toml::de::Error) -> AccessError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let mut words = error.message().split(TOKEN_PREFIX);
    let mut said = words.next().unwrap_or("").to_owned();
    for word in words {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        said.push_str(TOKEN_PREFIX);
        said.push('…');
        said.push_str(rest);
    }
    AccessError::Syntax(format!("line {line}: {said}"))
}

fn add(access: &mut Access, entry: Entry) -> Result<(), String> {
    check_name(&entry.name)?;
    let principal = Arc::new(Principal {
        roles: roles(&entry.roles)?,
        accounts: accounts(entry.accounts)?,
        name: entry.name,
    });
    few("spiffe", entry.spiffe.len())?;
    few("dns", entry.dns.len())?;
    few("uids", entry.uids.len())?;
    few("gids", entry.gids.len())?;
    few("tokens", entry.tokens.len())?;
    let mut marks = Vec::new();
    for uri in entry.spiffe {
        let named = uri
            .strip_prefix("spiffe://")
            .is_some_and(|rest| !rest.is_empty());
        if !named || !is_plain(&uri) {
            return Err(format!(
                "spiffe = {uri:?}: must be a whole id, spiffe://DOMAIN/PATH"
            ));
        }
        marks.push(Mark::Uri(uri));
    }
    for name in entry.dns {
        if !is_plain(&name) || name.contains(['*', '/', ':']) {
            return Err(format!(
                "dns = {name:?}: must be a whole host name, without wildcards"
            ));
        }
        marks.push(Mark::Dns(name.to_ascii_lowercase()));
    }
    marks.extend(entry.uids.into_iter().map(Mark::Uid));
    marks.extend(entry.gids.into_iter().map(Mark::Gid));
    if marks.is_empty() && entry.tokens.is_empty() {
        return Err("is known by nothing: give spiffe, dns, uids, gids or tokens".to_owned());
    }
    for mark in marks {
        if let Some(other) = access.marks.insert(mark.clone(), Arc::clone(&principal)) {
            return Err(format!("{mark:?} is {:?}'s already", other.name));
        }
    }
    for line in entry.tokens {
        let Some(hash) = TokenHash::parse(&line) else {
            // What stands there may be the token itself.
            return Err("tokens: must be sha256:… as `tollgate token` prints it".to_owned());
        };
        if access.tokens.iter().any(|(known, _)| known.equals(&hash)) {
            return Err("tokens: one stands twice".to_owned());
        }
        access.tokens.push((hash, Arc::clone(&principal)));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    let fits = !name.is_empty() && name.len() <= TEXT_BYTES_MAX && name.bytes().all(accepted);
    match fits {
        true => Ok(()),
        false => Err("name: must be of A-Z a-z 0-9 . _ - @".to_owned()),
    }
}

fn roles(names: &[String]) -> Result<Vec<Role>, String> {
    let accepted = || Role::ALL.map(Role::name).join(", ");
    let mut roles = Vec::new();
    for name in names {
        match Role::named(name) {
            Some(role) if !roles.contains(&role) => roles.push(role),
            Some(_) => return Err(format!("roles: {name:?} stands twice")),
            None => return Err(format!("roles: no role {name:?}: there are {}", accepted())),
        }
    }
    match roles.is_empty() {
        true => Err(format!("roles: must have one or more of {}", accepted())),
        false => Ok(roles),
    }
}

/// An empty list would mean "no account" to one reader and "all" to the next.
fn accounts(prefixes: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let Some(prefixes) = prefixes else {
        return Ok(Vec::new());
    };
    few("accounts", prefixes.len())?;
    let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let is_prefix = |prefix: &String| {
        !prefix.is_empty() && prefix.len() <= TEXT_BYTES_MAX && prefix.bytes().all(accepted)
    };
    match !prefixes.is_empty() && prefixes.iter().all(is_prefix) {
        true => Ok(prefixes),
        false => Err(
            "accounts: must be one or more starts of account ids, each not empty; leave it out \
             for all accounts"
                .to_owned(),
        ),
    }
}

fn few(what: &str, count: usize) -> Result<(), String> {
    match count > ITEMS_MAX {
        true => Err(format!("{what}: has more than {ITEMS_MAX}")),
        false => Ok(()),
    }
}

fn is_plain(text: &str) -> bool {
    let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && graphic
}
