//! Prices that depend on a reservation: its own rate card version, and how far its hold reaches.

use std::sync::Arc;

use super::{Enforcer, error::EnforceError};
use crate::catalogs;
use crate::domain::{
    catalog::Catalog,
    credits::Credits,
    decision::ReservationView,
    ids::{AccountId, ReservationId},
    rate_card::{Price, PriceError, RateCard},
    reservation::State,
    usage::{Action, Amount, OUTPUT_TOKENS, Outcome, Usage},
};

impl Enforcer {
    /// The price of what is reserved or charged by this id, and the version that it is by: the one in
    /// force. Where that one has no price, as of a model that it has dropped, the request may be a
    /// retry: then it is priced as it was, and gets the answer that it got.
    pub(super) async fn priced<T: Send>(
        &self,
        account_id: &AccountId,
        id: &ReservationId,
        price: impl Fn(&RateCard) -> Result<T, EnforceError> + Send + Sync,
    ) -> Result<(T, Arc<str>), EnforceError> {
        let catalog = self.catalog()?;
        let card = &catalog.rate_card;
        match price(card) {
            Ok(priced) => Ok((priced, Arc::clone(card.version()))),
            // Rare: boxed, so that it makes no other call's future larger.
            Err(error) => {
                let again = self.priced_before(account_id, id, price);
                Box::pin(again).await?.ok_or(error)
            }
        }
    }

    /// The same by the version that the id's reservation was made with, where there is one.
    async fn priced_before<T>(
        &self,
        account_id: &AccountId,
        id: &ReservationId,
        price: impl Fn(&RateCard) -> Result<T, EnforceError>,
    ) -> Result<Option<(T, Arc<str>)>, EnforceError> {
        let known = match self.on(account_id, || self.hot.terms(account_id, id)).await {
            Ok(done) => done.value,
            Err(EnforceError::AccountNotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(terms) = known else {
            return Ok(None);
        };
        let catalog = self.catalog_of(&terms.rate_card_version).await?;
        let priced = price(&catalog.rate_card).ok();
        Ok(priced.map(|priced| (priced, terms.rate_card_version)))
    }

    /// The catalogue of a version, whatever is in use now.
    pub(super) async fn catalog_of(&self, version: &str) -> Result<Arc<Catalog>, EnforceError> {
        match self.catalogs.version(version) {
            Some(catalog) => Ok(catalog),
            // Rare and large: boxed, so that it makes no other call's future larger.
            None => Box::pin(self.find_catalog(version)).await,
        }
    }

    /// Loads a version that was published before this process knew of any.
    async fn find_catalog(&self, version: &str) -> Result<Arc<Catalog>, EnforceError> {
        let unknown = || EnforceError::UnknownVersion {
            version: version.to_owned(),
        };
        let yaml = self.source.catalog(version).await?.ok_or_else(unknown)?;
        let catalog = catalogs::parse(&yaml).inspect_err(|problems| {
            tracing::error!(version, %problems, "a catalogue that was in use can't be read");
        });
        let catalog = catalog.map_err(|_| unknown())?;
        // A text that calls itself something else is not the one that priced anything.
        self.catalogs.add_version(catalog).map_err(|_| unknown())?;
        self.catalogs.version(version).ok_or_else(unknown)
    }

    /// The most output tokens that the hold still pays for, at the reservation's model and mode,
    /// after the estimated input or what was reported since, whichever costs more. `None` where
    /// output tokens are not priced, and where the reservation is not open.
    pub(super) async fn max_output_tokens(
        &self,
        view: &ReservationView,
    ) -> Result<Option<u64>, EnforceError> {
        // None: a dry run, which would be open.
        if view.state.is_some_and(|state| state != State::Open) {
            return Ok(None);
        }
        let catalog = self.catalog_of(&view.rate_card_version).await?;
        let card = &catalog.rate_card;
        let most = |base: &Usage, credits| card.max_output_tokens(&view.action, base, credits);
        let credits = view.held + view.charged;
        let nothing = Usage::default();
        let estimated = quantities(&view.asked).unwrap_or(&nothing);
        let left = match &view.reported {
            None => most(estimated, credits),
            // Each by itself: what was estimated may have been read from a cache.
            Some(Amount::Usage(reported)) => most(estimated, credits).and_then(|by_estimate| {
                let both = by_estimate.zip(most(reported, credits)?);
                let spent = reported.get(OUTPUT_TOKENS);
                Ok(both.map(|(one, other)| one.min(other).saturating_sub(spent)))
            }),
            // How many tokens were among it is not known: as many as it pays for.
            Some(Amount::Credits(_)) => most(estimated, credits).and_then(|all| {
                let spent = most(estimated, view.charged)?;
                Ok(all.map(|all| all.saturating_sub(spent.unwrap_or(0))))
            }),
        };
        match left {
            Ok(left) => Ok(left),
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

/// What is set aside for an action.
pub(super) fn of_hold(
    card: &RateCard,
    action: &Action,
    amount: &Amount,
) -> Result<Credits, EnforceError> {
    match amount {
        Amount::Usage(estimate) => credits(card.credits(action, estimate, Outcome::Succeeded)?),
        Amount::Credits(asked) => {
            card.check_action(action)?;
            Ok(*asked)
        }
    }
}

/// What an action is charged, and how that came to be where it was worked out.
pub(super) fn of_charge(
    card: &RateCard,
    action: &Action,
    amount: &Amount,
) -> Result<(Credits, Option<Arc<Price>>), EnforceError> {
    match amount {
        Amount::Usage(usage) => {
            let price = card.price(action, usage, Outcome::Succeeded)?;
            Ok((credits(price.credits)?, Some(Arc::new(price))))
        }
        Amount::Credits(asked) => {
            card.check_action(action)?;
            Ok((*asked, None))
        }
    }
}

/// A price as credits; the rate card keeps it in range.
pub(super) fn credits(price: u64) -> Result<Credits, EnforceError> {
    Credits::new(price).map_err(|error| EnforceError::field("usage", error.to_string()))
}
