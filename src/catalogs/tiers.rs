//! What the tiers of a catalogue file mean: their models and their rates.

use std::collections::BTreeMap;

use serde_saphyr::Location;

use super::{
    file::{Optional, Text, TierFields},
    problems::Problems,
    sections::{Rates, checked_name, optional, rates, required},
};
use crate::domain::rate_card::{PATTERNS_MAX, Pattern, Tie, TierParts};

/// The tiers, and where each of their patterns stands, in order.
pub(super) fn tiers(
    section: Optional<TierFields>,
    common: &Rates,
    problems: &mut Problems,
) -> (Vec<TierParts>, Vec<Location>) {
    let mut tiers = Vec::new();
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for (name, fields) in required(section, "tiers", problems) {
        checked_name(&name, problems);
        let own = match fields.rates {
            Some(section) => optional(Some(section), "rates", problems),
            None => {
                let message = format!("tier {:?} has no rates", name.value);
                problems.add(name.referenced, message);
                Vec::new()
            }
        };
        tiers.push(TierParts {
            name: name.value.clone(),
            models: patterns(&name, fields.models, &mut places, problems),
            rates: rates(own, problems),
        });
        names.push(name);
    }
    same_meters(&tiers, &names, common, problems);
    (tiers, places)
}

/// The tier's patterns as text.
pub(super) fn pattern_texts(tier: &TierParts) -> impl Iterator<Item = String> {
    tier.models
        .iter()
        .map(|pattern| pattern.as_str().to_owned())
}

/// Notes the patterns that tie, at the later one of each two.
pub(super) fn report_ties(
    ties: &[Tie],
    patterns: &[String],
    places: &[Location],
    problems: &mut Problems,
) {
    for tie in ties {
        let (Some(first), Some(second)) = (patterns.get(tie.first), patterns.get(tie.second))
        else {
            continue;
        };
        let line = places.get(tie.first).map_or(0, Location::line);
        let place = places.get(tie.second).copied();
        problems.add(
            place.unwrap_or(Location::UNKNOWN),
            format!(
                "{second:?} matches the model {:?} as well as {first:?} of line {line} does: \
                 make one of them more specific",
                tie.model
            ),
        );
    }
}

fn patterns(
    tier: &Text,
    models: Option<Vec<Text>>,
    places: &mut Vec<Location>,
    problems: &mut Problems,
) -> Vec<Pattern> {
    let models = models.unwrap_or_default();
    if models.is_empty() {
        let message = format!("tier {:?} has no `models`: list at least one", tier.value);
        problems.add(tier.referenced, message);
    }
    let mut patterns = Vec::new();
    for model in models {
        if places.len() == PATTERNS_MAX {
            let message = format!("too many models: at most {PATTERNS_MAX} in all tiers");
            problems.add(model.referenced, message);
            break;
        }
        match Pattern::new(&model.value) {
            Ok(pattern) => {
                patterns.push(pattern);
                places.push(model.referenced);
            }
            Err(error) => problems.add(model.referenced, format!("the model pattern {error}")),
        }
    }
    patterns
}

/// A meter that one tier prices and another does not would fail in production, and only for some
/// models.
fn same_meters(tiers: &[TierParts], names: &[Text], common: &Rates, problems: &mut Problems) {
    let mut priced_by: BTreeMap<&str, &str> = BTreeMap::new();
    for tier in tiers {
        for (meter, _) in &tier.rates {
            priced_by.entry(meter).or_insert(&tier.name);
        }
    }
    for (tier, name) in tiers.iter().zip(names) {
        let has = |meter: &str| tier.rates.iter().chain(common).any(|(own, _)| own == meter);
        // A tier without any rate has been noted as such.
        let lacks = priced_by.iter().filter(|(meter, _)| !has(meter));
        for (meter, other) in lacks.filter(|_| !tier.rates.is_empty()) {
            let message = format!(
                "tier {:?} has no rate for {meter:?}, which tier {other:?} prices",
                tier.name
            );
            problems.add(name.referenced, message);
        }
    }
}
