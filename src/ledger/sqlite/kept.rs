//! What the hot store keeps of each reservation, as of its last flush: a log in a table.
//!
//! Reservations come and go far faster than entries, under ids that are random more often than
//! not: a row for each would change a page with each. So what one transaction puts and drops is
//! one blob, added at the end; the newest mention of a reservation counts. Where most of the log
//! no longer counts, each transaction takes its oldest rows and adds what still counts of them
//! anew, so the log stays about as large as what is in it.

use std::{collections::HashMap, hash::BuildHasher};

use foldhash::{fast, quality};
use sqlx::{Row, SqliteConnection};

use super::{Fault, rows};
use crate::{
    domain::{
        ids::{AccountId, IdError, ReservationId},
        packed::{Packed, Summary},
    },
    hot,
    ledger::raw::{Mention, Raw},
};

/// The most records of one row.
const ROW_RECORDS: usize = 4096;
/// How many records that no longer count are left alone.
const SLACK: usize = 4 * ROW_RECORDS;
/// How many old rows one transaction takes at most.
const CLEANED_MAX: usize = 8;

/// A reservation's ids, and what it is looked at for.
pub(super) type Summarized = (String, String, Summary);
/// What tells reservations apart in memory: 128 bits, which never meet by accident, and, since
/// every process draws seeds of its own, never by intent.
type Key = u128;

/// Which row has the newest mention of each reservation.
#[derive(Debug, Default)]
pub(super) struct Kept {
    seeds: [quality::RandomState; 2],
    current: HashMap<Key, i64, fast::RandomState>,
    /// Records of all rows.
    records: usize,
}

/// What a transaction does to [`Kept`], once it is committed.
#[derive(Default)]
pub(super) struct Changed {
    moved: Vec<(Key, Option<i64>)>,
    added: usize,
    deleted: usize,
}

impl Kept {
    /// Reads where everything is.
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, Fault> {
        let mut kept = Kept::default();
        let mut last = 0;
        while let Some((id, body)) = next(connection, last).await? {
            let records = records(&body)?;
            let moved = records
                .iter()
                .map(|record| (kept.key(record), record.2.map(|_| id)))
                .collect();
            kept.apply(Changed {
                moved,
                added: records.len(),
                deleted: 0,
            });
            last = id;
        }
        Ok(kept)
    }

    /// Takes note of what a transaction did that is committed.
    pub(super) fn apply(&mut self, changed: Changed) {
        for (key, row) in changed.moved {
            match row {
                Some(row) => self.current.insert(key, row),
                None => self.current.remove(&key),
            };
        }
        self.records = (self.records + changed.added).saturating_sub(changed.deleted);
    }

    /// Adds mentions, each reservation at most once, and cleans up.
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        mentions: &[Mention<'_>],
    ) -> Result<Changed, Fault> {
        let mut changed = Changed::default();
        if mentions.is_empty() {
            return Ok(changed);
        }
        // What is moved must not come after what is new.
        self.clean(connection, &mut changed).await?;
        for chunk in mentions.chunks(ROW_RECORDS) {
            self.add(connection, chunk, &mut changed).await?;
        }
        Ok(changed)
    }

    async fn clean(
        &self,
        connection: &mut SqliteConnection,
        changed: &mut Changed,
    ) -> Result<(), Fault> {
        let mut records_left = self.records;
        let mut last = 0;
        for _ in 0..CLEANED_MAX {
            if records_left <= 2 * self.current.len() + SLACK {
                return Ok(());
            }
            // Nothing is older than the oldest row, so a drop in it has nothing left to drop.
            let Some((id, body)) = next(connection, last).await? else {
                return Ok(());
            };
            last = id;
            let old = records(&body)?;
            let counts = |record: &&Mention<'_>| {
                record.2.is_some() && self.current.get(&self.key(record)) == Some(&id)
            };
            let live: Vec<Mention<'_>> = old.iter().filter(counts).copied().collect();
            if !live.is_empty() {
                self.add(connection, &live, changed).await?;
            }
            sqlx::query("DELETE FROM reservation_log WHERE id = ?")
                .bind(id)
                .execute(&mut *connection)
                .await?;
            changed.deleted += old.len();
            records_left = records_left + live.len() - old.len();
        }
        Ok(())
    }

    /// What still counts, from the row after the one that has `after`, whole rows until there are
    /// at least `max`.
    pub(super) async fn page(
        &self,
        connection: &mut SqliteConnection,
        after: Option<&(AccountId, ReservationId)>,
        max: usize,
    ) -> Result<Vec<hot::KeptReservation>, Fault> {
        let mut last = match after {
            None => 0,
            Some((account_id, id)) => self
                .current
                .get(&self.key(&(account_id.as_str(), id.as_str(), None)))
                .copied()
                .unwrap_or(i64::MAX),
        };
        let mut found = Vec::new();
        while found.len() < max {
            let Some((id, body)) = next(connection, last).await? else {
                break;
            };
            for record in records(&body)? {
                if let (Some(bytes), Some(row)) = (record.2, self.current.get(&self.key(&record)))
                    && *row == id
                {
                    found.push(checked(&record, bytes)?);
                }
            }
            last = id;
        }
        Ok(found)
    }

    async fn add(
        &self,
        connection: &mut SqliteConnection,
        chunk: &[Mention<'_>],
        changed: &mut Changed,
    ) -> Result<(), Fault> {
        let body = postcard::to_stdvec(chunk).map_err(|error| Fault::Pack(error.to_string()))?;
        let done = sqlx::query("INSERT INTO reservation_log (body) VALUES (?)")
            .bind(body)
            .execute(connection)
            .await?;
        let row = done.last_insert_rowid();
        let moved = chunk
            .iter()
            .map(|record| (self.key(record), record.2.map(|_| row)));
        changed.moved.extend(moved);
        changed.added += chunk.len();
        Ok(())
    }

    fn key(&self, (account_id, id, _): &Mention<'_>) -> Key {
        let [high, low] = &self.seeds;
        let half = |seed: &quality::RandomState| u128::from(seed.hash_one((account_id, id)));
        (half(high) << 64) | half(low)
    }
}

impl Kept {
    /// What still counts of the next row after `last`, which moves to it. `None`: there is none.
    pub(super) async fn summaries(
        &self,
        connection: &mut SqliteConnection,
        last: &mut i64,
    ) -> Result<Option<Vec<Summarized>>, Fault> {
        let Some((id, body)) = next(connection, *last).await? else {
            return Ok(None);
        };
        *last = id;
        let mut found = Vec::new();
        for record in records(&body)? {
            if let (Some(bytes), Some(row)) = (record.2, self.current.get(&self.key(&record)))
                && *row == id
            {
                let packed = Packed::from_bytes(bytes.0);
                let summary = packed.summary().map_err(rows::unreadable_reservation)?;
                found.push((record.0.to_owned(), record.1.to_owned(), summary));
            }
        }
        Ok(Some(found))
    }
}

/// The next row after one: its number and its records.
async fn next(
    connection: &mut SqliteConnection,
    after: i64,
) -> Result<Option<(i64, Vec<u8>)>, Fault> {
    let found =
        sqlx::query("SELECT id, body FROM reservation_log WHERE id > ? ORDER BY id LIMIT 1")
            .bind(after)
            .fetch_optional(connection)
            .await?;
    found
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .transpose()
}

fn records(body: &[u8]) -> Result<Vec<Mention<'_>>, Fault> {
    postcard::from_bytes(body).map_err(|error| rows::unreadable("row of reservations", error))
}

/// Whoever gets it looks at a part of it: all of it is looked at here.
fn checked(
    (account_id, id, _): &Mention<'_>,
    bytes: Raw<'_>,
) -> Result<hot::KeptReservation, Fault> {
    let wrong = |error: IdError| rows::unreadable("reservation", error);
    let account_id = AccountId::new(account_id).map_err(wrong)?;
    let id = ReservationId::new(id).map_err(wrong)?;
    let packed = Packed::from_bytes(bytes.0);
    packed
        .unpack(&account_id, &id)
        .map_err(rows::unreadable_reservation)?;
    Ok(((account_id, id), packed))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sqlx::Connection;

    use super::*;

    async fn table() -> SqliteConnection {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let sql =
            "CREATE TABLE reservation_log (id INTEGER PRIMARY KEY NOT NULL, body BLOB NOT NULL)";
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection
    }

    async fn counts(connection: &mut SqliteConnection, kept: &Kept) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut last = 0;
        while let Some((id, body)) = next(connection, last).await.unwrap() {
            for record in records(&body).unwrap() {
                if let Some(bytes) = record.2
                    && kept.current.get(&kept.key(&record)) == Some(&id)
                {
                    assert_eq!(found.insert(record.1.to_owned(), bytes.0.to_vec()), None);
                }
            }
            last = id;
        }
        found
    }

    #[tokio::test]
    async fn the_newest_mention_counts_however_often_the_log_is_cleaned() {
        let mut connection = table().await;
        let mut kept = Kept::default();
        let mut expected = BTreeMap::new();
        let mut most = 0;
        for round in 0..60_u32 {
            // Ids that come again, ids that come once, and ids that go.
            let lines: Vec<(String, Option<Vec<u8>>)> = (0..3000_u32)
                .map(|n| match n % 3 {
                    0 => (format!("again-{n}"), Some(vec![round as u8, 1])),
                    1 => (
                        format!("once-{round}-{n}"),
                        (round % 7 == 0).then(|| vec![2]),
                    ),
                    _ => (
                        format!("again-{}", n + 1),
                        (round % 2 == 0).then(|| vec![round as u8]),
                    ),
                })
                .collect();
            let mentions: Vec<Mention<'_>> = lines
                .iter()
                .map(|(id, bytes)| ("acme", id.as_str(), bytes.as_deref().map(Raw)))
                .collect();
            let changed = kept.write(&mut connection, &mentions).await.unwrap();
            kept.apply(changed);
            for (id, bytes) in lines {
                match bytes {
                    Some(bytes) => expected.insert(id, bytes),
                    None => expected.remove(&id),
                };
            }
            most = most.max(kept.records);
        }
        assert_eq!(counts(&mut connection, &kept).await, expected);
        let read = Kept::read(&mut connection).await.unwrap();
        assert_eq!(counts(&mut connection, &read).await, expected);
        assert_eq!(read.records, kept.records);
        let bound = 2 * expected.len() + SLACK + 2 * 3000;
        assert!(most <= bound, "{most} records where {bound} are the most");
    }
}
