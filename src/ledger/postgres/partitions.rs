//! The months of `entries`: made ahead of time, and made on demand where an entry occurred in another
//! month. Idempotent: any number of processes may do either. Old ones are detached by whoever calls
//! the database's own `detach_entries`, never from here: it takes as long as it takes.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use sqlx::PgPool;

use super::Fault;
use crate::{
    domain::{entry::Entry, timestamp::Timestamp},
    ledger::{batch::Unfit, months::Month},
};

/// The most months that are made ahead at once: a hundred years.
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
    let months: BTreeSet<Month> = std::iter::successors(first, |month| month.next())
        .take(months_ahead.saturating_add(1) as usize)
        .take(MONTHS_MAX)
        .collect();
    // What is remembered may have been detached since: this is the step that finds out. Until it
    // has, whoever settles goes by what is remembered.
    let mut made = 0;
    for month in &months {
        made += usize::from(add(pool, *month).await?);
    }
    *known.lock() = months;
    Ok(made)
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

/// Makes the partitions that are not known to be there.
pub(super) async fn make(
    pool: &PgPool,
    known: &Known,
    months: &BTreeSet<Month>,
) -> Result<(), Fault> {
    let missing: Vec<Month> = {
        let known = known.lock();
        months.difference(&known).copied().collect()
    };
    for month in missing {
        add(pool, month).await?;
        known.lock().insert(month);
    }
    Ok(())
}

/// Makes a month's partition, unless it is there; answers whether it made it.
async fn add(pool: &PgPool, month: Month) -> Result<bool, Fault> {
    let until = month.next().and_then(Month::start);
    let (Some(first), Some(until)) = (month.start(), until) else {
        return Ok(false);
    };
    let made = sqlx::query_scalar("SELECT add_entries_partition($1, $2, $3)")
        .bind(first.millis())
        .bind(until.millis())
        .bind(month.suffix())
        .fetch_one(pool)
        .await?;
    Ok(made)
}
