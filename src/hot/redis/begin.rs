//! How an empty server begins: each outbox where the ledger's cursor is, before any step runs.
//!
//! A server that lost everything would count its outbox from zero again, and the ledger would
//! refuse what it counts. So this belongs to making a connection, and no call gets one before.

use std::{error::Error, fmt};

use async_trait::async_trait;

use super::{
    keys::{self, ShardKeys},
    scripts,
    wires::Wire,
};

/// Where the ledger stands: asked when a connection finds a server that has not begun.
#[async_trait]
pub trait LedgerCursors: fmt::Debug + Send + Sync {
    /// Each shard that the ledger knows, and the outbox position up to which it has everything.
    async fn cursors(&self) -> Result<Vec<(u32, u64)>, Box<dyn Error + Send + Sync>>;
}

/// Begins every outbox where the ledger is, unless that was done. Safe to repeat, and for any
/// number of processes at once: an outbox that has begun stays as it is.
pub(super) async fn begin(
    wire: &mut Wire,
    ledger: &dyn LedgerCursors,
    shards: u32,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut get = redis::cmd("GET");
    get.arg(keys::BEGUN);
    let begun: Option<String> = redis::from_redis_value(wire.send(&get).await?)?;
    if begun.is_some() {
        return Ok(());
    }
    for (shard, position) in ledger.cursors().await? {
        if shard >= shards {
            continue;
        }
        let keys = ShardKeys::new(shard);
        let mut trim = redis::cmd("EVAL");
        trim.arg(&scripts::TRIM.text)
            .arg(2)
            .arg(&*keys.out)
            .arg(&*keys.meta)
            .arg(position)
            .arg("1");
        wire.send(&trim).await?;
    }
    let mut set = redis::cmd("SET");
    set.arg(keys::BEGUN).arg(1);
    wire.send(&set).await?;
    Ok(())
}
