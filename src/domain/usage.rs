//! What is about to be done or was done, and how much of it: actions, quantities, outcomes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, u64>")]
pub struct Usage {
    /// In the order of [`METERS`].
    contract: [u64; METERS.len()],
    /// The other meters that are above zero, by name.
    custom: Vec<(Box<str>, u64)>,
}

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
/// The places of [`METERS`], by name.
const BY_NAME: [usize; METERS.len()] = [5, 1, 4, 0, 2, 3];

impl Usage {
    /// The contract's own meters, in the order of [`METERS`].
    pub fn of(contract: [u64; METERS.len()]) -> Self {
        Usage {
            contract,
            custom: Vec::new(),
        }
    }

    /// Sets one meter; zero removes it.
    pub fn set(&mut self, meter: &str, quantity: u64) {
        if let Some(place) = METERS.iter().position(|known| *known == meter) {
            self.contract[place] = quantity;
            return;
        }
        match self.place_of(meter) {
            Ok(place) if quantity == 0 => drop(self.custom.remove(place)),
            Ok(place) => self.custom[place].1 = quantity,
            Err(_) if quantity == 0 => {}
            Err(place) => self.custom.insert(place, (Box::from(meter), quantity)),
        }
    }

    /// The quantity of one meter, zero where it is absent.
    pub fn get(&self, meter: &str) -> u64 {
        match METERS.iter().position(|known| *known == meter) {
            Some(place) => self.contract[place],
            None => self.place_of(meter).map_or(0, |place| self.custom[place].1),
        }
    }

    /// The quantities of the contract's own meters, zeros included, in the order of [`METERS`].
    pub fn of_contract(&self) -> &[u64; METERS.len()] {
        &self.contract
    }

    /// The other meters above zero, by name.
    pub fn custom(&self) -> &[(Box<str>, u64)] {
        &self.custom
    }

    /// The meters above zero, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let contract = BY_NAME.map(|place| (METERS[place], self.contract[place]));
        let mut contract = contract
            .into_iter()
            .filter(|(_, quantity)| *quantity > 0)
            .peekable();
        let mut custom = self
            .custom
            .iter()
            .map(|(meter, quantity)| (meter.as_ref(), *quantity))
            .peekable();
        std::iter::from_fn(move || match (contract.peek(), custom.peek()) {
            (Some((known, _)), Some((other, _))) if known > other => custom.next(),
            (Some(_), _) => contract.next(),
            (None, _) => custom.next(),
        })
    }

    fn place_of(&self, meter: &str) -> Result<usize, usize> {
        self.custom
            .binary_search_by(|(known, _)| (**known).cmp(meter))
    }

    /// Whether every meter is zero.
    pub fn is_empty(&self) -> bool {
        self.custom.is_empty() && self.contract == [0; METERS.len()]
    }

    /// Whether no meter exceeds the other's.
    pub fn within(&self, other: &Usage) -> bool {
        self.iter()
            .all(|(meter, quantity)| quantity <= other.get(meter))
    }
}

impl From<BTreeMap<String, u64>> for Usage {
    fn from(quantities: BTreeMap<String, u64>) -> Self {
        let mut usage = Usage::default();
        for (meter, quantity) in quantities {
            usage.set(&meter, quantity);
        }
        usage
    }
}

/// As a map by name.
impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
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
