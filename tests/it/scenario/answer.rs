//! An answer in the words of a scenario, and whether it is what a line expects.

use std::fmt;

/// Words that an expectation names exactly where they are so.
const FLAGS: [&str; 2] = ["replayed", "late"];

/// What a line was answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    head: Vec<String>,
    facts: Vec<(String, String)>,
    flags: Vec<&'static str>,
    /// The lines of a list.
    pub rows: Vec<Answer>,
}

impl Answer {
    /// With its leading words.
    pub fn new<const WORDS: usize>(head: [&str; WORDS]) -> Self {
        Answer {
            head: head.map(str::to_owned).to_vec(),
            ..Answer::default()
        }
    }

    /// With one more leading word.
    pub fn word(mut self, word: impl ToString) -> Self {
        self.head.push(word.to_string());
        self
    }

    /// With one more fact.
    pub fn fact(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.facts.push((key.into(), value.to_string()));
        self
    }

    /// With one more fact, `none` where it is absent.
    pub fn maybe(self, key: &str, value: Option<impl ToString>) -> Self {
        self.fact(
            key,
            value.map_or("none".to_owned(), |value| value.to_string()),
        )
    }

    /// With a flag, where it is so.
    pub fn flag(mut self, flag: &'static str, is_set: bool) -> Self {
        assert!(FLAGS.contains(&flag), "{flag} is no flag");
        if is_set {
            self.flags.push(flag);
        }
        self
    }

    /// With the facts and flags of another answer.
    pub fn and(mut self, other: Answer) -> Self {
        self.facts.extend(other.facts);
        self.flags.extend(other.flags);
        self
    }

    /// With the lines of a list.
    pub fn list(self, rows: Vec<Answer>) -> Self {
        Answer { rows, ..self }
    }

    /// What kind of answer it is, in one word.
    pub fn kind(&self) -> &str {
        if self.flags.contains(&"replayed") {
            return "replayed";
        }
        self.head.first().map_or("", String::as_str)
    }

    /// Whether it did what was asked for.
    pub fn is_done(&self) -> bool {
        !matches!(
            self.head.first().map(String::as_str),
            Some("denied" | "error")
        )
    }

    /// Whether it is what was expected. `Err`: the expectation itself makes no sense.
    pub fn is_as(&self, expected: &str) -> Result<bool, String> {
        let mut is_as = true;
        let mut flags = Vec::new();
        let mut head = self.head.iter();
        for word in expected.split_whitespace() {
            if let Some(flag) = FLAGS.iter().find(|flag| **flag == word) {
                flags.push(*flag);
            } else if let Some((key, value)) = word.split_once(['=', '~']) {
                let part = word.as_bytes().get(key.len()) == Some(&b'~');
                let told = self.value(key)?;
                is_as &= if part {
                    told.contains(value)
                } else {
                    told == value
                };
            } else {
                is_as &= head.next().is_some_and(|told| told == word);
            }
        }
        let named = |flag: &&'static str| flags.contains(flag);
        Ok(is_as && flags.len() == self.flags.len() && self.flags.iter().all(named))
    }

    fn value(&self, key: &str) -> Result<&str, String> {
        let found = self.facts.iter().find(|(known, _)| known == key);
        let known = || {
            self.facts
                .iter()
                .map(|(key, _)| key.as_str())
                .collect::<Vec<_>>()
        };
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| format!("no such fact: {key}, of {}", known().join(", ")))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self
            .facts
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let flags = self.flags.iter().map(|flag| (*flag).to_owned());
        let words: Vec<String> = self
            .head
            .iter()
            .cloned()
            .chain(facts)
            .chain(flags)
            .collect();
        f.write_str(&words.join(" "))
    }
}
