//! The rate card: what an action costs, and how that number came about.
//!
//! Every quantity is priced exactly, the sum is multiplied by the mode's multiplier, and the
//! product is rounded up once, then raised to the mode's minimum. Nothing here rounds anywhere
//! else, has a default price, or changes once the card is made.

use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    credits::MAX_CREDITS,
    usage::{Action, Outcome, Usage},
};

mod error;
mod models;
mod parts;
mod rate;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use error::PriceError;
pub use models::{PATTERN_BYTES_MAX, PATTERNS_MAX, Pattern, PatternError, Tie};
pub use parts::{CardParts, ModeParts, OutcomeRule, Outcomes, TierParts};
pub use rate::{DECIMALS_MAX, MULTIPLIER_MAX, Multiplier, NumberError, Rate};
pub use text::DecimalText;

use models::Models;
use rate::{UNITS_MAX, decimal, power, units_at};
use table::{Measured, Table};

/// The most patterns, modes or meters that an error's text lists.
const KNOWN_MAX: usize = 40;

/// One line of a price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineItem {
    /// The meter's name.
    pub meter: String,
    /// How much of it, above zero.
    pub quantity: u64,
    /// Credits per one unit.
    #[serde(with = "text")]
    pub rate: Decimal,
    /// Quantity times rate, before the mode's multiplier.
    #[serde(with = "text")]
    pub amount: Decimal,
}

/// A price, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The whole number that is charged, at most [`MAX_CREDITS`].
    pub credits: u64,
    /// The rate card that it was worked out with.
    pub rate_card_version: Arc<str>,
    /// The model's tier; empty for an action without a model.
    pub tier: String,
    /// One line for each meter above zero: the contract's meters in its order, then the others
    /// by name.
    pub items: Vec<LineItem>,
    /// The sum of the items.
    #[serde(with = "text")]
    pub subtotal: Decimal,
    /// The mode's multiplier.
    #[serde(with = "text")]
    pub multiplier: Decimal,
    /// Subtotal times multiplier, before rounding, minimum and outcome.
    #[serde(with = "text")]
    pub exact: Decimal,
}

#[derive(Clone, Debug)]
struct Mode {
    name: Box<str>,
    multiplier: Decimal,
    /// The multiplier as an integer at `scale` decimals.
    units: u128,
    scale: u32,
    minimum: u64,
}

/// What every action costs, by mode, model and quantity. It never changes once it is made.
#[derive(Clone, Debug)]
pub struct RateCard {
    version: Arc<str>,
    modes: Box<[Mode]>,
    models: Models,
    tiers: Box<[Table]>,
    /// For an action without a model.
    common: Table,
    outcomes: Outcomes,
    known_modes: Arc<str>,
    known_models: Arc<str>,
}

impl RateCard {
    /// Makes a card. Refuses patterns that match a model equally well; a tie counts the patterns
    /// through all tiers, in the order in which they are written.
    pub fn new(parts: CardParts) -> Result<RateCard, Vec<Tie>> {
        let patterns: Vec<&Pattern> = parts.tiers.iter().flat_map(|tier| &tier.models).collect();
        let ties = models::ties(&patterns);
        if !ties.is_empty() {
            return Err(ties);
        }
        let known_models = known(patterns.iter().map(|pattern| pattern.as_str()));
        let mut tiers = Vec::with_capacity(parts.tiers.len());
        let mut tier_patterns = Vec::new();
        for (place, tier) in parts.tiers.into_iter().enumerate() {
            tier_patterns.extend(tier.models.into_iter().map(|pattern| (pattern, place)));
            tiers.push(Table::new(&tier.name, &parts.common, &tier.rates));
        }
        Ok(RateCard {
            version: parts.version,
            known_modes: known(parts.modes.iter().map(|mode| mode.name.as_str())),
            modes: parts.modes.into_iter().map(Mode::new).collect(),
            models: Models::new(tier_patterns.into_iter()),
            tiers: tiers.into(),
            common: Table::new("", &parts.common, &[]),
            outcomes: parts.outcomes,
            known_models,
        })
    }

    /// The version, which is the catalogue's.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The names of the modes, as written.
    pub fn modes(&self) -> impl Iterator<Item = &str> {
        self.modes.iter().map(|mode| &*mode.name)
    }

    /// The tiers, as written, each with the patterns of its models, sorted.
    pub fn tiers(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        let tiers = self.tiers.iter().enumerate();
        tiers.map(|(place, tier)| (tier.tier(), self.models.of_tier(place)))
    }

    /// What an action that ended so is charged.
    pub fn outcome_rule(&self, outcome: Outcome) -> OutcomeRule {
        self.outcomes.rule(outcome)
    }

    /// Whether the card knows the action's mode and model.
    pub fn check_action(&self, action: &Action) -> Result<(), PriceError> {
        self.mode(&action.mode)?;
        self.table(&action.model).map(|_| ())
    }

    /// The model's tier; empty for an empty model.
    pub fn tier_of(&self, model: &str) -> Result<&str, PriceError> {
        self.table(model).map(Table::tier)
    }

    /// Prices an action that used so much and ended so. The same quantities price the same for
    /// ever: the result depends on this card and the arguments alone.
    pub fn price(
        &self,
        action: &Action,
        usage: &Usage,
        outcome: Outcome,
    ) -> Result<Price, PriceError> {
        let mode = self.mode(&action.mode)?;
        let table = self.table(&action.model)?;
        let Measured { items, units } = table.measure(usage)?;
        let scale = table.scale() + mode.scale;
        let exact = mode.exact(units, scale)?;
        Ok(Price {
            credits: self.whole(exact, scale, mode, outcome),
            rate_card_version: Arc::clone(&self.version),
            tier: table.tier().to_owned(),
            items,
            subtotal: decimal(units, table.scale()),
            multiplier: mode.multiplier,
            exact: decimal(exact, scale),
        })
    }

    /// The credits of that price, without saying how they came about.
    pub fn credits(
        &self,
        action: &Action,
        usage: &Usage,
        outcome: Outcome,
    ) -> Result<u64, PriceError> {
        let mode = self.mode(&action.mode)?;
        let table = self.table(&action.model)?;
        let scale = table.scale() + mode.scale;
        let exact = mode.exact(table.sum(usage)?, scale)?;
        Ok(self.whole(exact, scale, mode, outcome))
    }

    /// An exact price in whole credits.
    fn whole(&self, exact: u128, scale: u32, mode: &Mode, outcome: Outcome) -> u64 {
        // Not above MAX_CREDITS: Mode::exact checked that.
        let whole = u64::try_from(exact.div_ceil(power(scale))).unwrap_or(MAX_CREDITS);
        match self.outcome_rule(outcome) {
            OutcomeRule::Full => whole.max(mode.minimum),
            OutcomeRule::Used => whole,
            OutcomeRule::Nothing => 0,
        }
    }

    /// The most output tokens in all that `credits` pay for, on top of the other quantities of
    /// `base` (its own output tokens do not count): the greatest number for which an action that
    /// succeeds prices at no more than `credits`. Zero where `base` alone prices above them.
    /// `None` where output tokens cost nothing, or are not priced, so that nothing limits them.
    pub fn max_output_tokens(
        &self,
        action: &Action,
        base: &Usage,
        credits: u64,
    ) -> Result<Option<u64>, PriceError> {
        let mode = self.mode(&action.mode)?;
        let table = self.table(&action.model)?;
        let rule = self.outcome_rule(Outcome::Succeeded);
        // None: the other quantities alone are beyond any price.
        let spent = table.units_without_output(base)?;
        let rate = table.output_units();
        if rate == 0 || mode.units == 0 || rule == OutcomeRule::Nothing {
            return Ok(None);
        }
        if rule == OutcomeRule::Full && credits < mode.minimum {
            return Ok(Some(0));
        }
        let most = exact_most(credits.min(MAX_CREDITS), table.scale() + mode.scale) / mode.units;
        let left = spent.and_then(|spent| most.min(UNITS_MAX).checked_sub(spent));
        let tokens = left.map_or(0, |left| left / rate);
        Ok(Some(u64::try_from(tokens).unwrap_or(u64::MAX)))
    }

    fn mode(&self, name: &str) -> Result<&Mode, PriceError> {
        let mode = self.modes.iter().find(|mode| *mode.name == *name);
        mode.ok_or_else(|| PriceError::UnknownMode {
            mode: name.to_owned(),
            known: Arc::clone(&self.known_modes),
        })
    }

    fn table(&self, model: &str) -> Result<&Table, PriceError> {
        if model.is_empty() {
            return Ok(&self.common);
        }
        let tier = self.models.tier(model);
        tier.and_then(|tier| self.tiers.get(tier))
            .ok_or_else(|| PriceError::UnknownModel {
                model: model.to_owned(),
                known: Arc::clone(&self.known_models),
            })
    }
}

impl Mode {
    fn new(parts: ModeParts) -> Mode {
        let multiplier = parts.multiplier.get();
        Mode {
            name: parts.name.into(),
            multiplier,
            units: units_at(multiplier, multiplier.scale()),
            scale: multiplier.scale(),
            minimum: parts.minimum.get(),
        }
    }

    /// A sum times the multiplier, as an integer at `scale` decimals.
    fn exact(&self, units: u128, scale: u32) -> Result<u128, PriceError> {
        let exact = units.checked_mul(self.units);
        let exact = exact.filter(|exact| *exact <= exact_most(MAX_CREDITS, scale));
        exact.ok_or(PriceError::TooMuch)
    }
}

/// The largest exact price, as an integer at `scale` decimals, that rounds up to no more than
/// `credits` and that a decimal holds.
fn exact_most(credits: u64, scale: u32) -> u128 {
    u128::from(credits)
        .saturating_mul(power(scale))
        .min(UNITS_MAX)
}

/// The names as a list for an error's text, cut where it would get long.
fn known<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Arc<str> {
    let more = names.len().saturating_sub(KNOWN_MAX);
    let mut list = names.take(KNOWN_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    if list.is_empty() {
        list.push_str("none");
    }
    Arc::from(list)
}
