//! One line: what an event says, and how that is written.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use tracing::field::{Field, Visit};

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Fields {
    message: String,
    /// Where it comes from, for one that was passed on from the `log` crate.
    target: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    pub(super) fn add(&mut self, name: &'static str, value: Value) {
        self.others.push((name, value));
    }

    pub(super) fn remove(&mut self, names: &[&str]) {
        self.others.retain(|(name, _)| !names.contains(name));
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(text)) => self.target = Some(text),
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.add(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

/// A line.
pub(super) struct Line<'l> {
    pub(super) at: String,
    pub(super) level: &'static str,
    pub(super) target: &'l str,
    pub(super) fields: Fields,
}

impl Line<'_> {
    fn target(&self) -> &str {
        self.fields.target.as_deref().unwrap_or(self.target)
    }

    /// `2026-11-25T01:02:03.004Z  WARN tollgate::workers: step failed worker=settler`.
    pub(super) fn text(&self) -> String {
        let (at, level, target) = (&self.at, self.level, self.target());
        let mut text = format!("{at} {level:>5} {target}: ");
        push_plain(&mut text, &self.fields.message);
        for (name, value) in &self.fields.others {
            // Writing to a string can't fail.
            let _ = match value.as_str().filter(|text| is_word(text)) {
                Some(word) => write!(text, " {name}={word}"),
                None => write!(text, " {name}={value}"),
            };
        }
        text.push('\n');
        text
    }

    /// One object.
    pub(super) fn json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &self.at)?;
        map.serialize_entry("level", self.level)?;
        map.serialize_entry("target", self.target())?;
        map.serialize_entry("message", &self.fields.message)?;
        for (name, value) in &self.fields.others {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Whether a value can stand without quotes.
fn is_word(text: &str) -> bool {
    let is_fine = |c: char| c.is_alphanumeric() || "._:/@+-[],%".contains(c);
    !text.is_empty() && text.chars().all(is_fine)
}

/// A message as it is, but for what would break the line.
fn push_plain(text: &mut String, message: &str) {
    for c in message.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
}
