//! What a start-up asks: what this ledger is called, how many shards this ledger is for, and what a catalogue must have.

use std::collections::BTreeSet;

use sqlx::{Connection, SqliteConnection, SqlitePool};

use super::{Fault, kept::Kept, rows::int};
use crate::{domain::reservation::State, ledger::InUse};

/// Fixes the number of shards at the first start; answers what it was fixed at.
pub(super) async fn fix_shards(
    connection: &mut SqliteConnection,
    wanted: u32,
) -> Result<u32, Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let fixed: i64 = sqlx::query_scalar("SELECT count(*) FROM cursors")
        .fetch_one(&mut *transaction)
        .await?;
    if fixed > 0 {
        return Ok(u32::try_from(fixed).unwrap_or(u32::MAX));
    }
    for shard in 0..wanted {
        sqlx::query("INSERT INTO cursors (shard, position) VALUES (?, 0)")
            .bind(int(u64::from(shard)))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(wanted)
}

/// What the ledger is called.
pub(super) async fn id(readers: &SqlitePool) -> Result<String, Fault> {
    let id = sqlx::query_scalar("SELECT id FROM identity");
    Ok(id.fetch_one(readers).await?)
}

/// Plans of accounts that are not closed, and modes of open reservations.
pub(super) async fn in_use(readers: &SqlitePool) -> Result<InUse, Fault> {
    let plans = sqlx::query_scalar(
        "SELECT plan_id FROM accounts WHERE status <> 'closed'
         UNION SELECT next_plan_id FROM accounts
         WHERE status <> 'closed' AND next_plan_id IS NOT NULL",
    )
    .fetch_all(readers)
    .await?;
    let modes = open_modes(readers).await?.into_iter().collect();
    Ok(InUse { plans, modes })
}

async fn open_modes(readers: &SqlitePool) -> Result<BTreeSet<String>, Fault> {
    let mut snapshot = readers.begin().await?;
    let kept = Kept::read(&mut snapshot).await?;
    let mut modes = BTreeSet::new();
    let mut last = 0;
    while let Some(summaries) = kept.summaries(&mut snapshot, &mut last).await? {
        let open = summaries
            .into_iter()
            .filter(|(_, _, summary)| summary.state == State::Open && !summary.mode.is_empty());
        modes.extend(open.map(|(_, _, summary)| summary.mode));
    }
    Ok(modes)
}
