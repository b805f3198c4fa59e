//! What is published in Redis for processes that know nothing else: the number of shards, whose
//! balances these are, and the catalogue, which is the text of every version and which one is in use. A text is there before
//! its version is in use, and is never replaced.

use std::collections::BTreeSet;

use super::{RedisHot, keys};
use crate::hot::HotFault;

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The version in use; `None`: none was ever published, or the server has lost it.
    pub current: Option<String>,
    /// Every version whose text is there.
    pub versions: BTreeSet<String>,
}

impl RedisHot {
    /// Puts back the number of shards and the ledger's id where the server has lost them: without
    /// the number no process that may not fix it can connect. Whoever may has fixed both when he
    /// connected, but a server that is flushed closes no connection. Where a process with another
    /// ledger has come first this one uses the store no more.
    pub async fn publish_setup(&self) -> Result<(), HotFault> {
        const OPERATION: &str = "publish_setup";
        let mut set = redis::cmd("SET");
        set.arg(keys::SHARDS).arg(self.options.shards).arg("NX");
        let _: Option<String> = self.plain(OPERATION, 0, &set).await?;
        let Some(here) = &self.options.ledger_id else {
            return Ok(());
        };
        let (claim, ask) = keys::claim(here);
        let _: Option<String> = self.plain(OPERATION, 0, &claim).await?;
        let there: Option<String> = self.plain(OPERATION, 0, &ask).await?;
        if there.is_some_and(|there| there != *here) {
            self.link.leave("it belongs to another ledger by now");
        }
        Ok(())
    }

    /// Everything of the catalogue that is published, but for the texts.
    pub async fn published(&self) -> Result<Published, HotFault> {
        let mut list = redis::cmd("HKEYS");
        list.arg(keys::CATALOGS);
        let versions: Vec<String> = self.plain("published", 0, &list).await?;
        Ok(Published {
            current: self.published_version().await?,
            versions: versions.into_iter().collect(),
        })
    }

    /// The version in use.
    pub async fn published_version(&self) -> Result<Option<String>, HotFault> {
        let mut get = redis::cmd("GET");
        get.arg(keys::CATALOG);
        self.plain("published_version", 0, &get).await
    }

    /// The text of a version.
    pub async fn published_text(&self, version: &str) -> Result<Option<String>, HotFault> {
        let mut get = redis::cmd("HGET");
        get.arg(keys::CATALOGS).arg(version);
        self.plain("published_text", 0, &get).await
    }

    /// Publishes a version's text, unless that version is there. `false`: with another text.
    pub async fn publish_text(&self, version: &str, yaml: &str) -> Result<bool, HotFault> {
        let mut set = redis::cmd("HSETNX");
        set.arg(keys::CATALOGS).arg(version).arg(yaml);
        let is_new: bool = self.plain("publish_text", 0, &set).await?;
        Ok(is_new || self.published_text(version).await?.as_deref() == Some(yaml))
    }

    /// Says which version is in use. Its text must have been published.
    pub async fn publish_version(&self, version: &str) -> Result<(), HotFault> {
        let mut set = redis::cmd("SET");
        set.arg(keys::CATALOG).arg(version);
        self.plain("publish_version", 0, &set).await
    }
}
