//! Catalogues as files: reading one, the one that is built in, those that are loaded, and word
//! of a changed file.
//!
//! A file is checked whole before anything of it is used, and every problem is named with its
//! line and column. No amount ever passes through a floating-point number.

use std::sync::Arc;

use crate::domain::{
    catalog::{Catalog, Pack, Plan},
    rate_card::{CardParts, RateCard},
};

mod file;
mod numbers;
mod problems;
mod registry;
mod sections;
#[cfg(test)]
mod tests;
mod tiers;
pub mod watch;

pub use problems::{CatalogProblems, PROBLEMS_MAX, Problem};
pub use registry::{Catalogs, VersionReused};

use problems::Problems;

/// The largest catalogue file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The text of the built-in catalogue, with the comments that make it a start for one's own.
pub const BUILTIN_YAML: &str = include_str!("catalogs/default.yaml");

/// Reads a catalogue. The problems of what the file means are all reported at once; of its form
/// (YAML, unknown and duplicate keys), the first one.
pub fn parse(yaml: &str) -> Result<Catalog, CatalogProblems> {
    let mut problems = Problems::new(yaml);
    if yaml.len() > FILE_BYTES_MAX {
        problems.add_whole(format!(
            "the file has {} bytes: at most {FILE_BYTES_MAX}",
            yaml.len()
        ));
        return Err(problems.finish());
    }
    let file = match file::read(yaml) {
        Ok(file) => file,
        Err(error) => {
            problems.add_yaml(&error);
            return Err(problems.finish());
        }
    };
    let catalog = check(file, yaml, &mut problems);
    match catalog {
        Some(catalog) if problems.is_empty() => Ok(catalog),
        Some(_) | None => Err(problems.finish()),
    }
}

/// The built-in catalogue.
#[expect(
    clippy::expect_used,
    reason = "the text is part of the binary and a test reads it: no input can make this fail"
)]
pub fn builtin() -> Catalog {
    parse(BUILTIN_YAML).expect("the built-in catalogue is right")
}

/// Checks what the file means. Parts that are wrong are noted and stood in for, so that the rest
/// is checked too; `None` where the rate card could not be made.
fn check(file: file::File, yaml: &str, problems: &mut Problems) -> Option<Catalog> {
    let version = sections::version(file.version, problems);
    let plans = sections::plans(file.plans, problems);
    let packs = sections::packs(file.packs, problems);
    let common = sections::common_rates(file.rates, problems);
    let (tiers, pattern_places) = tiers::tiers(file.tiers, &common, problems);
    let parts = CardParts {
        version: Arc::clone(&version),
        common,
        tiers,
        modes: sections::modes(file.modes, problems),
        outcomes: sections::outcomes(file.outcomes, problems),
    };
    let patterns: Vec<String> = parts.tiers.iter().flat_map(tiers::pattern_texts).collect();
    let rate_card = match RateCard::new(parts) {
        Ok(card) => Some(card),
        Err(ties) => {
            tiers::report_ties(&ties, &patterns, &pattern_places, problems);
            None
        }
    };
    Some(Catalog {
        version,
        plans: plans
            .into_iter()
            .map(|(id, allowance)| Plan { id, allowance })
            .collect(),
        packs: packs
            .into_iter()
            .map(|(id, credits)| Pack { id, credits })
            .collect(),
        rate_card: rate_card?,
        yaml: Arc::from(yaml),
    })
}
