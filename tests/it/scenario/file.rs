//! A scenario file, cut into scenarios and lines.

/// One world and what happens in it.
#[derive(Debug, Default)]
pub struct Scenario {
    pub title: String,
    /// On which pairs of stores alone it is so; absent: on all.
    pub only: Option<Only>,
    pub lines: Vec<Line>,
}

/// Where the hot balances are, where that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// In the process: they are gone with it, but for what was flushed.
    Embedded,
    /// In a server of their own, which outlives the process.
    Shared,
}

/// One thing that is asked, and what it must be answered.
#[derive(Debug)]
pub struct Line {
    pub number: usize,
    pub request: String,
    pub expected: Option<String>,
    /// The whole list below it, where it has one.
    pub rows: Vec<Row>,
}

/// One line of an expected list.
#[derive(Debug)]
pub struct Row {
    pub number: usize,
    pub expected: String,
}

/// Reads a file. `Err`: the number of the line that makes no sense, and why.
pub fn read(text: &str) -> Result<Vec<Scenario>, (usize, String)> {
    if !text.starts_with("# ") {
        return Err((
            1,
            "a file opens with a comment that says what it shows".to_owned(),
        ));
    }
    let mut scenarios = vec![Scenario::default()];
    for (place, line) in text.lines().enumerate() {
        let (number, line) = (place + 1, line.trim());
        let scenario = scenarios.last_mut().expect("there is always one");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("==") {
            scenarios.push(read_title(title.trim()));
        } else if let Some(row) = line.strip_prefix('|') {
            let above = scenario.lines.last_mut();
            let above = above.ok_or_else(|| (number, "a list needs a line above".to_owned()))?;
            above.rows.push(Row {
                number,
                expected: row.trim().to_owned(),
            });
        } else {
            scenario.lines.push(read_line(number, line));
        }
    }
    scenarios.retain(|scenario| !scenario.lines.is_empty());
    if scenarios.is_empty() {
        return Err((1, "nothing happens in this file".to_owned()));
    }
    Ok(scenarios)
}

/// A title may end with `[embedded]` or `[shared]`.
fn read_title(title: &str) -> Scenario {
    let scopes = [("[embedded]", Only::Embedded), ("[shared]", Only::Shared)];
    let scope = scopes.iter().find(|(name, _)| title.ends_with(name));
    Scenario {
        title: title.to_owned(),
        only: scope.map(|(_, only)| *only),
        lines: Vec::new(),
    }
}

fn read_line(number: usize, line: &str) -> Line {
    let (request, expected) = match line.split_once("->") {
        Some((request, expected)) => (request, Some(words(expected))),
        None => (line, None),
    };
    Line {
        number,
        request: words(request),
        expected,
        rows: Vec::new(),
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
