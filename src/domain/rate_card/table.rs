//! The rates of one tier, ready for sums: every meter as an integer at one number of decimals.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::{
    LineItem, PriceError, Rate, known,
    rate::{UNITS_MAX, decimal, units_at},
};
use crate::domain::usage::{METERS, OUTPUT_TOKENS, Usage};

#[derive(Clone, Debug)]
struct Meter {
    name: Box<str>,
    /// Its place in [`METERS`]; absent: it is not the contract's own.
    place: Option<usize>,
    rate: Decimal,
    /// The rate as an integer at the table's decimals.
    units: u128,
}

/// What the meters of one tier cost.
#[derive(Clone, Debug)]
pub(super) struct Table {
    tier: Box<str>,
    /// The decimals of the most precise rate.
    scale: u32,
    /// The contract's meters in its order, then the others by name.
    meters: Box<[Meter]>,
    /// Zero where output tokens are not priced.
    output_units: u128,
    /// Which of [`METERS`] are priced.
    priced: [bool; METERS.len()],
    known: Arc<str>,
}

/// Quantities with their prices, and the sum as an integer at the table's decimals.
pub(super) struct Measured {
    pub items: Vec<LineItem>,
    pub units: u128,
}

impl Table {
    /// The tier's own rates win over the common ones.
    pub(super) fn new(tier: &str, common: &[(String, Rate)], own: &[(String, Rate)]) -> Table {
        let mut rates: Vec<(&str, Decimal)> = Vec::with_capacity(common.len() + own.len());
        for (name, rate) in own.iter().chain(common) {
            if rates.iter().all(|(taken, _)| taken != name) {
                rates.push((name, rate.get()));
            }
        }
        let place = |name: &str| METERS.iter().position(|meter| *meter == name);
        rates.sort_by_key(|(name, _)| (place(name).unwrap_or(METERS.len()), *name));
        let scale = rates.iter().map(|(_, rate)| rate.scale()).max();
        let scale = scale.unwrap_or(0);
        let meters: Box<[Meter]> = rates
            .iter()
            .map(|(name, rate)| Meter {
                name: Box::from(*name),
                place: place(name),
                rate: *rate,
                units: units_at(*rate, scale),
            })
            .collect();
        let output = meters.iter().find(|meter| *meter.name == *OUTPUT_TOKENS);
        Table {
            tier: Box::from(tier),
            scale,
            output_units: output.map_or(0, |meter| meter.units),
            priced: METERS.map(|name| rates.iter().any(|(priced, _)| *priced == name)),
            known: known(rates.iter().map(|(name, _)| *name)),
            meters,
        }
    }

    /// The tier's name.
    pub(super) fn tier(&self) -> &str {
        &self.tier
    }

    /// The decimals of sums.
    pub(super) fn scale(&self) -> u32 {
        self.scale
    }

    /// What one output token costs.
    pub(super) fn output_units(&self) -> u128 {
        self.output_units
    }

    /// Prices every quantity and adds them up.
    pub(super) fn measure(&self, usage: &Usage) -> Result<Measured, PriceError> {
        self.check(usage, "")?;
        let mut items = Vec::with_capacity(self.meters.len());
        let mut sum = 0;
        for (meter, quantity) in self.quantities(usage) {
            let amount = meter.amount(quantity).ok_or(PriceError::TooMuch)?;
            sum = add(sum, amount).ok_or(PriceError::TooMuch)?;
            items.push(LineItem {
                meter: meter.name.to_string(),
                quantity,
                rate: meter.rate,
                amount: decimal(amount, self.scale),
            });
        }
        Ok(Measured { items, units: sum })
    }

    /// The sum of every quantity, without saying how it came about.
    pub(super) fn sum(&self, usage: &Usage) -> Result<u128, PriceError> {
        self.check(usage, "")?;
        let mut quantities = self.quantities(usage);
        let sum = quantities.try_fold(0, |sum, (meter, quantity)| {
            add(sum, meter.amount(quantity)?)
        });
        sum.ok_or(PriceError::TooMuch)
    }

    /// The sum of every quantity but the output tokens; `None` where it is beyond any price.
    pub(super) fn units_without_output(&self, usage: &Usage) -> Result<Option<u128>, PriceError> {
        self.check(usage, OUTPUT_TOKENS)?;
        let mut others = self
            .quantities(usage)
            .filter(|(meter, _)| *meter.name != *OUTPUT_TOKENS);
        Ok(others.try_fold(0, |sum, (meter, quantity)| {
            add(sum, meter.amount(quantity)?)
        }))
    }

    /// The meters above zero that are priced, in the order of the items.
    fn quantities(&self, usage: &Usage) -> impl Iterator<Item = (&Meter, u64)> {
        let quantities = self.meters.iter().map(|meter| match meter.place {
            Some(place) => (meter, usage.of_contract()[place]),
            None => (meter, usage.get(&meter.name)),
        });
        quantities.filter(|(_, quantity)| *quantity > 0)
    }

    /// Whether every meter above zero, but the `ignored` one, is priced.
    fn check(&self, usage: &Usage, ignored: &str) -> Result<(), PriceError> {
        let contract = usage.of_contract().iter().zip(self.priced);
        if usage.custom().is_empty() && contract.into_iter().all(|(q, priced)| *q == 0 || priced) {
            return Ok(());
        }
        let mut meters = usage.iter();
        let unknown = meters.find(|(name, _)| {
            *name != ignored && self.meters.iter().all(|meter| *meter.name != **name)
        });
        match unknown {
            None => Ok(()),
            Some((name, _)) => Err(PriceError::UnknownMeter {
                meter: name.to_owned(),
                tier: self.tier.to_string(),
                known: Arc::clone(&self.known),
            }),
        }
    }
}

impl Meter {
    fn amount(&self, quantity: u64) -> Option<u128> {
        self.units.checked_mul(u128::from(quantity))
    }
}

/// The sum, where a decimal holds it.
fn add(sum: u128, amount: u128) -> Option<u128> {
    sum.checked_add(amount).filter(|sum| *sum <= UNITS_MAX)
}
