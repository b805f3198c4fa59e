//! Why an action can't be priced.

use std::sync::Arc;

use crate::domain::{credits::MAX_CREDITS, usage::METERS};

/// Why an action can't be priced. The texts name the accepted values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The rate card has no such mode.
    #[error("{mode:?} is not a mode of the rate card: one of {known}")]
    UnknownMode {
        /// The mode asked for.
        mode: String,
        /// The modes that there are.
        known: Arc<str>,
    },
    /// No pattern of the rate card matches the model.
    #[error("no tier of the rate card has the model {model:?}: one that matches {known}")]
    UnknownModel {
        /// The model asked for.
        model: String,
        /// The patterns that there are.
        known: Arc<str>,
    },
    /// The meter is not priced for the model's tier, or not without a model.
    #[error("{meter:?} is not priced {}: one of {known}", place(.tier))]
    UnknownMeter {
        /// The meter reported.
        meter: String,
        /// The tier of the model; empty where no model was named.
        tier: String,
        /// The meters that are priced there.
        known: Arc<str>,
    },
    /// The quantities price above what one amount may be.
    #[error(
        "the quantities are too large: one action may price at up to {} credits",
        MAX_CREDITS
    )]
    TooMuch,
}

impl PriceError {
    /// The field of the request that is wrong.
    pub fn field(&self) -> String {
        match self {
            PriceError::UnknownMode { .. } => "action.mode".to_owned(),
            PriceError::UnknownModel { .. } => "action.model".to_owned(),
            PriceError::UnknownMeter { meter, .. } if METERS.contains(&meter.as_str()) => {
                format!("usage.{meter}")
            }
            PriceError::UnknownMeter { meter, .. } => format!("usage.custom[{meter}]"),
            PriceError::TooMuch => "usage".to_owned(),
        }
    }
}

fn place(tier: &str) -> String {
    if tier.is_empty() {
        "for an action without a model (action.model)".to_owned()
    } else {
        format!("in tier {tier:?}")
    }
}
