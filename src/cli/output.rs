//! How commands speak: results to standard output, as text or as one JSON document; failures to
//! standard error. It never decides what is said.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::json;

use super::exit::Exit;
use crate::config::ConfigError;

/// Why a command failed, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process exits with.
    pub exit: Exit,
    /// What is wrong: the field or key, and what is accepted.
    pub message: String,
    /// What to do about it, one line each.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure without hints.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Failure {
            exit,
            message: message.to_string(),
            hints: Vec::new(),
        }
    }

    /// With one more line of what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Failure::new(Exit::Usage, message)
            .hint("`tollgate serve --print-config` shows every key, its value and its meaning")
    }
}

/// Writes results and failures in the form that the caller asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// `json`: one JSON document instead of text.
    pub fn new(json: bool) -> Self {
        Output { json }
    }

    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// The result of a command: the document as JSON, or what `text` makes of it.
    pub fn result<T: Serialize>(
        self,
        document: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let shown = match self.json {
            true => serde_json::to_string_pretty(document)
                .map_err(|error| Failure::new(Exit::Internal, format!("writing JSON: {error}")))?,
            false => text(document),
        };
        write_line(&shown)
    }

    /// A line on the way to the result. Says nothing where JSON was asked for.
    pub fn progress(self, line: impl Display) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => write_line(&line.to_string()),
        }
    }

    /// A failure, to standard error: `error: …` and a line for each hint, or JSON.
    pub fn failure(self, failure: &Failure) {
        let shown = failure_text(self.json, failure);
        // There is nobody left to tell where standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{shown}");
    }
}

/// The columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Words: to the left.
    Text(&'static str),
    /// Numbers: to the right.
    Number(&'static str),
}

/// A plain table: a heading and the rows, no frame; cells are never wrapped.
pub fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let name = |column: &Column| match column {
        Column::Text(name) | Column::Number(name) => (*name).to_owned(),
    };
    table.set_header(columns.iter().map(name));
    for row in rows {
        table.add_row(row);
    }
    for (i, column) in columns.iter().enumerate() {
        if let Some(formatted) = table.column_mut(i) {
            formatted.set_padding((0, 2));
            formatted.set_cell_alignment(match column {
                Column::Text(_) => CellAlignment::Left,
                Column::Number(_) => CellAlignment::Right,
            });
        }
    }
    let lines = table.to_string();
    let trimmed: Vec<&str> = lines.lines().map(str::trim_end).collect();
    trimmed.join("\n")
}

fn failure_text(json: bool, failure: &Failure) -> String {
    if json {
        let Failure {
            exit,
            message,
            hints,
        } = failure;
        let error = json!({
            "error": {"reason": exit.name(), "code": exit.code(), "message": message, "hints": hints}
        });
        return error.to_string();
    }
    let mut lines = failure.message.lines();
    let mut text = format!("error: {}", lines.next().unwrap_or("unknown"));
    for line in lines {
        text.push_str(&format!("\n       {line}"));
    }
    for hint in &failure.hints {
        text.push_str(&format!("\n hint: {hint}"));
    }
    text
}

/// A reader that closes early (`| head`) is no failure; a disk that is full is one.
fn write_line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Internal,
            format!("writing to standard output: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_its_hints() {
        let failure = Failure::new(Exit::CantCreate, "port 1 is in use").hint("take another");
        assert_eq!(
            failure_text(false, &failure),
            "error: port 1 is in use\n hint: take another"
        );
        let document: serde_json::Value =
            serde_json::from_str(&failure_text(true, &failure)).unwrap();
        assert_eq!(document["error"]["reason"], "cant_create");
        assert_eq!(document["error"]["code"], 73);
        assert_eq!(document["error"]["hints"][0], "take another");
    }

    #[test]
    fn tables_align_and_end_without_blanks() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["long".to_owned(), "100".to_owned()],
        ];
        let text = table(&[Column::Text("name"), Column::Number("credits")], rows);
        assert_eq!(text, "name  credits\na           1\nlong      100");
    }

    #[test]
    fn exit_codes_are_distinct() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
        assert!(codes.is_sorted(), "{codes:?}");
    }
}
