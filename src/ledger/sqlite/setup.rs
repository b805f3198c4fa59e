//! What a start-up asks: how many shards this ledger is for, and what a catalogue must have.

use sqlx::{Connection, SqliteConnection, SqlitePool};

use super::{Fault, rows::int};
use crate::ledger::InUse;

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

/// Plans of accounts that are not closed, and modes of open reservations.
pub(super) async fn in_use(readers: &SqlitePool) -> Result<InUse, Fault> {
    let plans = sqlx::query_scalar(
        "SELECT plan_id FROM accounts WHERE status <> 'closed'
         UNION SELECT next_plan_id FROM accounts
         WHERE status <> 'closed' AND next_plan_id IS NOT NULL",
    )
    .fetch_all(readers)
    .await?;
    let modes = sqlx::query_scalar("SELECT DISTINCT mode FROM reservations WHERE mode <> ''")
        .fetch_all(readers)
        .await?;
    Ok(InUse { plans, modes })
}
