//! Runs the scenarios of a file, line by line, and says of each that fails where and why.

use super::{
    answer::Answer,
    file::{self, Line, Row, Scenario},
    stores::Backend,
    words::Words,
    world::World,
};

/// Runs a file; answers one text for each scenario that failed. `shown` is the file's name.
pub async fn run(backend: &dyn Backend, shown: &str, text: &str) -> Vec<String> {
    let scenarios = match file::read(text) {
        Ok(scenarios) => scenarios,
        Err((number, problem)) => return vec![format!("{shown}:{number}: {problem}")],
    };
    let mut failures = Vec::new();
    for scenario in &scenarios {
        if scenario.only.is_some_and(|only| only != backend.place()) {
            continue;
        }
        if let Err(failure) = play(backend, shown, scenario).await {
            failures.push(failure);
        }
    }
    failures
}

async fn play(backend: &dyn Backend, shown: &str, scenario: &Scenario) -> Result<(), String> {
    let mut world = World::new(backend).await?;
    for line in &scenario.lines {
        let place = format!("{shown}:{}: {}", line.number, line.request);
        let answer = world.run(Words::new(&line.request)).await;
        let answer = answer.map_err(|problem| format!("{place}\n  {problem}"))?;
        compare(shown, &place, line, &answer)?;
        world
            .check()
            .await
            .map_err(|broken| format!("{place}\n  {broken}"))?;
    }
    let end = |broken| format!("{shown}: after {:?}\n  {broken}", scenario.title);
    world.check_ledger().await.map_err(end)
}

fn compare(shown: &str, place: &str, line: &Line, answer: &Answer) -> Result<(), String> {
    let differs = |place: &str, expected: &str, got: &dyn ToString| {
        format!(
            "{place}\n  expected: {expected}\n  got:      {}",
            got.to_string()
        )
    };
    match &line.expected {
        Some(expected) => {
            let is_as = answer.is_as(expected);
            if !is_as.map_err(|problem| format!("{place}\n  {problem}"))? {
                return Err(differs(place, expected, answer));
            }
        }
        None if answer.is_done() => {}
        None => return Err(differs(place, "to be done", answer)),
    }
    if line.rows.is_empty() {
        return Ok(());
    }
    if line.rows.len() != answer.rows.len() {
        let rows: Vec<String> = answer
            .rows
            .iter()
            .map(|row| format!("\n    {row}"))
            .collect();
        let expected = format!("{} lines", line.rows.len());
        return Err(differs(place, &expected, &rows.concat()));
    }
    for (Row { number, expected }, row) in line.rows.iter().zip(&answer.rows) {
        let place = format!("{shown}:{number}: {}", line.request);
        let is_as = row.is_as(expected);
        if !is_as.map_err(|problem| format!("{place}\n  {problem}"))? {
            return Err(differs(&place, expected, row));
        }
    }
    Ok(())
}
