//! The catalogue: plans, packs and the rate card, versioned as a whole.
//!
//! This is what a file says once it is checked. It reads no file itself, and never changes.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    credits::Credits,
    ids::{PackId, PlanId},
    rate_card::RateCard,
};

#[cfg(test)]
mod tests;

/// A plan: credits for each billing cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub id: PlanId,
    /// Credits for each cycle; they do not roll over.
    pub allowance: Credits,
}

/// A pack: credits that are bought once and never expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Its name.
    pub id: PackId,
    /// Credits.
    pub credits: Credits,
}

/// Plans, packs and the rate card of one version.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// What the file calls itself. Another text must have another version.
    pub version: Arc<str>,
    /// The plans, as written.
    pub plans: Vec<Plan>,
    /// The packs, as written.
    pub packs: Vec<Pack>,
    /// What actions cost. Its version is the catalogue's.
    pub rate_card: RateCard,
    /// The text that all of this was read from.
    pub yaml: Arc<str>,
}

impl Catalog {
    /// The plan of that name.
    pub fn plan(&self, id: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id.as_str() == id)
    }

    /// The pack of that name.
    pub fn pack(&self, id: &str) -> Option<&Pack> {
        self.packs.iter().find(|pack| pack.id.as_str() == id)
    }

    /// What is in use and missing here, as one sentence each: the plans of live accounts, and
    /// the modes of open reservations. Such a catalogue must not be put in use.
    pub fn missing<'a>(
        &self,
        live_plans: impl Iterator<Item = &'a str>,
        live_modes: impl Iterator<Item = &'a str>,
    ) -> Vec<String> {
        let plans: BTreeSet<&str> = live_plans.filter(|id| self.plan(id).is_none()).collect();
        let known: BTreeSet<&str> = self.rate_card.modes().collect();
        let modes: BTreeSet<&str> = live_modes.filter(|mode| !known.contains(mode)).collect();
        let plans = plans.into_iter().map(|id| {
            format!("plans: {id:?} is missing, and live accounts are on it: keep it, or move them")
        });
        let modes = modes.into_iter().map(|mode| {
            format!("modes: {mode:?} is missing, and open reservations use it: keep it")
        });
        plans.chain(modes).collect()
    }
}
