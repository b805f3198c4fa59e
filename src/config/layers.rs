//! Puts the layers on top of each other: default < file < variable < flag.
//!
//! Only names are checked here, since only here is it known where each was given; what a value
//! may be is [`super::reader`]'s matter.

use std::{collections::BTreeMap, fmt, fs, io::Read, path::PathBuf};

use toml::{Table, Value};

use super::{
    Flags, defaults,
    error::{ConfigError, Problem, redact},
    nearest::nearest,
    variables,
};

/// The largest file that is read, in bytes: many times what all keys need.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the defaults that are built in.
    Default,
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Variable(String),
    /// By this flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Variable(name) => f.write_str(name),
            Source::Flag(name) => f.write_str(name),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// For each known key what each layer gave, and the names that were wrong. The value of the highest
/// layer that has the key counts; those below it are kept to be checked all the same.
#[derive(Debug)]
pub(super) struct Layers {
    known: Vec<String>,
    defaults: BTreeMap<String, Value>,
    given: BTreeMap<String, Vec<Given>>,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    /// Reads all layers. Fails where the file can't be read or parsed at all.
    pub(super) fn collect(
        flags: &Flags,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Layers, ConfigError> {
        let mut layers = Layers {
            known: defaults::keys(),
            defaults: BTreeMap::new(),
            given: BTreeMap::new(),
            problems: Vec::new(),
        };
        let environment: Vec<_> = environment.collect();
        let file = flags
            .config
            .clone()
            .or_else(|| variables::config_file(&environment));

        layers.put_toml(defaults::TEXT, &Source::Default)?;
        let keys = layers.given.keys();
        layers.defaults = keys
            .filter_map(|key| Some((key.clone(), layers.get(key)?.value.clone())))
            .collect();
        if let Some(path) = file {
            layers.put_toml(&read(&path)?, &Source::File(path))?;
        }
        for (name, value) in environment {
            layers.put_variable(name, value);
        }
        layers.put_flags(flags);
        Ok(layers)
    }

    /// The value of a key that counts. Every known key has at least its default.
    pub(super) fn get(&self, key: &str) -> Option<&Given> {
        self.all(key).last()
    }

    /// All that was given for a key, the one that counts last.
    pub(super) fn all(&self, key: &str) -> &[Given] {
        self.given.get(key).map_or(&[], Vec::as_slice)
    }

    fn put(&mut self, key: String, value: Value, source: Source) {
        let given = self.given.entry(key).or_default();
        given.push(Given { value, source });
    }

    /// A variable or a flag is text: it is read as the type that the key's default has, and kept
    /// as text where it can't be, to be refused as such.
    fn put_text(&mut self, key: String, text: &str, source: Source) {
        let value = match self.defaults.get(&key) {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Float(_)) => text.parse().ok().map(Value::Float),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            Some(Value::Array(_)) => Some(list(text)),
            Some(_) | None => None,
        };
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        self.put(key, value, source);
    }

    pub(super) fn put_toml(&mut self, text: &str, source: &Source) -> Result<(), ConfigError> {
        let table = text.parse::<Table>().map_err(|error| ConfigError::Syntax {
            origin: source.clone(),
            message: redact_lines(&error.to_string()),
        })?;
        self.put_table("", table, source);
        Ok(())
    }

    /// Goes down only into sections that exist, so never deeper than the defaults are.
    fn put_table(&mut self, section: &str, table: Table, source: &Source) {
        for (name, value) in table {
            let key = match section {
                "" => name,
                _ => format!("{section}.{name}"),
            };
            let given = source.clone();
            if self.is_section(&key) {
                match value.try_into() {
                    Ok(inner) => self.put_table(&key, inner, source),
                    Err(_) => self.problems.push(Problem::NotAValue {
                        section: key,
                        origin: given,
                    }),
                }
            } else if self.known.contains(&key) {
                self.put(key, value, given);
            } else {
                self.unknown_key(key, given);
            }
        }
    }

    fn put_variable(&mut self, name: String, value: String) {
        if !variables::is_ours(&name, &value) {
            return;
        }
        let of_key = self
            .known
            .iter()
            .find(|key| variables::name(key) == name)
            .cloned();
        match of_key {
            Some(key) => self.put_text(key, &value, Source::Variable(name)),
            None => {
                let names: Vec<_> = self.known.iter().map(|key| variables::name(key)).collect();
                let nearest = nearest(&name, &names, '_');
                self.problems
                    .push(Problem::UnknownVariable { name, nearest });
            }
        }
    }

    /// Named flags come after `--set`, and so win over it.
    fn put_flags(&mut self, flags: &Flags) {
        for pair in &flags.set {
            match pair.split_once('=') {
                Some((key, value)) => self.put_set(key.trim(), value.trim()),
                None => self.problems.push(Problem::NotAPair { text: pair.clone() }),
            }
        }
        for (key, flag, value) in flags.named() {
            self.put_text(key.to_owned(), value, Source::Flag(flag));
        }
    }

    fn put_set(&mut self, key: &str, value: &str) {
        let source = Source::Flag("--set");
        if self.known.iter().any(|known| known == key) {
            self.put_text(key.to_owned(), value, source);
        } else {
            self.unknown_key(key.to_owned(), source);
        }
    }

    fn unknown_key(&mut self, name: String, origin: Source) {
        let mut names = self.known.clone();
        names.extend(self.sections());
        let nearest = nearest(&name, &names, '.');
        self.problems.push(Problem::UnknownKey {
            name,
            origin,
            nearest,
        });
    }

    fn sections(&self) -> Vec<String> {
        let sections = self.known.iter().filter_map(|key| key.rsplit_once('.'));
        let mut sections: Vec<_> = sections.map(|(section, _)| section.to_owned()).collect();
        sections.dedup();
        sections
    }

    fn is_section(&self, name: &str) -> bool {
        self.sections().iter().any(|section| section == name)
    }
}

/// A list as a file has it, or its items parted by commas.
fn list(text: &str) -> Value {
    let written = format!("list = {text}").parse::<Table>().ok();
    match written.and_then(|mut table| table.remove("list")) {
        Some(list @ Value::Array(_)) => list,
        Some(_) | None => {
            let items = text
                .split(',')
                .map(|item| Value::String(item.trim().to_owned()));
            Value::Array(items.collect())
        }
    }
}

/// The parser's message quotes the line that is wrong.
fn redact_lines(message: &str) -> String {
    message.lines().map(redact).collect::<Vec<_>>().join("\n")
}

fn read(path: &PathBuf) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.clone(),
        source,
    };
    let mut text = String::new();
    fs::File::open(path)
        .map_err(unreadable)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(ConfigError::TooLarge {
            path: path.clone(),
            max: FILE_BYTES_MAX,
        }),
        false => Ok(text),
    }
}
