//! The pairs of stores that every scenario runs on.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use tollgate::{
    app::restore,
    clock::ManualClock,
    hot::{
        HotStore,
        memory::{MemoryHot, MemoryOptions},
    },
    ledger::{Ledger, sqlite::SqliteLedger},
};

/// How many shards the hot store has: more than one, so that the settler has to gather.
const SHARDS: u32 = 4;
/// How long a settled reservation is remembered.
const REPLAY_WINDOW_MS: u64 = 86_400_000;

/// A hot store and its ledger.
pub struct Stores {
    pub hot: Arc<dyn HotStore>,
    pub ledger: Arc<dyn Ledger>,
}

/// Something that makes a pair of stores.
#[async_trait]
pub trait Backend: Send + Sync {
    /// How a failed line calls it.
    fn name(&self) -> &'static str;

    /// What a process does with its stores when it starts: empty ones where the folder is new,
    /// else what it left when it was killed.
    async fn start(&self, folder: &Path, clock: Arc<ManualClock>) -> Result<Stores, String>;
}

/// Memory, and SQLite.
struct Embedded;

#[async_trait]
impl Backend for Embedded {
    fn name(&self) -> &'static str {
        "memory, sqlite"
    }

    async fn start(&self, folder: &Path, clock: Arc<ManualClock>) -> Result<Stores, String> {
        let path = folder.join("ledger.db");
        let ledger = SqliteLedger::open(&path)
            .await
            .map_err(|error| error.to_string())?;
        let fixed = ledger
            .fix_shards(SHARDS)
            .await
            .map_err(|fault| fault.to_string())?;
        assert_eq!(fixed, SHARDS);
        let options = MemoryOptions {
            shards: SHARDS,
            replay_window_ms: REPLAY_WINDOW_MS,
            ..MemoryOptions::default()
        };
        let hot = MemoryHot::new(options, clock.clone());
        let restored = restore::restore(&hot, &ledger, clock.as_ref()).await;
        restored.map_err(|error| error.to_string())?;
        Ok(Stores {
            hot: Arc::new(hot),
            ledger: Arc::new(ledger),
        })
    }
}

/// Every pair of stores that the scenarios run on.
pub fn backends() -> Vec<Box<dyn Backend>> {
    vec![Box::new(Embedded)]
}
