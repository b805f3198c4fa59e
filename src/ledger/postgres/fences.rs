//! Cursors, and which store may move them.

use sqlx::{PgPool, Row, postgres::PgRow};

use super::{Fault, rows::int};
use crate::hot::{Cursor, Fence, Standing};

/// Every shard's cursor.
pub(super) async fn cursors(pool: &PgPool) -> Result<Vec<Cursor>, Fault> {
    let found = sqlx::query("SELECT shard, epoch, position FROM cursors ORDER BY shard")
        .fetch_all(pool)
        .await?;
    found.iter().map(cursor).collect()
}

fn cursor(row: &PgRow) -> Result<Cursor, Fault> {
    let shard: i64 = row.try_get(0)?;
    Ok(Cursor {
        shard: u32::try_from(shard).unwrap_or(u32::MAX),
        epoch: row.try_get::<i64, _>(1)?.unsigned_abs(),
        position: row.try_get::<i64, _>(2)?.unsigned_abs(),
    })
}

/// Begins the next epoch of every shard that has the epoch that its fence names; answers whether
/// all had it, and changes nothing otherwise. Waits for whoever settles on one of them right now.
pub(super) async fn fence(pool: &PgPool, fences: &[Fence]) -> Result<bool, Fault> {
    let mut transaction = pool.begin().await?;
    // Rows are locked in the order of the shards, as settling does.
    let mut fences: Vec<&Fence> = fences.iter().collect();
    fences.sort_unstable_by_key(|fence| fence.shard);
    for fence in fences {
        sqlx::query(
            "INSERT INTO cursors (shard, position) VALUES ($1, 0) ON CONFLICT (shard) DO NOTHING",
        )
        .bind(i64::from(fence.shard))
        .execute(&mut *transaction)
        .await?;
        let moved: Option<i64> = sqlx::query_scalar(
            "UPDATE cursors SET epoch = epoch + 1, server = $1 WHERE shard = $2 AND epoch = $3
             RETURNING position",
        )
        .bind(fence.server.as_str())
        .bind(i64::from(fence.shard))
        .bind(int(fence.epoch))
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(position) = moved else {
            transaction.rollback().await?;
            return Ok(false);
        };
        sqlx::query(
            "INSERT INTO fences (shard, position, epoch) VALUES ($1, $2, $3)
             ON CONFLICT (shard, position) DO UPDATE SET epoch = excluded.epoch",
        )
        .bind(i64::from(fence.shard))
        .bind(position)
        .bind(int(fence.epoch + 1))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Where a shard stands, and up to where the history of an epoch is the ledger's.
pub(super) async fn standing(pool: &PgPool, shard: u32, epoch: u64) -> Result<Standing, Fault> {
    let found = sqlx::query(
        "SELECT shard, epoch, position, server,
                (SELECT min(position) FROM fences WHERE shard = $1 AND epoch > $2)
         FROM cursors WHERE shard = $1",
    )
    .bind(i64::from(shard))
    .bind(int(epoch))
    .fetch_optional(pool)
    .await?;
    let Some(row) = found else {
        let cursor = Cursor {
            shard,
            ..Cursor::default()
        };
        return Ok(Standing {
            cursor,
            ..Standing::default()
        });
    };
    let cursor = cursor(&row)?;
    let fenced: Option<i64> = row.try_get(4)?;
    Ok(Standing {
        agreed: fenced.map_or(cursor.position, i64::unsigned_abs),
        cursor,
        server: row.try_get(3)?,
    })
}
