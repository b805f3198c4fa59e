//! What can be wrong with a configuration, in words that say what to write instead.
//!
//! Values are shown as they were given, but for what [`redact`] takes out.

use std::{fmt, io, path::PathBuf};

use super::layers::Source;

/// Why a configuration was refused. Nothing was opened or bound yet.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any configuration is.
    #[error("the configuration file {} is larger than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max: u64,
    },
    /// The file, or the defaults that are built in, are no TOML.
    #[error("{origin} is not valid TOML:\n{}", message.trim_end())]
    Syntax {
        /// Which text.
        origin: Source,
        /// Line, caret and reason, from the parser.
        message: String,
    },
    /// Keys or values are wrong: all that were found, not only the first.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such key.
    UnknownKey {
        /// The dotted key, as it was given.
        name: String,
        /// Where it stands.
        origin: Source,
        /// The known names that are nearest to it, at most a few.
        nearest: Vec<String>,
    },
    /// No such variable.
    UnknownVariable {
        /// The variable.
        name: String,
        /// The known variables that are nearest to it, at most a few.
        nearest: Vec<String>,
    },
    /// A section's name where a key is needed.
    NotAValue {
        /// The section.
        section: String,
        /// Where it stands.
        origin: Source,
    },
    /// `--set` without an equals sign.
    NotAPair {
        /// What was given.
        text: String,
    },
    /// The key exists, the value is not one of those accepted.
    WrongValue {
        /// The key.
        key: &'static str,
        /// The value, redacted.
        value: String,
        /// Where it stands.
        origin: Source,
        /// Where the value stands that counts in its place; `None`: it is the one that counts.
        overridden_by: Option<Source>,
        /// What is accepted, in words.
        accepted: String,
    },
    /// Each value alone is fine, but not these together.
    Conflict {
        /// The keys and their values.
        what: String,
        /// Why not, and what is accepted.
        accepted: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::UnknownKey {
                name,
                origin,
                nearest,
            } => {
                let name = redact(name);
                write!(f, "{name}: no such key ({origin}){}", suggestion(nearest))
            }
            Problem::UnknownVariable { name, nearest } => {
                write!(f, "{name}: no such variable{}", suggestion(nearest))
            }
            Problem::NotAValue { section, origin } => {
                write!(
                    f,
                    "{section}: is a section, not a key ({origin}); write [{section}]"
                )
            }
            Problem::NotAPair { text } => {
                write!(
                    f,
                    "--set {}: must be KEY=VALUE, e.g. --set grpc.listen=127.0.0.1:50051",
                    redact(text)
                )
            }
            Problem::WrongValue {
                key,
                value,
                origin,
                overridden_by,
                accepted,
            } => {
                write!(f, "{key} = {value} ({origin}")?;
                if let Some(source) = overridden_by {
                    write!(f, ", overridden by {source}")?;
                }
                write!(f, "): must be {accepted}")
            }
            Problem::Conflict { what, accepted } => write!(f, "{what}: {accepted}"),
        }
    }
}

fn suggestion(nearest: &[String]) -> String {
    match nearest.is_empty() {
        true => "; `tollgate serve --print-config` lists all keys".to_owned(),
        false => format!("; did you mean {}?", nearest.join(" or ")),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Takes user and password, and the parameters, out of a URL, also of one that is written wrongly: that
/// is when it is shown. Other texts stay as they are.
pub(super) fn redact(text: &str) -> String {
    // A password may itself hold an unescaped '@', '/' or '?': the last '@' ends it.
    let (login, place) = match text.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, text),
    };
    let is_url = text.contains("://");
    let place = match place.split_once('?') {
        Some((place, _)) if is_url => format!("{place}?***"),
        Some(_) | None => place.to_owned(),
    };
    match login {
        None => place,
        // Of a pair, its key is no secret; nor is what a URL begins with.
        Some(login) => match (login.split_once("://"), login.split_once('=')) {
            (Some((scheme, _)), _) if !scheme.contains('@') => format!("{scheme}://***@{place}"),
            (None, Some((key, _))) if is_key(key) => format!("{key}=***@{place}"),
            _ if login.contains(':') => format!("***@{place}"),
            _ => format!("{login}@{place}"),
        },
    }
}

fn is_key(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown_however_the_url_is_written() {
        for (text, shown) in [
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://u:secret@h:1/2?a=secret", "redis://***@h:1/2?***"),
            ("redis://:sec?ret@h", "redis://***@h"),
            ("postgres://u:se@cr/et?x@h/db", "postgres://***@h/db"),
            (
                "redis+unix:///run/r.sock?pass=secret",
                "redis+unix:///run/r.sock?***",
            ),
            ("redis:/u:secret@h", "***@h"),
            ("postgres//u:secret@h/db", "***@h/db"),
            ("hot=redis://u:secret@h", "hot=redis://***@h"),
            ("hot=redis:/u:secret@h", "hot=***@h"),
            ("hot:redis://u:secret@h", "hot:redis://***@h"),
            ("/home/me@host/data", "/home/me@host/data"),
            ("what?", "what?"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn what_is_no_pair_or_no_key_may_be_a_url() {
        let url = "redis://u:secret@h?db=1".to_owned();
        let pair = Problem::NotAPair { text: url.clone() };
        let key = Problem::UnknownKey {
            name: url,
            origin: Source::Variable("X".to_owned()),
            nearest: Vec::new(),
        };
        for problem in [pair, key] {
            let told = problem.to_string();
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
