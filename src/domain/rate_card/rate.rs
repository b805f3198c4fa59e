//! The numbers of a rate card, exact: rates and multipliers, and the fixed-point arithmetic that
//! prices are worked out in.
//!
//! A decimal library rounds silently where a product needs more digits than it has. Here sums
//! and products are integers at a known number of decimals, checked at every step, and become
//! decimals only to be shown.

use rust_decimal::Decimal;

use crate::domain::credits::MAX_CREDITS;

/// The most decimals that a rate per one unit, or a multiplier, may have.
pub const DECIMALS_MAX: u32 = 12;
/// The largest multiplier.
pub const MULTIPLIER_MAX: u64 = 1_000_000;

/// The largest integer that a [`Decimal`] holds, at any number of decimals: 2^96 − 1.
pub(super) const UNITS_MAX: u128 = (1 << 96) - 1;

/// Why a number can't be part of a rate card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is below zero.
    #[error("{0} is negative: zero or more")]
    Negative(Decimal),
    /// It has too many decimals.
    #[error("{0} is too precise: at most 12 decimals")]
    TooPrecise(Decimal),
    /// It is too large.
    #[error("{0} is too large: at most {1}")]
    TooLarge(Decimal, u64),
    /// The rate is for zero units.
    #[error("0 is no number of units: 1 or more")]
    ZeroPer,
    /// The rate per one unit has too many decimals, maybe endlessly many.
    #[error("{0} per {1} is too precise: the rate per one unit must have at most 12 decimals")]
    Inexact(Decimal, u64),
}

/// Credits per one unit of a meter: zero or more, at most [`DECIMALS_MAX`] decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(Decimal);

impl Rate {
    /// Costs nothing.
    pub const ZERO: Rate = Rate(Decimal::ZERO);

    /// `credits` for every `per` units.
    pub fn new(credits: Decimal, per: u64) -> Result<Rate, NumberError> {
        let credits = checked(credits, MAX_CREDITS)?;
        if per == 0 {
            return Err(NumberError::ZeroPer);
        }
        let units = units_at(credits, DECIMALS_MAX);
        if !units.is_multiple_of(u128::from(per)) {
            return Err(NumberError::Inexact(credits, per));
        }
        Ok(Rate(decimal(units / u128::from(per), DECIMALS_MAX)))
    }

    /// The decimal, without trailing zeros.
    pub fn get(self) -> Decimal {
        self.0
    }
}

/// What a mode multiplies with: zero or more, at most [`DECIMALS_MAX`] decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier(Decimal);

impl Multiplier {
    /// Changes nothing.
    pub const ONE: Multiplier = Multiplier(Decimal::ONE);

    /// Checks sign, size and decimals.
    pub fn new(multiplier: Decimal) -> Result<Multiplier, NumberError> {
        checked(multiplier, MULTIPLIER_MAX).map(Multiplier)
    }

    /// The decimal, without trailing zeros.
    pub fn get(self) -> Decimal {
        self.0
    }
}

fn checked(number: Decimal, most: u64) -> Result<Decimal, NumberError> {
    let number = number.normalize();
    if number < Decimal::ZERO {
        return Err(NumberError::Negative(number));
    }
    if number > Decimal::from(most) {
        return Err(NumberError::TooLarge(number, most));
    }
    if number.scale() > DECIMALS_MAX {
        return Err(NumberError::TooPrecise(number));
    }
    Ok(number)
}

/// 10^`exponent`, for exponents up to two times [`DECIMALS_MAX`].
pub(super) const fn power(exponent: u32) -> u128 {
    10u128.pow(exponent)
}

/// The integer that stands for a checked number at `scale` decimals, at least its own.
pub(super) fn units_at(number: Decimal, scale: u32) -> u128 {
    number.mantissa().unsigned_abs() * power(scale.saturating_sub(number.scale()))
}

/// The decimal for `units` (at most [`UNITS_MAX`]) at `scale` decimals, without trailing zeros.
pub(super) fn decimal(units: u128, scale: u32) -> Decimal {
    debug_assert!(units <= UNITS_MAX && scale <= 2 * DECIMALS_MAX);
    let (units, scale) = match u64::try_from(units) {
        // Nearly every amount: a third of the time that 128 bits take.
        Ok(mut small) => {
            let mut scale = scale;
            while scale > 0 && small.is_multiple_of(10) {
                (small, scale) = (small / 10, scale - 1);
            }
            (u128::from(small), scale)
        }
        Err(_) => {
            let (mut large, mut scale) = (units, scale);
            while scale > 0 && large.is_multiple_of(10) {
                (large, scale) = (large / 10, scale - 1);
            }
            (large, scale)
        }
    };
    let part = |shift: u32| (units >> shift) as u32;
    Decimal::from_parts(part(0), part(32), part(64), false, scale)
}
