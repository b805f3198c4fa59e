//! The rules of the chart, with time shortened so that an incident can be played: nothing else of
//! them is changed but the few numbers that are named here.

use super::super::{alerts::RULES, render::file};

/// How many milliseconds of the rules one of the test is.
const PACE: u64 = 300;
/// A rate needs some scrapes.
const RANGE_MIN_MS: u64 = 3_000;

/// What is no span of time, or would be too short a one: text of the rules, and what takes its
/// place.
const THRESHOLDS: &[(&str, &str)] = &[
    // A Reserve on a machine that is busy with other tests takes longer than 10 ms by itself.
    (r#"le="0.01""#, r#"le="0.25""#),
    ("_outbox_lag_seconds) > 60", "_outbox_lag_seconds) > 2"),
    ("_outbox_entries) > 500000", "_outbox_entries) > 30"),
    ("_expiry_lag_seconds) > 60", "_expiry_lag_seconds) > 6"),
    (") > 300", ") > 3"),
    ("_start_time_seconds < 3600", "_start_time_seconds < 12"),
    ("_start_time_seconds < 900", "_start_time_seconds < 3"),
    (
        "_redo_backlog_records) > 65536",
        "_redo_backlog_records) > 20",
    ),
    ("_backlog_age_seconds) > 60", "_backlog_age_seconds) > 4"),
    // Three starts of a process take some seconds.
    ("_start_time_seconds[30m]", "_start_time_seconds[5h]"),
];

/// The rules as they are played.
pub fn shortened() -> String {
    let mut rules = file(RULES);
    for (is, becomes) in THRESHOLDS {
        assert!(rules.contains(is), "the rules have no {is}");
        rules = rules.replace(is, becomes);
    }
    let lines = rules.lines().map(|line| match line.split_once("for: ") {
        Some((start, span)) if start.trim().is_empty() => {
            format!("{start}for: {}ms", milliseconds(span).unwrap() / PACE)
        }
        _ => ranges(line),
    });
    lines.map(|line| line + "\n").collect()
}

/// A line with its ranges shortened: `[15m]`.
fn ranges(line: &str) -> String {
    let mut parts = line.split('[');
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.push('[');
        match part.split_once(']') {
            Some((span, rest)) if milliseconds(span).is_some() => {
                let span = milliseconds(span).unwrap() / PACE;
                short.push_str(&format!("{}ms]{rest}", span.max(RANGE_MIN_MS)));
            }
            _ => short.push_str(part),
        }
    }
    short
}

/// A span of time as Prometheus writes it; `None`: it is none.
fn milliseconds(span: &str) -> Option<u64> {
    let unit = match span.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    Some(span[..span.len() - 1].parse::<u64>().ok()? * unit)
}

#[test]
fn the_rules_are_shortened_and_nothing_else() {
    let (long, short) = (file(RULES), shortened());
    assert_eq!(long.lines().count(), short.lines().count());
    assert_eq!(
        short.matches("[288000ms]").count(),
        long.matches("[1d]").count()
    );
    assert!(!short.contains("[1d]") && !short.contains("[5m]"));
    let untouched = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains('['));
        let lines = lines.filter(|line| !line.trim().starts_with("for: "));
        lines.map(str::to_owned).collect()
    };
    let mut expected = untouched(&long).join("\n");
    for (is, becomes) in THRESHOLDS {
        expected = expected.replace(is, becomes);
    }
    assert_eq!(untouched(&short).join("\n"), expected);
}
