//! Catalogues by version, kept for ever.

use sqlx::PgPool;

use super::Fault;
use crate::{domain::timestamp::Timestamp, ledger::StoredCatalog};

/// Keeps a catalogue. `false`: its version is there with other text.
pub(super) async fn put(
    pool: &PgPool,
    catalog: &StoredCatalog,
    now: Timestamp,
) -> Result<bool, Fault> {
    sqlx::query(
        "INSERT INTO catalogs (version, yaml, put_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(&catalog.version)
    .bind(&catalog.yaml)
    .bind(now.millis())
    .execute(pool)
    .await?;
    // No row of this table ever changes, so the second statement needs no transaction.
    let stored: String = sqlx::query_scalar("SELECT yaml FROM catalogs WHERE version = $1")
        .bind(&catalog.version)
        .fetch_one(pool)
        .await?;
    Ok(stored == catalog.yaml)
}

/// Every catalogue, in the order in which they were put.
pub(super) async fn all(pool: &PgPool) -> Result<Vec<StoredCatalog>, Fault> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT version, yaml FROM catalogs ORDER BY put_at, version")
            .fetch_all(pool)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(version, yaml)| StoredCatalog { version, yaml })
        .collect())
}
