//! The catalogues that are loaded: the one in use, and every version that may still price a
//! reservation.
//!
//! Reads take no lock. A version once known is never replaced or dropped: what it said stays
//! what it says. There are as many as the ledger has versions, one for each edit of the file.

use std::{collections::HashMap, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use crate::domain::catalog::Catalog;

#[cfg(test)]
mod tests;

/// A version is known already with another text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the catalogue's version {0:?} is taken by another text: give the changed file a new version"
)]
pub struct VersionReused(pub Arc<str>);

type Versions = HashMap<Arc<str>, Arc<Catalog>>;

/// The loaded catalogues.
#[derive(Debug)]
pub struct Catalogs {
    current: ArcSwapOption<Catalog>,
    versions: ArcSwap<Versions>,
    /// Held by whoever changes the two above.
    changing: Mutex<()>,
}

impl Catalogs {
    /// Starts with the catalogue to use and those that the ledger remembers. Fails where two of
    /// them have one version and different texts.
    pub fn new(current: Catalog, known: Vec<Catalog>) -> Result<Catalogs, VersionReused> {
        let mut versions = Versions::new();
        for catalog in known {
            add(&mut versions, catalog)?;
        }
        let current = add(&mut versions, current)?;
        Ok(Catalogs {
            current: ArcSwapOption::new(Some(current)),
            versions: ArcSwap::from_pointee(versions),
            changing: Mutex::new(()),
        })
    }

    /// Starts with nothing to price by, where that is still to be learnt from others.
    pub fn empty() -> Catalogs {
        Catalogs {
            current: ArcSwapOption::empty(),
            versions: ArcSwap::default(),
            changing: Mutex::new(()),
        }
    }

    /// The catalogue that new actions are priced by.
    pub fn current(&self) -> Option<Arc<Catalog>> {
        self.current.load_full()
    }

    /// Every version that is known.
    pub fn all(&self) -> Vec<Arc<Catalog>> {
        self.versions.load().values().map(Arc::clone).collect()
    }

    /// The catalogue of that version.
    pub fn version(&self, version: &str) -> Option<Arc<Catalog>> {
        let current = self.current.load();
        if let Some(current) = current.as_ref().filter(|one| *one.version == *version) {
            return Some(Arc::clone(current));
        }
        self.versions.load().get(version).map(Arc::clone)
    }

    /// Makes a version known without putting it in use. The same text again changes nothing.
    pub fn add_version(&self, catalog: Catalog) -> Result<(), VersionReused> {
        let _changing = self.changing.lock();
        self.keep(catalog).map(|_| ())
    }

    /// Puts a catalogue in use. The same text again changes nothing.
    pub fn install(&self, catalog: Catalog) -> Result<(), VersionReused> {
        let _changing = self.changing.lock();
        let catalog = self.keep(catalog)?;
        // Known before in use: whoever sees it in use finds its version too.
        self.current.store(Some(catalog));
        Ok(())
    }

    /// Called with `changing` held.
    fn keep(&self, catalog: Catalog) -> Result<Arc<Catalog>, VersionReused> {
        let mut versions = Versions::clone(&self.versions.load());
        let catalog = add(&mut versions, catalog)?;
        self.versions.store(Arc::new(versions));
        Ok(catalog)
    }
}

fn add(versions: &mut Versions, catalog: Catalog) -> Result<Arc<Catalog>, VersionReused> {
    match versions.get(&catalog.version) {
        Some(known) if known.yaml == catalog.yaml => Ok(Arc::clone(known)),
        Some(_) => Err(VersionReused(catalog.version)),
        None => {
            let catalog = Arc::new(catalog);
            versions.insert(Arc::clone(&catalog.version), Arc::clone(&catalog));
            Ok(catalog)
        }
    }
}
