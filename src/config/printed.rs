//! The configuration as it is shown: every key with its value and where it comes from.

use serde::{Serialize, Serializer};
use toml::Value;

use super::{
    defaults::{self, Line},
    error::redact,
    layers::{Given, Layers, Source},
};

/// What the layers come to. As JSON an object of the dotted keys, in their order, each with `value`
/// and `source`: `default`, the file, the variable or the flag. No user or password of a URL is in
/// it.
#[derive(Debug)]
pub struct Printed(pub(super) Layers);

impl Printed {
    /// The defaults, comments included, with what the layers changed, each such line saying where
    /// it comes from: a file that `--config` reads, but for what was taken out of URLs.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in defaults::lines() {
            match line {
                Line::Other(line) => text.push_str(line),
                Line::Key { dotted, name } => {
                    if let Some(given) = self.0.get(&dotted) {
                        text.push_str(&format!("{name} = {}", shown(&given.value)));
                        if given.source != Source::Default {
                            text.push_str(&format!("  # {}", given.source));
                        }
                    }
                }
            }
            text.push('\n');
        }
        text
    }
}

impl Serialize for Printed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Key {
            value: Value,
            source: String,
        }
        let keys = defaults::keys().into_iter().filter_map(|key| {
            let Given { value, source } = self.0.get(&key)?;
            let (value, source) = (shown(value), source.to_string());
            Some((key, Key { value, source }))
        });
        serializer.collect_map(keys)
    }
}

/// A value without secrets.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(redact(text)),
        Value::Array(items) => Value::Array(items.iter().map(shown).collect()),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => value.clone(),
    }
}
