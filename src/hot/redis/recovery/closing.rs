//! Servers of which the ledger takes nothing any more.

use std::sync::atomic::Ordering;

use super::{Error, NotYet, Recovery};
use crate::hot::{
    Cursor, Standing,
    redis::{packed::Reader, scripts, steps::text},
};

impl Recovery {
    /// Closes a shard whose entries the ledger, which is at `cursor`, does not take.
    pub async fn distrust(&self, cursor: Cursor) -> Result<(), Error> {
        let ledger = self.ledger.as_deref().ok_or(NotYet::NoLedger)?;
        let shard = cursor.shard;
        let keys = &self.shards[shard as usize];
        let standing = ledger.standing(shard, cursor.epoch).await?;
        let given = [keys.meta.to_string()];
        let arguments = [
            text(standing.cursor.epoch),
            standing.server.clone().into_bytes(),
        ];
        let reply = self
            .eval(shard, &scripts::DISTRUST, &given, &arguments)
            .await?;
        let mut reader = Reader::new(&reply);
        let is_replaced = reader.bool()?;
        let epoch = reader.maybe(Reader::uint)?;
        let Some(epoch) = epoch else {
            return Ok(());
        };
        if !is_replaced {
            tracing::warn!(
                shard,
                epoch,
                "the ledger is elsewhere: the shard is verified anew"
            );
            return Ok(());
        }
        self.closed(shard, &ledger.standing(shard, epoch).await?)
            .await
    }

    /// Names and counts what a closed shard had beyond what the ledger agrees to.
    pub(super) async fn closed(&self, shard: u32, standing: &Standing) -> Result<(), Error> {
        let lost = self.log_lost(shard, standing.agreed).await?;
        self.lost.fetch_add(lost, Ordering::Relaxed);
        tracing::error!(
            shard,
            lost,
            replaced_by = standing.server,
            "another server has replaced this one: it is closed, and what it settled since does \
             not count"
        );
        Ok(())
    }
}
