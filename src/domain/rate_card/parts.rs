//! A rate card as it is written down: what a file says, number by number, before it is made
//! ready for sums.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Multiplier, Pattern, Rate};
use crate::domain::{credits::Credits, usage::Outcome};

/// What an action that ended in some way is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeRule {
    /// The price, at least the mode's minimum.
    Full,
    /// The price of what was used, rounded up, without the mode's minimum.
    Used,
    /// Nothing.
    Nothing,
}

impl OutcomeRule {
    /// Every rule.
    pub const ALL: [OutcomeRule; 3] = [OutcomeRule::Full, OutcomeRule::Used, OutcomeRule::Nothing];

    /// The name that the catalogue uses.
    pub fn name(self) -> &'static str {
        match self {
            OutcomeRule::Full => "full",
            OutcomeRule::Used => "used",
            OutcomeRule::Nothing => "nothing",
        }
    }
}

/// The rule of each outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Of an action that gave its result.
    pub succeeded: OutcomeRule,
    /// Of an action that the platform failed.
    pub failed: OutcomeRule,
    /// Of an action that the caller stopped.
    pub cancelled: OutcomeRule,
}

impl Default for Outcomes {
    fn default() -> Self {
        Outcomes {
            succeeded: OutcomeRule::Full,
            failed: OutcomeRule::Nothing,
            cancelled: OutcomeRule::Used,
        }
    }
}

impl Outcomes {
    /// The rule of one outcome.
    pub fn rule(&self, outcome: Outcome) -> OutcomeRule {
        match outcome {
            Outcome::Succeeded => self.succeeded,
            Outcome::Failed => self.failed,
            Outcome::Cancelled => self.cancelled,
        }
    }

    /// The rule of one outcome, to be set.
    pub fn rule_mut(&mut self, outcome: Outcome) -> &mut OutcomeRule {
        match outcome {
            Outcome::Succeeded => &mut self.succeeded,
            Outcome::Failed => &mut self.failed,
            Outcome::Cancelled => &mut self.cancelled,
        }
    }
}

/// A tier as it is written down.
#[derive(Clone, Debug)]
pub struct TierParts {
    /// Its name.
    pub name: String,
    /// The models that belong to it.
    pub models: Vec<Pattern>,
    /// Its rates by meter. They win over the common ones.
    pub rates: Vec<(String, Rate)>,
}

/// A mode as it is written down.
#[derive(Clone, Debug)]
pub struct ModeParts {
    /// Its name.
    pub name: String,
    /// What the sum of the items is multiplied with.
    pub multiplier: Multiplier,
    /// The least that an action in this mode costs.
    pub minimum: Credits,
}

/// A rate card as it is written down.
#[derive(Clone, Debug)]
pub struct CardParts {
    /// Its version.
    pub version: Arc<str>,
    /// The rates of every tier, and of an action without a model.
    pub common: Vec<(String, Rate)>,
    /// The tiers.
    pub tiers: Vec<TierParts>,
    /// The modes.
    pub modes: Vec<ModeParts>,
    /// What each outcome is charged.
    pub outcomes: Outcomes,
}
