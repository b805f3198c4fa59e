//! The months of `entries`: made ahead of time, made on demand where an entry occurred in another
//! month, and detached when they are old. Idempotent: any number of processes may do any of it.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use sqlx::PgPool;

use super::Fault;
use crate::{
    domain::{entry::Entry, timestamp::Timestamp},
    ledger::{batch::Unfit, months::Month},
};

/// The most months that are made ahead or detached at once: a hundred years.
const MONTHS_MAX: usize = 1200;

/// The months that are known to have a partition.
pub(super) type Known = Mutex<BTreeSet<Month>>;

/// Makes the partitions of the month of `now` and of so many after it; answers how many it made.
pub(super) async fn ahead(
    pool: &PgPool,
    known: &Known,
    now: Timestamp,
    months_ahead: u32,
) -> Result<usize, Fault> {
    let first = Month::of(now);
    let months = std::iter::successors(first, |month| month.next())
        .take(months_ahead.saturating_add(1) as usize)
        .take(MONTHS_MAX)
        .collect();
    // What is remembered may have been detached since: this is the step that finds out.
    known.lock().clear();
    make(pool, known, &months).await
}

/// The months in which some entries occurred.
pub(super) fn months(entries: &[&Entry]) -> Result<BTreeSet<Month>, Fault> {
    let mut months = BTreeSet::new();
    for entry in entries {
        let month = Month::of(entry.occurred_at).ok_or_else(|| Unfit::Broken {
            account_id: entry.account_id.clone(),
            detail: format!("entry {} occurred in no month", entry.sequence),
        })?;
        months.insert(month);
    }
    Ok(months)
}

/// Makes the partitions that are not known to be there; answers how many it made.
pub(super) async fn make(
    pool: &PgPool,
    known: &Known,
    months: &BTreeSet<Month>,
) -> Result<usize, Fault> {
    let missing: Vec<Month> = {
        let known = known.lock();
        months.difference(&known).copied().collect()
    };
    let mut made = 0;
    for month in missing {
        let until = month.next().and_then(Month::start);
        let (Some(first), Some(until)) = (month.start(), until) else {
            continue;
        };
        let new: bool = sqlx::query_scalar("SELECT add_entries_partition($1, $2, $3)")
            .bind(first.millis())
            .bind(until.millis())
            .bind(month.suffix())
            .fetch_one(pool)
            .await?;
        made += usize::from(new);
        known.lock().insert(month);
    }
    Ok(made)
}

/// Detaches every partition whose month ended by `before`, oldest first; answers their names.
pub(super) async fn detach(
    pool: &PgPool,
    known: &Known,
    before: Timestamp,
) -> Result<Vec<String>, Fault> {
    let partitions: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid)
         FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'entries'::regclass",
    )
    .fetch_all(pool)
    .await?;
    let mut old: Vec<(i64, String)> = partitions
        .into_iter()
        .filter_map(|(name, bound)| Some((end(&bound)?, name)))
        .filter(|(end, _)| *end <= before.millis())
        .collect();
    old.sort();
    let mut detached = Vec::new();
    for (_, name) in old.into_iter().take(MONTHS_MAX) {
        let mut transaction = pool.begin().await?;
        sqlx::raw_sql("SET LOCAL statement_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        sqlx::query("SELECT detach_entries($1::regclass)")
            .bind(&name)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        detached.push(name);
    }
    known.lock().clear();
    Ok(detached)
}

/// The end of `FOR VALUES FROM ('…') TO ('…')`.
fn end(bound: &str) -> Option<i64> {
    let (_, end) = bound.split_once(" TO (")?;
    end.trim_matches(|c| matches!(c, '\'' | ')')).parse().ok()
}
