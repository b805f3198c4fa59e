//! What is about to be done or was done, and how much of it: actions, quantities, outcomes.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// The most labels that one action may carry.
pub const LABELS_MAX: usize = 16;
/// The longest label key or value, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;
/// The longest mode, model, conversation id, reason or actor, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// The most custom meters that one usage may carry.
pub const CUSTOM_METERS_MAX: usize = 32;

/// An action: the kind of work, the model, and what support will look for it by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// A mode of the rate card.
    pub mode: String,
    /// The model; empty where none is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The conversation that the action belongs to; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub conversation_id: String,
    /// Free-form pairs, kept in the ledger.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Quantities by meter name, cumulative since the action's start. Meters that are zero are
/// absent, so that equal usage compares equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usage(BTreeMap<Arc<str>, u64>);

/// Names of the meters that the contract has fields of its own for, in its order.
pub const METERS: [&str; 6] = [
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "tool_calls",
    "file_operations",
    "build_seconds",
];
/// The meter that `max_output_tokens` is about.
pub const OUTPUT_TOKENS: &str = "output_tokens";

impl Usage {
    /// Sets one meter; zero removes it.
    pub fn set(&mut self, meter: &str, quantity: u64) {
        if quantity == 0 {
            self.0.remove(meter);
        } else {
            self.0.insert(Arc::from(meter), quantity);
        }
    }

    /// The quantity of one meter, zero where it is absent.
    pub fn get(&self, meter: &str) -> u64 {
        self.0.get(meter).copied().unwrap_or(0)
    }

    /// The meters above zero, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0
            .iter()
            .map(|(meter, quantity)| (meter.as_ref(), *quantity))
    }

    /// Whether every meter is zero.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Meter by meter, the greater of the two.
    pub fn max(&self, other: &Usage) -> Usage {
        let mut most = self.clone();
        for (meter, quantity) in other.iter() {
            if quantity > most.get(meter) {
                most.set(meter, quantity);
            }
        }
        most
    }

    /// Whether no meter exceeds the other's.
    pub fn within(&self, other: &Usage) -> bool {
        self.iter()
            .all(|(meter, quantity)| quantity <= other.get(meter))
    }
}

/// What a caller says of an amount: quantities to be priced, or credits as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Measured or estimated quantities.
    Usage(Usage),
    /// A number of credits that the caller worked out.
    Credits(super::credits::Credits),
}

/// How an action ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It gave its result.
    #[default]
    Succeeded,
    /// It gave none, and the platform is to blame.
    Failed,
    /// The caller stopped it.
    Cancelled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 3] = [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled];

    /// The name that the catalogue and the metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
        }
    }
}
