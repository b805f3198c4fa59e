//! The subscriber takes the published catalogue into use, in a process that has no ledger. What
//! can't be used, or is gone, changes nothing: the catalogue that was there stays, and the log
//! and a metric say why.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker};
use crate::{
    catalogs::{self, CatalogProblems, Catalogs, VersionReused},
    domain::catalog::Catalog,
    hot::redis::RedisHot,
    telemetry::{Metrics, Reload},
};

/// Follows the published catalogue.
pub struct Subscriber {
    redis: Arc<RedisHot>,
    catalogs: Arc<Catalogs>,
    metrics: Arc<Metrics>,
    /// What was refused last, so that it is said once and not at every look.
    refused: Mutex<Option<String>>,
}

/// Why what is published is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("no version is published any more")]
    Lost,
    #[error("version {0} is published without its text")]
    NoText(String),
    #[error("version {version} can't be read:\n{problems}")]
    Parse {
        version: String,
        problems: CatalogProblems,
    },
    #[error("what is published as version {published} calls itself {found}")]
    OtherVersion { published: String, found: Arc<str> },
    #[error(transparent)]
    Reused(#[from] VersionReused),
}

impl Subscriber {
    /// Puts what is published into `catalogs`.
    pub fn new(redis: Arc<RedisHot>, catalogs: Arc<Catalogs>, metrics: Arc<Metrics>) -> Self {
        Subscriber {
            redis,
            catalogs,
            metrics,
            refused: Mutex::default(),
        }
    }

    fn refuse(&self, unusable: &Unusable) {
        let why = unusable.to_string();
        let mut refused = self.refused.lock();
        if refused.as_ref() != Some(&why) {
            self.metrics.catalog_reload(Reload::Refused);
            tracing::error!(
                why,
                "the published catalogue is not used; the old one stays"
            );
            *refused = Some(why);
        }
    }

    fn install(&self, published: String, yaml: Option<String>) -> Result<(), Unusable> {
        let yaml = yaml.ok_or_else(|| Unusable::NoText(published.clone()))?;
        let catalog = check(published, &yaml)?;
        let version = Arc::clone(&catalog.version);
        self.catalogs.install(catalog)?;
        self.metrics.catalog_reload(Reload::Loaded);
        self.metrics.set_catalog_version(&version);
        tracing::info!(%version, "catalogue loaded");
        Ok(())
    }
}

fn check(published: String, yaml: &str) -> Result<Catalog, Unusable> {
    let catalog = catalogs::parse(yaml).map_err(|problems| Unusable::Parse {
        version: published.clone(),
        problems,
    })?;
    if *catalog.version == *published {
        Ok(catalog)
    } else {
        let found = catalog.version;
        Err(Unusable::OtherVersion { published, found })
    }
}

#[async_trait]
impl Worker for Subscriber {
    fn name(&self) -> &'static str {
        "subscriber"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    async fn step(&self) -> Result<Progress, StepError> {
        let used = self
            .catalogs
            .current()
            .map(|used| Arc::clone(&used.version));
        let result = match (self.redis.published_version().await?, used) {
            (None, None) => return Ok(Progress::Done),
            (None, Some(_)) => Err(Unusable::Lost),
            (Some(version), Some(used)) if version == *used => Ok(()),
            (Some(version), _) => {
                let yaml = self.redis.published_text(&version).await?;
                self.install(version, yaml)
            }
        };
        match result {
            Ok(()) => *self.refused.lock() = None,
            Err(unusable) => self.refuse(&unusable),
        }
        Ok(Progress::Done)
    }
}
