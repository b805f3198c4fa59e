//! Whole credits, the platform's only unit of AI usage.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The largest number of credits that one amount may be: 2^53 − 1. Every store that Tollgate
/// knows keeps such a number exactly (Lua's numbers are doubles).
pub const MAX_CREDITS: u64 = (1 << 53) - 1;

/// A number of credits from 0 to [`MAX_CREDITS`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Credits(u64);

/// An amount above [`MAX_CREDITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is out of range: 0 to 9007199254740991 credits")]
pub struct CreditsOutOfRange(pub u64);

impl Credits {
    /// No credits.
    pub const ZERO: Credits = Credits(0);

    /// Checks the range, once, at the edge.
    pub fn new(credits: u64) -> Result<Self, CreditsOutOfRange> {
        if credits > MAX_CREDITS {
            return Err(CreditsOutOfRange(credits));
        }
        Ok(Credits(credits))
    }

    /// The plain number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u64> for Credits {
    type Error = CreditsOutOfRange;

    fn try_from(credits: u64) -> Result<Self, Self::Error> {
        Credits::new(credits)
    }
}

impl From<Credits> for u64 {
    fn from(credits: Credits) -> u64 {
        credits.0
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
