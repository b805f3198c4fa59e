//! What is wrong with a catalogue file: where, and how to put it right.

use std::fmt;

use serde_saphyr::{Error, Location, SnippetMode};

/// The most problems that are reported of one file.
pub const PROBLEMS_MAX: usize = 50;

/// How much of a long line is shown around the caret, in characters.
const SNIPPET_CHARS_MAX: usize = 100;
/// How much of that comes before the caret.
const SNIPPET_CHARS_BEFORE: usize = 60;

/// One problem of a catalogue file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; zero where the file as a whole is wrong.
    pub line: u64,
    /// The column, from 1, in characters; zero where the file as a whole is wrong.
    pub column: u64,
    /// What is wrong, and what would be accepted.
    pub message: String,
    /// The line with a caret below the place, ready to print; may be empty.
    pub snippet: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)?;
        if !self.snippet.is_empty() {
            write!(f, "\n{}", self.snippet)?;
        }
        Ok(())
    }
}

/// Everything found wrong with a catalogue file, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogProblems {
    problems: Vec<Problem>,
    /// Problems beyond [`PROBLEMS_MAX`], not kept.
    more: usize,
}

impl CatalogProblems {
    /// The problems, at least one and at most [`PROBLEMS_MAX`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for CatalogProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            let gap = if place > 0 { "\n\n" } else { "" };
            write!(f, "{gap}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n\nand {} more problems", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for CatalogProblems {}

/// Collects the problems of one file.
pub(super) struct Problems<'a> {
    yaml: &'a str,
    found: Vec<Problem>,
    more: usize,
}

impl<'a> Problems<'a> {
    pub(super) fn new(yaml: &'a str) -> Self {
        Problems {
            yaml,
            found: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// A problem at one place.
    pub(super) fn add(&mut self, place: Location, message: impl Into<String>) {
        if self.found.len() == PROBLEMS_MAX {
            self.more += 1;
            return;
        }
        self.found.push(Problem {
            line: place.line(),
            column: place.column(),
            message: message.into(),
            snippet: snippet(self.yaml, place.line(), place.column()),
        });
    }

    /// A problem of the whole file.
    pub(super) fn add_whole(&mut self, message: impl Into<String>) {
        self.add(Location::UNKNOWN, message);
    }

    /// What the YAML reader says.
    pub(super) fn add_yaml(&mut self, error: &Error) {
        let place = error.location().unwrap_or(Location::UNKNOWN);
        let text = error.render_with_options(serde_saphyr::render_options! {
            snippets: SnippetMode::Off,
        });
        let suffix = format!(" at line {}, column {}", place.line(), place.column());
        self.add(place, text.strip_suffix(&suffix).unwrap_or(&text));
    }

    /// The problems, in the file's order.
    pub(super) fn finish(self) -> CatalogProblems {
        let mut problems = self.found;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        CatalogProblems {
            problems,
            more: self.more,
        }
    }
}

/// The line, cut where it is long, with a caret below the column.
fn snippet(yaml: &str, line: u64, column: u64) -> String {
    let (Ok(at), Ok(column)) = (usize::try_from(line), usize::try_from(column)) else {
        return String::new();
    };
    let text = at.checked_sub(1).and_then(|at| yaml.lines().nth(at));
    let Some((text, before)) = text.zip(column.checked_sub(1)) else {
        return String::new();
    };
    let cut = before.saturating_sub(SNIPPET_CHARS_BEFORE);
    let shown: String = text.chars().skip(cut).take(SNIPPET_CHARS_MAX).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let pad = " ".repeat(before - cut);
    format!("{number} | {}\n{margin} | {pad}^", shown.trim_end())
}
