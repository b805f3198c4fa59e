//! The play as plain text: what was done, what came back, what was left; then the ledger.

use super::{
    Document,
    ledger::Row,
    play::{Check, Step},
    words::{signed, thousands},
};
use crate::cli::output::{Column, table};

/// Columns: what the caller did, what came back, and the three parts of a balance.
const CALL: usize = 38;
const ANSWER: usize = 42;
const CREDITS: usize = 9;
const SMALL: usize = 4;

/// The whole document.
pub(super) fn text(document: &Document) -> String {
    let head = format!(
        "A Tollgate sidecar of this process answers real gRPC on {} and on a Unix socket.\n\
         Its clock is set by hand and starts on the 31st of January, 10:00 UTC.",
        document.grpc
    );
    let names = columns(
        "what the caller does",
        "what comes back",
        "available",
        "held",
        "debt",
    );
    let mut lines = vec![head, String::new(), names];
    let mut act = "";
    for step in &document.steps {
        if step.act != act {
            act = &step.act;
            lines.push(format!("\n{}  {act}", step.at));
        }
        add(&mut lines, step);
    }
    lines.push(String::new());
    lines.push(ledger(&document.ledger));
    lines.push(String::new());
    lines.push(verdict(document));
    lines.join("\n")
}

fn add(lines: &mut Vec<String>, step: &Step) {
    let mut answers = step.answer.iter().flat_map(|answer| wrapped(answer));
    let first = answers.next().unwrap_or_default();
    let left = step.balance.map(|left| {
        let unless_zero = |credits: u64| match credits {
            0 => String::new(),
            credits => thousands(credits),
        };
        (
            thousands(left.available),
            unless_zero(left.held),
            unless_zero(left.debt),
        )
    });
    let (available, held, debt) = left.unwrap_or_default();
    lines.push(columns(&step.call, &first, &available, &held, &debt));
    lines.extend(answers.map(|answer| columns("", &answer, "", "", "")));
    lines.extend(
        step.checks
            .iter()
            .filter(|check| !check.held)
            .map(difference),
    );
}

fn columns(call: &str, answer: &str, available: &str, held: &str, debt: &str) -> String {
    let line = format!(
        "  {call:<CALL$} {answer:<ANSWER$} {available:>CREDITS$} {held:>SMALL$} {debt:>SMALL$}"
    );
    line.trim_end().to_owned()
}

/// A line of an answer, cut between words where it is longer than its column.
fn wrapped(answer: &str) -> Vec<String> {
    if answer.chars().count() <= ANSWER {
        return vec![answer.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in answer.split_whitespace() {
        let full = |line: &String| line.chars().count() + 1 + word.chars().count() > ANSWER;
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if !full(line) => line.push_str(&format!(" {word}")),
            Some(_) | None => lines.push(format!("  {word}")),
        }
    }
    lines
}

fn difference(check: &Check) -> String {
    let Check {
        what,
        expected,
        got,
        ..
    } = check;
    format!("  ! {what}: expected {expected}, got {got}")
}

fn ledger(rows: &[Row]) -> String {
    let columns = [
        Column::Number("seq"),
        Column::Text("when"),
        Column::Text("what"),
        Column::Number("credits"),
        Column::Number("available"),
        Column::Number("debt"),
        Column::Text("why"),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.sequence.to_string(),
            row.when.clone(),
            row.what.clone(),
            signed(row.credits),
            thousands(row.available),
            thousands(row.debt),
            row.why.clone(),
        ]
    });
    table(&columns, cells)
}

fn verdict(document: &Document) -> String {
    let Document {
        checks,
        differences,
        ..
    } = document;
    match differences {
        0 => format!("All {checks} checks held."),
        1 => format!("1 of {checks} checks did not hold: see the line that starts with \"!\"."),
        _ => format!("{differences} of {checks} checks did not hold: see the lines with \"!\"."),
    }
}
