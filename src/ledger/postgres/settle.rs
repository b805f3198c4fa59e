//! Settles outbox batches: cursors, entries, state and reservations in one transaction, in a
//! handful of statements whatever the number of entries.
//!
//! The cursors go first: where one is not where its batch starts, another settler was here, and
//! nothing is written. Their rows stay locked to the end, so two settlers of one shard go one
//! after the other.
//!
//! Many entries are two such transactions side by side, since a session keeps one of the server's
//! processors busy and no more. They have no shard in common, so neither waits for the other one.

use std::collections::{BTreeMap, HashSet};

use sqlx::{Connection, PgConnection, PgPool, Postgres, pool::PoolConnection};

use super::{
    Fault, TRIES_MAX,
    new_entries::{ARRAYS_MAX, NewEntries},
    partitions,
    rows::{self, int},
    settlements, state,
};
use crate::{
    domain::{packed::Packed, timestamp::Timestamp},
    hot::OutboxBatch,
    ledger::{
        Settled,
        batch::{CursorMove, Key, Prepared, Unfit},
        eras::Look,
    },
};

/// Everything here is found by its key, by so many rows that the planner, asked each time, might
/// prefer to read a table whole. A plan that does not look at the number of rows uses the keys,
/// and takes the rows, and so their locks, in the order of the arrays.
const BEGIN: &str = "BEGIN;
    SET LOCAL plan_cache_mode = force_generic_plan;
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off";

/// What two transactions settle: about half of the entries each, whole shards; the second one
/// nothing, where one is enough.
pub(super) fn halves(batches: &[OutboxBatch]) -> (&[OutboxBatch], &[OutboxBatch]) {
    let sizes = batches.iter().map(|one| (one.shard, one.entries.len()));
    batches.split_at(middle(&sizes.collect::<Vec<_>>()))
}

/// After how many batches, by the shard and the number of entries of each, half is done.
fn middle(sizes: &[(u32, usize)]) -> usize {
    let all: usize = sizes.iter().map(|(_, entries)| entries).sum();
    let shards: HashSet<u32> = sizes.iter().map(|(shard, _)| *shard).collect();
    // Two batches of one shard follow each other.
    if all <= ARRAYS_MAX || shards.len() < sizes.len() {
        return sizes.len();
    }
    let mut done = 0;
    let places = sizes.iter().zip(1..).map(|((_, entries), place)| {
        done += entries;
        (place, (done * 2).abs_diff(all))
    });
    let middle = places.min_by_key(|(_, off)| *off);
    middle.map_or(0, |(place, _)| place)
}

/// Writes everything, or nothing where a cursor is elsewhere.
pub(super) async fn settle(
    pool: &PgPool,
    known: &partitions::Known,
    prepared: &Prepared<'_>,
    now: Timestamp,
) -> Result<Settled, Fault> {
    if prepared.cursors.is_empty() {
        return Ok(Settled::default());
    }
    let months = partitions::months(&prepared.entries)?;
    let mut look = Look::AtLater;
    let mut tries = 0;
    loop {
        tries += 1;
        partitions::make(pool, known, &months).await?;
        match once(pool, prepared, look, now).await {
            Err(fault) if look == Look::AtLater && settlements::is_taken(&fault) => {
                look = Look::AtAll;
            }
            Err(fault) if tries < TRIES_MAX && fault.is_transient() => {
                tracing::debug!(%fault, tries, "settling again");
            }
            // A month was detached since this process last looked.
            Err(fault) if tries < TRIES_MAX && fault.lacks_partition() => {
                known.lock().clear();
            }
            settled => return settled,
        }
    }
}

async fn once(
    pool: &PgPool,
    prepared: &Prepared<'_>,
    look: Look,
    now: Timestamp,
) -> Result<Settled, Fault> {
    let mut connection = Disposable(Some(pool.acquire().await?));
    let mut transaction = connection.get()?.begin_with(BEGIN).await?;
    if !move_cursors(&mut transaction, &prepared.cursors).await? {
        transaction.rollback().await?;
        connection.keep();
        return Ok(Settled {
            cursor_conflict: true,
            ..Settled::default()
        });
    }
    let marked = settlements::mark(&mut transaction, &prepared.entries, look).await?;
    let new_entries = NewEntries::new(&mut transaction, prepared, &marked.marks, now).await?;
    let written = async {
        settlements::write(&mut transaction, &marked).await?;
        state::write(&prepared.moves, &mut transaction).await
    };
    // The server is at work on those while the entries are written out.
    let (written, parts) = tokio::join!(written, new_entries.parts());
    written?;
    new_entries.add(&mut transaction, parts?).await?;
    write_reservations(&mut transaction, prepared).await?;
    let reversals = settlements::reverse(&mut transaction, &prepared.entries, &marked, now).await?;
    let settled = Settled {
        entries: prepared.entries.len(),
        cursor_conflict: false,
        reversals,
    };
    // Where the answer is lost it may have happened: the cursors, which go with the entries, tell
    // the next try. The transaction's id would not, since a crash gives it to another one.
    transaction.commit().await?;
    connection.keep();
    Ok(settled)
}

/// A connection that goes back to its pool only where that is said: after a fault, or where the
/// caller has gone away in the middle of a COPY, nobody knows what it still has to say.
struct Disposable(Option<PoolConnection<Postgres>>);

impl Disposable {
    fn get(&mut self) -> Result<&mut PgConnection, Fault> {
        let connection = self.0.as_deref_mut();
        connection.ok_or(Fault::Sql(sqlx::Error::PoolClosed))
    }

    fn keep(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Disposable {
    fn drop(&mut self) {
        // Dropping it unpooled closes the socket, and the server rolls back.
        drop(self.0.take().map(PoolConnection::detach));
    }
}

/// Moves every cursor by compare-and-set; answers `false` where one of them is elsewhere. A shard
/// that the ledger has never seen stands at zero.
async fn move_cursors(
    connection: &mut PgConnection,
    cursors: &BTreeMap<u32, CursorMove>,
) -> Result<bool, Fault> {
    let first: Vec<i64> = cursors
        .iter()
        .filter(|(_, moved)| moved.from == 0)
        .map(|(shard, _)| i64::from(*shard))
        .collect();
    if !first.is_empty() {
        sqlx::query(
            "INSERT INTO cursors (shard, position) SELECT shard, 0 FROM unnest($1) AS shard
             ON CONFLICT (shard) DO NOTHING",
        )
        .bind(first)
        .execute(&mut *connection)
        .await?;
    }
    let shards: Vec<i64> = cursors.keys().map(|shard| i64::from(*shard)).collect();
    let column = |take: fn(&CursorMove) -> u64| -> Vec<i64> {
        cursors.values().map(|moved| int(take(moved))).collect()
    };
    let moved = sqlx::query(
        "UPDATE cursors AS c SET position = m.upto
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
             AS m (shard, epoch, since, upto)
         WHERE c.shard = m.shard AND c.epoch = m.epoch AND c.position = m.since",
    )
    .bind(shards)
    .bind(column(|moved| moved.epoch))
    .bind(column(|moved| moved.from))
    .bind(column(|moved| moved.to))
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == cursors.len() as u64)
}

/// A reservation as JSON, which the audit's SQL reads.
fn written_out((account_id, id): Key<'_>, packed: &Packed) -> Result<String, Fault> {
    let reservation = packed.unpack(account_id, id);
    let reservation = reservation.map_err(|error| rows::unreadable("reservation", error))?;
    Ok(serde_json::to_string(&reservation).map_err(Unfit::Encode)?)
}

async fn write_reservations(
    connection: &mut PgConnection,
    prepared: &Prepared<'_>,
) -> Result<(), Fault> {
    let mut put = Vec::new();
    let mut dropped = Vec::new();
    for (key, packed) in &prepared.reservations {
        match packed {
            Some(packed) => put.push((*key, written_out(*key, packed)?)),
            None => dropped.push(*key),
        }
    }
    if !put.is_empty() {
        let ids = |take: fn(&Key<'_>) -> String| -> Vec<String> {
            put.iter().map(|(key, _)| take(key)).collect()
        };
        let bodies: Vec<&str> = put.iter().map(|(_, body)| body.as_str()).collect();
        sqlx::query(
            "INSERT INTO reservations (account_id, reservation_id, body)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
             ON CONFLICT (account_id, reservation_id) DO UPDATE SET body = excluded.body",
        )
        .bind(ids(|(account_id, _)| account_id.as_str().to_owned()))
        .bind(ids(|(_, id)| id.as_str().to_owned()))
        .bind(bodies)
        .execute(&mut *connection)
        .await?;
    }
    if !dropped.is_empty() {
        let (accounts, ids): (Vec<&str>, Vec<&str>) = dropped
            .iter()
            .map(|(account_id, id)| (account_id.as_str(), id.as_str()))
            .unzip();
        sqlx::query(
            "DELETE FROM reservations AS r
             USING unnest($1::text[], $2::text[]) AS d (account_id, reservation_id)
             WHERE r.account_id = d.account_id AND r.reservation_id = d.reservation_id",
        )
        .bind(accounts)
        .bind(ids)
        .execute(connection)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_entries_are_halved_by_shards() {
        let even: Vec<(u32, usize)> = (0..8).map(|shard| (shard, 100)).collect();
        assert_eq!(middle(&even), 4);
        assert_eq!(middle(&[(7, 100), (2, 10), (5, 800), (1, 20)]), 2);
        assert_eq!(middle(&[(7, 800), (2, 10), (5, 100)]), 1);
        assert_eq!(middle(&[(2, 10), (5, 100), (7, 800)]), 2);
    }

    #[test]
    fn few_entries_or_one_shard_are_one_transaction() {
        let half = ARRAYS_MAX / 2;
        assert_eq!(middle(&[(0, half), (1, half)]), 2);
        assert_eq!(middle(&[(0, half), (1, half + 1)]), 1);
        assert_eq!(middle(&[(3, 5000)]), 1);
        assert_eq!(middle(&[(3, 500), (3, 500)]), 2);
        assert_eq!(middle(&[]), 0);
    }
}
