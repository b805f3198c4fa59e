//! Prices that depend on a reservation: its own rate card version, and how far its hold reaches.

use std::{borrow::Cow, sync::Arc};

use super::{Enforcer, error::EnforceError};
use crate::domain::{
    catalog::Catalog,
    credits::Credits,
    decision::ReservationView,
    rate_card::PriceError,
    reservation::State,
    usage::{Amount, OUTPUT_TOKENS, Usage},
};

impl Enforcer {
    /// The catalogue of a version, whatever is loaded now.
    pub(super) fn catalog_of(&self, version: &str) -> Result<Arc<Catalog>, EnforceError> {
        self.catalogs
            .version(version)
            .ok_or_else(|| EnforceError::UnknownVersion {
                version: version.to_owned(),
            })
    }

    /// The most output tokens that the hold still pays for, at the reservation's model and mode,
    /// after the estimated input or what was reported since, whichever is more. `None` where
    /// output tokens are not priced, and where the reservation is not open.
    pub(super) fn max_output_tokens(
        &self,
        view: &ReservationView,
    ) -> Result<Option<u64>, EnforceError> {
        // None: a dry run, which would be open.
        if view.state.is_some_and(|state| state != State::Open) {
            return Ok(None);
        }
        let catalog = self.catalog_of(&view.rate_card_version)?;
        let asked = quantities(&view.asked);
        let reported = view.reported.as_ref().and_then(quantities);
        let spent = reported.map_or(0, |reported| reported.get(OUTPUT_TOKENS));
        // Whatever output tokens it has do not count.
        let base = match (asked, reported) {
            (Some(asked), Some(reported)) => Cow::Owned(asked.max(reported)),
            (Some(only), None) | (None, Some(only)) => Cow::Borrowed(only),
            (None, None) => Cow::Owned(Usage::default()),
        };
        let credits = view.held + view.charged;
        let card = &catalog.rate_card;
        match card.max_output_tokens(&view.action, &base, credits) {
            Ok(most) => Ok(most.map(|most| most.saturating_sub(spent))),
            // A late commit in credits may have named no action at all.
            Err(PriceError::UnknownMode { .. } | PriceError::UnknownModel { .. }) => Ok(None),
            Err(error @ (PriceError::UnknownMeter { .. } | PriceError::TooMuch)) => {
                Err(error.into())
            }
        }
    }
}

fn quantities(amount: &Amount) -> Option<&Usage> {
    match amount {
        Amount::Usage(usage) => Some(usage),
        Amount::Credits(_) => None,
    }
}

/// A price as credits; the rate card keeps it in range.
pub(super) fn credits(price: u64) -> Result<Credits, EnforceError> {
    Credits::new(price).map_err(|error| EnforceError::field("usage", error.to_string()))
}
