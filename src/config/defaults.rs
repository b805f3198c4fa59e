//! The defaults that are built in, read line by line: which keys there are, and in which order.
//!
//! The file's own layout is part of the program (one line a section, one line a key), and a test
//! holds it to that; so the list of keys needs no parser that could fail.

/// The text of `config.default.toml`.
pub(super) const TEXT: &str = include_str!("../config.default.toml");

/// One line of the defaults.
pub(super) enum Line {
    /// A comment, an empty line or a section's heading.
    Other(&'static str),
    /// A key: its dotted name, and the name within its section.
    Key { dotted: String, name: &'static str },
}

/// The defaults, in their order.
pub(super) fn lines() -> impl Iterator<Item = Line> {
    let mut section = "";
    TEXT.lines().map(move |line| {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
            return Line::Other(line);
        }
        match line.split_once(" = ") {
            Some((name, _)) if !line.starts_with('#') => {
                let dotted = match section {
                    "" => name.to_owned(),
                    _ => format!("{section}.{name}"),
                };
                Line::Key { dotted, name }
            }
            Some(_) | None => Line::Other(line),
        }
    })
}

/// All dotted keys.
pub(super) fn keys() -> Vec<String> {
    lines()
        .filter_map(|line| match line {
            Line::Key { dotted, .. } => Some(dotted),
            Line::Other(_) => None,
        })
        .collect()
}
