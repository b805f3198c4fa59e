//! The reloader takes a changed catalogue file into use. A file that can't be used changes
//! nothing: the catalogue that was there stays, and the log and a metric say why.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Progress, StepError, Worker};
use crate::{
    catalogs::{self, Catalogs},
    clock::Clock,
    domain::catalog::Catalog,
    ledger::{Ledger, StoredCatalog},
    telemetry::{Metrics, Reload},
};

/// Takes a changed catalogue into use.
pub struct Reloader {
    /// The file.
    pub path: PathBuf,
    /// Says that it changed.
    pub changed: Arc<Notify>,
    /// Where catalogues are in use.
    pub catalogs: Arc<Catalogs>,
    /// Where every version is kept.
    pub ledger: Arc<dyn Ledger>,
    /// For when a version was first loaded.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whether the ledger could not be asked the last time: then it is asked again soon.
    pub is_put_off: AtomicBool,
}

/// How soon.
const RETRY: Duration = Duration::from_secs(2);

/// Why a catalogue can't be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file can't be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{path} is no catalogue:\n{problems}")]
    Parse {
        /// Which.
        path: String,
        /// What is wrong, with line and caret.
        problems: catalogs::CatalogProblems,
    },
    /// Live accounts need what the file lacks.
    #[error("{path} lacks what is in use: {}", missing.join("; "))]
    Missing {
        /// Which.
        path: String,
        /// What it lacks.
        missing: Vec<String>,
    },
    /// Its version was used before, with another text.
    #[error(
        "version {version} was loaded before with another text: give the changed file a new version"
    )]
    VersionReused {
        /// Which version.
        version: String,
    },
    /// The ledger could not keep it.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerFault),
}

/// Reads and checks a catalogue file, against itself and against what is in use.
pub async fn load(path: &Path, ledger: &dyn Ledger) -> Result<Catalog, ReloadError> {
    let catalog = read(path).await?;
    check_in_use(&catalog, ledger, path.display().to_string()).await?;
    Ok(catalog)
}

/// Reads a catalogue file, and checks it against itself.
pub async fn read(path: &Path) -> Result<Catalog, ReloadError> {
    let name = path.display().to_string();
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| ReloadError::Read {
            path: name.clone(),
            source,
        })?;
    catalogs::parse(&text).map_err(|problems| ReloadError::Parse {
        path: name,
        problems,
    })
}

async fn check_in_use(
    catalog: &Catalog,
    ledger: &dyn Ledger,
    path: String,
) -> Result<(), ReloadError> {
    let in_use = ledger.in_use().await?;
    let plans: BTreeSet<&str> = in_use.plans.iter().map(String::as_str).collect();
    let modes: BTreeSet<&str> = in_use.modes.iter().map(String::as_str).collect();
    let missing = catalog.missing(plans.into_iter(), modes.into_iter());
    if missing.is_empty() {
        Ok(())
    } else {
        Err(ReloadError::Missing { path, missing })
    }
}

/// Keeps a catalogue in the ledger; refused where its version is there with another text.
pub async fn keep(
    catalog: &Catalog,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
) -> Result<(), ReloadError> {
    let stored = StoredCatalog {
        version: catalog.version.to_string(),
        yaml: catalog.yaml.to_string(),
    };
    if ledger.put_catalog(&stored, clock.now()).await? {
        Ok(())
    } else {
        Err(ReloadError::VersionReused {
            version: stored.version,
        })
    }
}

impl Reloader {
    async fn reload(&self) -> Result<(), ReloadError> {
        let catalog = load(&self.path, self.ledger.as_ref()).await?;
        let version = catalog.version.to_string();
        let current = self.catalogs.current();
        let is_same =
            |one: &Arc<Catalog>| one.version == catalog.version && one.yaml == catalog.yaml;
        if current.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        // Into the ledger before anything is priced by it.
        keep(&catalog, self.ledger.as_ref(), self.clock.as_ref()).await?;
        self.catalogs
            .install(catalog)
            .map_err(|_| ReloadError::VersionReused {
                version: version.clone(),
            })?;
        self.metrics.catalog_reload(Reload::Loaded);
        self.metrics.set_catalog_version(&version);
        tracing::info!(version, "catalogue loaded");
        Ok(())
    }
}

#[async_trait]
impl Worker for Reloader {
    fn name(&self) -> &'static str {
        "reloader"
    }

    async fn woken(&self) {
        let again = self.is_put_off.load(Ordering::Relaxed);
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep(RETRY), if again => {}
        }
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let reloaded = self.reload().await;
        let is_put_off = matches!(reloaded, Err(ReloadError::Ledger(_)));
        self.is_put_off.store(is_put_off, Ordering::Relaxed);
        match reloaded {
            Ok(()) => self.metrics.set_file_refused("catalog", false),
            Err(ReloadError::Ledger(fault)) => {
                tracing::warn!(%fault, "whether the catalogue can be used is not known yet");
            }
            Err(error) => {
                self.metrics.catalog_reload(Reload::Refused);
                self.metrics.set_file_refused("catalog", true);
                tracing::error!(%error, "the changed catalogue is not used; the old one stays");
            }
        }
        Ok(Progress::Done)
    }
}
