//! The publisher puts the catalogue into Redis, where processes without a ledger find it: every
//! version's text, and which one is in use. It also puts back the number of shards, without which
//! they can't connect.
//!
//! A process says which one when it starts and whenever its own catalogue changes, and puts back
//! what the server has lost; so of several control planes the one counts that was started or
//! given a new file last, and none overrules it meanwhile.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{MESSENGER_BACKOFF_MAX, Progress, StepError, Worker};
use crate::{catalogs::Catalogs, hot::redis::RedisHot};

/// Publishes the catalogue, and keeps the number of shards there.
pub struct Publisher {
    redis: Arc<RedisHot>,
    catalogs: Arc<Catalogs>,
    said: Mutex<Said>,
}

/// What this process has said, so that it says nothing twice.
#[derive(Debug, Default)]
struct Said {
    /// Which version is in use.
    current: Option<Arc<str>>,
    /// Whose other version it has logged.
    others: Option<String>,
}

/// The version is published with another text.
#[derive(Debug, thiserror::Error)]
#[error(
    "version {version} of the catalogue is published with another text: give the changed file a \
     new version"
)]
struct VersionReused {
    version: Arc<str>,
}

impl Publisher {
    /// Publishes what `catalogs` has.
    pub fn new(redis: Arc<RedisHot>, catalogs: Arc<Catalogs>) -> Self {
        Publisher {
            redis,
            catalogs,
            said: Mutex::default(),
        }
    }

    async fn publish_texts(&self, published: &BTreeSet<String>) -> Result<(), StepError> {
        for catalog in self.catalogs.all() {
            let version = &catalog.version;
            if !published.contains(&**version)
                && !self.redis.publish_text(version, &catalog.yaml).await?
            {
                let version = Arc::clone(version);
                return Err(Box::new(VersionReused { version }));
            }
        }
        Ok(())
    }

    /// Another process has said something else since: it counts, and the log says so once.
    fn tell_of_other(&self, version: String, own: &str) {
        let mut said = self.said.lock();
        if said.others.as_deref() != Some(version.as_str()) {
            tracing::warn!(
                version,
                own,
                "another process has put another version of the catalogue in use"
            );
            said.others = Some(version);
        }
    }
}

#[async_trait]
impl Worker for Publisher {
    fn name(&self) -> &'static str {
        "publisher"
    }

    fn backoff_max(&self) -> Duration {
        MESSENGER_BACKOFF_MAX
    }

    async fn step(&self) -> Result<Progress, StepError> {
        self.redis.publish_setup().await?;
        let Some(current) = self.catalogs.current() else {
            return Ok(Progress::Done);
        };
        let published = self.redis.published().await?;
        self.publish_texts(&published.versions).await?;
        let own = &current.version;
        let is_said = self.said.lock().current.as_ref() == Some(own);
        match published.current {
            Some(version) if version == **own => {}
            Some(version) if is_said => {
                self.tell_of_other(version, own);
                return Ok(Progress::Done);
            }
            Some(_) | None => {
                self.redis.publish_version(own).await?;
                tracing::info!(version = %own, "catalogue published");
            }
        }
        *self.said.lock() = Said {
            current: Some(Arc::clone(own)),
            others: None,
        };
        Ok(Progress::Done)
    }
}
