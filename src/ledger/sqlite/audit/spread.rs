//! What SQL can't read, written into tables of a connection's own that it can.

use std::{collections::HashMap, sync::LazyLock};

use sqlx::{Row, SqliteConnection};

use super::super::{
    Fault,
    bulk::{Bulk, bind_all},
    kept::Kept,
    rows::{self, entry_column, int},
};
use crate::domain::ids::GrantId;

static RESERVATIONS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        4,
        "INSERT INTO temp.reservations SELECT * FROM",
        "WHERE column1 IS NOT NULL",
    )
});
static MOVED: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        5,
        "INSERT INTO temp.moved SELECT * FROM",
        "WHERE column1 IS NOT NULL",
    )
});
/// How many entries are in memory at once.
const ENTRIES_AT_ONCE: i64 = 4096;

/// What counts of the log of reservations.
pub(super) async fn reservations(snapshot: &mut SqliteConnection) -> Result<(), Fault> {
    sqlx::raw_sql(
        "CREATE TEMP TABLE reservations (
             account_id TEXT NOT NULL, reservation_id TEXT NOT NULL, charged INTEGER NOT NULL,
             holds TEXT NOT NULL)",
    )
    .execute(&mut *snapshot)
    .await?;
    let kept = Kept::read(snapshot).await?;
    let mut last = 0;
    while let Some(summaries) = kept.summaries(snapshot, &mut last).await? {
        let lines = summaries
            .iter()
            .map(|(account_id, id, summary)| {
                let holds = rows::to_json(&summary.holds)?;
                Ok((
                    account_id.as_str(),
                    id.as_str(),
                    int(summary.charged),
                    holds,
                ))
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        RESERVATIONS
            .execute(snapshot, &lines, |line, arguments| {
                bind_all!(arguments, line.0, line.1, line.2, line.3.as_str())
            })
            .await?;
    }
    Ok(())
}

/// By how much all entries together moved each grant.
pub(super) async fn moves(snapshot: &mut SqliteConnection) -> Result<(), Fault> {
    sqlx::raw_sql(
        "CREATE TEMP TABLE moved (
             account_id TEXT NOT NULL, grant_id TEXT NOT NULL, amount INTEGER NOT NULL,
             used INTEGER NOT NULL, expired INTEGER NOT NULL,
             PRIMARY KEY (account_id, grant_id)) WITHOUT ROWID",
    )
    .execute(&mut *snapshot)
    .await?;
    let moved: Vec<_> = add_up(snapshot).await?.into_iter().collect();
    MOVED
        .execute(
            snapshot,
            &moved,
            |((account_id, grant_id), sums), arguments| {
                let [amount, used, expired] = *sums;
                bind_all!(
                    arguments,
                    account_id.as_str(),
                    grant_id.as_str(),
                    amount,
                    used,
                    expired
                )
            },
        )
        .await?;
    Ok(())
}

type Sums = HashMap<(String, GrantId), [i64; 3]>;

async fn add_up(snapshot: &mut SqliteConnection) -> Result<Sums, Fault> {
    let mut sums = Sums::new();
    let mut last = 0_i64;
    loop {
        let found = sqlx::query(concat!(
            "SELECT id, account_id, ",
            entry_column!("entries"),
            " FROM entries WHERE id > ? ORDER BY id LIMIT ?"
        ))
        .bind(last)
        .bind(ENTRIES_AT_ONCE)
        .fetch_all(&mut *snapshot)
        .await?;
        let Some(end) = found.last() else {
            return Ok(sums);
        };
        last = end.try_get(0)?;
        for row in &found {
            let account_id: &str = row.try_get(1)?;
            for moved in rows::entry(row, 2)?.moves {
                let key = (account_id.to_owned(), moved.grant_id);
                let sum = sums.entry(key).or_default();
                let deltas = [moved.amount, moved.used, moved.expired];
                for (sum, delta) in sum.iter_mut().zip(deltas) {
                    *sum = sum.saturating_add(delta);
                }
            }
        }
    }
}
