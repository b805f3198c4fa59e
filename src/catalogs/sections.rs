//! What each section of a catalogue file means. A value that is wrong is noted with its place
//! and stood in for, so that one reading finds all that is wrong.

use std::sync::Arc;

use serde_saphyr::{Location, Spanned};

use super::{
    file::{ModeFields, Optional, PackFields, PlanFields, RateFields, Section, Text},
    numbers,
    problems::Problems,
};
use crate::domain::{
    credits::Credits,
    ids::{PackId, PlanId},
    rate_card::{ModeParts, Multiplier, OutcomeRule, Outcomes, Rate},
    usage::Outcome,
};

pub(super) type Rates = Vec<(String, Rate)>;

/// The file's version; a stand-in where it is wrong.
pub(super) fn version(version: Option<Text>, problems: &mut Problems) -> Arc<str> {
    let Some(version) = version else {
        problems.add_whole("`version` is missing: a name that every changed file changes");
        return Arc::from("");
    };
    if let Err(message) = numbers::name(&version.value) {
        problems.add(version.referenced, format!("version: {message}"));
    }
    Arc::from(version.value)
}

/// The plans with their allowances.
pub(super) fn plans(
    section: Optional<PlanFields>,
    problems: &mut Problems,
) -> Vec<(PlanId, Credits)> {
    let entries = required(section, "plans", problems);
    let plans = entries.into_iter().filter_map(|(id, fields)| {
        let allowance = credits(&id, "allowance", fields.allowance, problems);
        let id = PlanId::new(checked_name(&id, problems)?).ok()?;
        Some((id, allowance))
    });
    plans.collect()
}

/// The packs with their credits.
pub(super) fn packs(
    section: Optional<PackFields>,
    problems: &mut Problems,
) -> Vec<(PackId, Credits)> {
    let entries = optional(section, "packs", problems);
    let packs = entries.into_iter().filter_map(|(id, fields)| {
        let credits = credits(&id, "credits", fields.credits, problems);
        let id = PackId::new(checked_name(&id, problems)?).ok()?;
        Some((id, credits))
    });
    packs.collect()
}

/// The rates of every tier.
pub(super) fn common_rates(section: Optional<RateFields>, problems: &mut Problems) -> Rates {
    rates(optional(section, "rates", problems), problems)
}

/// The modes.
pub(super) fn modes(section: Optional<ModeFields>, problems: &mut Problems) -> Vec<ModeParts> {
    let mut modes = Vec::new();
    for (name, fields) in required(section, "modes", problems) {
        checked_name(&name, problems);
        let minimum = match fields.minimum {
            Some(minimum) => credits(&name, "minimum", Some(minimum), problems),
            None => Credits::ZERO,
        };
        let number = present(&name, "multiplier", fields.multiplier, problems);
        let multiplier = number.and_then(|number| {
            let multiplier = numbers::decimal(&number.value)
                .and_then(|decimal| Multiplier::new(decimal).map_err(|e| e.to_string()));
            noted(number.referenced, "multiplier", multiplier, problems)
        });
        modes.push(ModeParts {
            name: name.value,
            multiplier: multiplier.unwrap_or(Multiplier::ONE),
            minimum,
        });
    }
    modes
}

/// What each outcome is charged.
pub(super) fn outcomes(section: Optional<Text>, problems: &mut Problems) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (name, rule) in optional(section, "outcomes", problems) {
        let outcome = Outcome::ALL.into_iter().find(|o| o.name() == name.value);
        if outcome.is_none() {
            let accepted = Outcome::ALL.map(Outcome::name).join(", ");
            let message = format!("{:?} is not an outcome: one of {accepted}", name.value);
            problems.add(name.referenced, message);
        }
        let known = OutcomeRule::ALL.into_iter();
        let Some(found) = known.clone().find(|known| known.name() == rule.value) else {
            let accepted = known.map(OutcomeRule::name).collect::<Vec<_>>().join(", ");
            let message = format!("{:?} is not a rule: one of {accepted}", rule.value);
            problems.add(rule.referenced, message);
            continue;
        };
        if let Some(outcome) = outcome {
            *outcomes.rule_mut(outcome) = found;
        }
    }
    outcomes
}

pub(super) fn rates(entries: Vec<(Text, RateFields)>, problems: &mut Problems) -> Rates {
    let mut rates = Vec::new();
    for (meter, fields) in entries {
        checked_name(&meter, problems);
        let per = match fields.per {
            Some(per) => {
                let number = numbers::whole(&per.value).and_then(|number| match number {
                    0 => Err("0 is no number of units: 1 or more".to_owned()),
                    number => Ok(number),
                });
                noted(per.referenced, "per", number, problems).unwrap_or(1)
            }
            None => 1,
        };
        let number = present(&meter, "credits", fields.credits, problems);
        let rate = number.and_then(|number| {
            let rate = numbers::decimal(&number.value)
                .and_then(|credits| Rate::new(credits, per).map_err(|error| error.to_string()));
            noted(number.referenced, "credits", rate, problems)
        });
        rates.push((meter.value, rate.unwrap_or(Rate::ZERO)));
    }
    rates
}

pub(super) fn required<T>(
    section: Optional<T>,
    name: &str,
    problems: &mut Problems,
) -> Vec<(Text, T)> {
    if section.is_none() {
        problems.add_whole(format!("`{name}` is missing: at least one entry"));
    }
    optional(section, name, problems)
}

pub(super) fn optional<T>(
    section: Optional<T>,
    name: &str,
    problems: &mut Problems,
) -> Vec<(Text, T)> {
    match section {
        None => Vec::new(),
        Some(Spanned {
            value: Section { entries },
            referenced,
            ..
        }) => {
            if entries.is_empty() {
                problems.add(referenced, format!("`{name}` is empty: at least one entry"));
            }
            entries
        }
    }
}

fn present(entry: &Text, key: &str, value: Option<Text>, problems: &mut Problems) -> Option<Text> {
    if value.is_none() {
        problems.add(
            entry.referenced,
            format!("{:?} has no `{key}`", entry.value),
        );
    }
    value
}

fn credits(entry: &Text, key: &str, value: Option<Text>, problems: &mut Problems) -> Credits {
    let number = present(entry, key, value, problems);
    let credits = number.and_then(|number| {
        noted(
            number.referenced,
            key,
            numbers::credits(&number.value),
            problems,
        )
    });
    credits.unwrap_or(Credits::ZERO)
}

pub(super) fn checked_name<'a>(text: &'a Text, problems: &mut Problems) -> Option<&'a str> {
    match numbers::name(&text.value) {
        Ok(name) => Some(name),
        Err(message) => {
            problems.add(text.referenced, message);
            None
        }
    }
}

fn noted<T>(
    place: Location,
    key: &str,
    value: Result<T, String>,
    problems: &mut Problems,
) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(message) => {
            problems.add(place, format!("{key}: {message}"));
            None
        }
    }
}
