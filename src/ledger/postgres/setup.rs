//! What a start-up asks: what this ledger is called, how many shards this ledger is for, and what a catalogue must have.

use std::time::Duration;

use sqlx::{Connection, PgPool};

use super::Fault;
use crate::ledger::InUse;

/// What is in use is looked for everywhere, which a start has to wait for: five minutes for either
/// statement.
const BEGIN_IN_USE: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '5min'";
/// The longest that both may take.
pub(super) const IN_USE_TIMEOUT: Duration = Duration::from_secs(600);

/// Fixes the number of shards at the first start; answers what it was fixed at. Of several first
/// starts at once one fixes it, and the others wait for it.
pub(super) async fn fix_shards(pool: &PgPool, wanted: u32) -> Result<u32, Fault> {
    let fixed: i64 = sqlx::query_scalar("SELECT count(*) FROM cursors")
        .fetch_one(pool)
        .await?;
    if fixed > 0 {
        return Ok(u32::try_from(fixed).unwrap_or(u32::MAX));
    }
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("LOCK TABLE cursors IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO cursors (shard, position)
         SELECT shard, 0 FROM generate_series(0, $1 - 1) AS shard
         WHERE NOT EXISTS (SELECT FROM cursors)",
    )
    .bind(i64::from(wanted))
    .execute(&mut *transaction)
    .await?;
    let fixed: i64 = sqlx::query_scalar("SELECT count(*) FROM cursors")
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(u32::try_from(fixed).unwrap_or(u32::MAX))
}

/// What the ledger is called.
pub(super) async fn id(pool: &PgPool) -> Result<String, Fault> {
    let id = sqlx::query_scalar("SELECT id FROM identity");
    Ok(id.fetch_one(pool).await?)
}

/// Plans of accounts that are not closed, and modes of open reservations. It looks at all of them.
pub(super) async fn in_use(pool: &PgPool) -> Result<InUse, Fault> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with(BEGIN_IN_USE).await?;
    let plans = sqlx::query_scalar(
        "SELECT plan_id FROM accounts WHERE status <> 'closed'
         UNION SELECT next_plan_id FROM accounts
         WHERE status <> 'closed' AND next_plan_id IS NOT NULL",
    )
    .fetch_all(&mut *transaction)
    .await?;
    let modes = sqlx::query_scalar(
        "SELECT DISTINCT kept.body #>> '{action,mode}'
         FROM (SELECT body::jsonb AS body FROM reservations) AS kept
         WHERE kept.body ->> 'state' = 'open' AND kept.body #>> '{action,mode}' <> ''",
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(InUse { plans, modes })
}
