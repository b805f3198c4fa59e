//! Takes the layered values out, one key at a time, as the types that the sections need.
//!
//! A value that is not accepted is noted with its key, its source and what would be; the reading
//! goes on, so that one start shows everything that is wrong. That holds for a value too that a higher
//! layer overrides: without that layer the next start would fail by it. What values must be to each
//! other is looked at only in those that count.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use toml::Value;

use super::{
    error::{Problem, redact},
    layers::{Given, Layers, Source},
};

/// The longest path of a Unix socket, in bytes: what the operating system's address holds.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Reads keys and notes problems.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    /// The keys that were asked for, for the test that every key has a reader.
    pub(super) asked: Vec<&'static str>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Reader {
            layers,
            asked: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A whole number within a range.
    pub(super) fn int(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(key, &accepted, |value| {
            let number = u64::try_from(value.as_integer()?).ok()?;
            range.contains(&number).then_some(number)
        })
    }

    /// A whole number that fits a `u32`.
    pub(super) fn small_int(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        self.int(key, range)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// A number from 0 to 1.
    pub(super) fn ratio(&mut self, key: &'static str) -> Option<f64> {
        self.take(key, "a number from 0 to 1, e.g. 0.01", |value| {
            let whole = value.as_integer().map(|number| number as f64);
            let number = value.as_float().or(whole)?;
            (0.0..=1.0).contains(&number).then_some(number)
        })
    }

    /// Yes or no.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "true or false", Value::as_bool)
    }

    /// A text that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.take(key, accepted, |value| parse(value.as_str()?))
    }

    /// A socket address.
    pub(super) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let accepted = "an IP address and a port, e.g. 127.0.0.1:50051, 0.0.0.0:50051 or [::]:0";
        self.text(key, accepted, |text| text.parse().ok())
    }

    /// A socket address, or `Some(None)` where the value is empty.
    pub(super) fn optional_address(&mut self, key: &'static str) -> Option<Option<SocketAddr>> {
        let accepted = "an IP address and a port, e.g. 127.0.0.1:50052, or empty";
        self.text(key, accepted, |text| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        })
    }

    /// A few socket addresses, or none.
    pub(super) fn addresses(&mut self, key: &'static str, max: usize) -> Option<Vec<SocketAddr>> {
        let accepted = format!("at most {max} addresses, e.g. [\"0.0.0.0:50051\"]");
        self.list(key, &accepted, max, |item| item.as_str()?.parse().ok())
    }

    /// A few whole numbers that fit a `u32`, or none. In a text they stand as text.
    pub(super) fn small_ints(&mut self, key: &'static str, max: usize) -> Option<Vec<u32>> {
        let accepted = format!("at most {max} whole numbers, e.g. [1000, 1001]");
        self.list(key, &accepted, max, |item| match item.as_integer() {
            Some(number) => u32::try_from(number).ok(),
            None => item.as_str()?.parse().ok(),
        })
    }

    /// The permissions of a file, in octal digits.
    pub(super) fn mode(&mut self, key: &'static str) -> Option<u32> {
        let accepted = "three or four octal digits that let the owner in, e.g. \"0660\"";
        self.text(key, accepted, |text| {
            let digits = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
            let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let mode = u32::from_str_radix(text, 8).ok()?;
            // Connecting to a socket is writing to it.
            (digits && is_octal && mode & 0o200 != 0).then_some(mode)
        })
    }

    /// A list of few items, or none. A text without anything in it is an empty list.
    fn list<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        max: usize,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.take(key, accepted, |value| {
            let items = value.as_array()?;
            if let [item] = items.as_slice()
                && item.as_str() == Some("")
            {
                return Some(Vec::new());
            }
            let parsed = items.iter().map(&parse).collect::<Option<Vec<T>>>()?;
            (parsed.len() <= max).then_some(parsed)
        })
    }

    /// A path, or `Some(None)` where the value is empty.
    pub(super) fn optional_path(&mut self, key: &'static str) -> Option<Option<PathBuf>> {
        self.text(key, "a path, or empty", |text| {
            let path = (!text.is_empty()).then(|| PathBuf::from(text));
            (!text.contains('\0')).then_some(path)
        })
    }

    /// A path that must not be empty.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key, "a path", |text| {
            (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
        })
    }

    /// The path of a Unix socket, or `Some(None)` where the value is empty.
    pub(super) fn socket_path(&mut self, key: &'static str) -> Option<Option<PathBuf>> {
        let accepted = format!("a path of at most {SOCKET_PATH_BYTES_MAX} bytes, or empty");
        self.text(key, &accepted, |text| {
            let path = (!text.is_empty()).then(|| PathBuf::from(text));
            (!text.contains('\0') && text.len() <= SOCKET_PATH_BYTES_MAX).then_some(path)
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let accepted = words(choices.iter().map(|(word, _)| *word));
        self.text(key, &accepted, |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, choice)| *choice)
        })
    }

    /// Some of a few words, at least one and none twice.
    pub(super) fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let words = words(choices.iter().map(|(word, _)| *word));
        let accepted = format!("one or more of {words}, each once, parted by commas");
        self.take(key, &accepted, |value| {
            let items = value.as_array()?;
            let mut given: Vec<&str> = items.iter().map(Value::as_str).collect::<Option<_>>()?;
            let chosen = given
                .iter()
                .map(|word| {
                    choices
                        .iter()
                        .find(|(known, _)| known == word)
                        .map(|(_, c)| *c)
                })
                .collect::<Option<Vec<T>>>()?;
            let count = given.len();
            given.sort_unstable();
            given.dedup();
            (count > 0 && given.len() == count).then_some(chosen)
        })
    }

    /// Notes that values do not fit together.
    pub(super) fn conflict(&mut self, what: String, accepted: impl Display) {
        self.problems.push(Problem::Conflict {
            what,
            accepted: accepted.to_string(),
        });
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        self.asked.push(key);
        // A key that the defaults lack has no value to show; a test keeps that from happening.
        let (counts, below) = self.layers.all(key).split_last()?;
        let parsed = parse(&counts.value);
        if parsed.is_none() {
            self.wrong_value(key, counts, None, accepted);
        }
        for given in below.iter().filter(|given| parse(&given.value).is_none()) {
            self.wrong_value(key, given, Some(&counts.source), accepted);
        }
        parsed
    }

    fn wrong_value(
        &mut self,
        key: &'static str,
        given: &Given,
        overridden_by: Option<&Source>,
        accepted: &str,
    ) {
        self.problems.push(Problem::WrongValue {
            key,
            value: redact(&given.value.to_string()),
            origin: given.source.clone(),
            overridden_by: overridden_by.cloned(),
            accepted: accepted.to_owned(),
        });
    }
}

/// `"a", "b" or "c"`.
fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
