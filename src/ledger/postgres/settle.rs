//! Settles outbox batches: cursors, entries, state and reservations in one transaction, in a
//! handful of statements whatever the number of entries. Many entries go by COPY, everything else
//! by arrays.
//!
//! The cursors go first: where one is not where its batch starts, another settler was here, and
//! nothing is written. Their rows stay locked to the end, so two settlers of one shard go one
//! after the other.

use std::collections::{BTreeMap, HashMap};

use sqlx::{Connection, PgConnection, PgPool, Postgres, pool::PoolConnection};

use super::{
    Fault, TRIES_MAX,
    copy::CopyRows,
    partitions,
    rows::{self, int},
    settlements, state,
};
use crate::{
    domain::{
        entry::{Entry, EntryKind},
        ids::ReservationId,
        packed::Packed,
        timestamp::Timestamp,
    },
    hot::Line,
    ledger::{
        Settled,
        batch::{CursorMove, Key, Prepared, Unfit},
        eras::{Look, Mark},
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
const ENTRIES: &str = "entries";
const ENTRY_COLUMNS: i16 = 11;
/// Up to so many entries go by arrays. A COPY ends with a message that waits until the server has
/// acknowledged the rows (Nagle's algorithm, which the client can't turn off), and a server that has
/// nothing to say takes 40 ms for that: too long for a commit that somebody waits for.
const ARRAYS_MAX: usize = 512;
const ADD_FEW: &str = "INSERT INTO entries
        (account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
         occurred_at, recorded_at, body)
    SELECT account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
           occurred_at, $10, body
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[],
                $7::smallint[], $8::text[], $9::bigint[], $11::text[])
        AS e (account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
              occurred_at, body)";
/// How many entries are sent in one part.
const ROWS_AT_ONCE: usize = 64;

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
    settlements::write(&mut transaction, &marked).await?;
    state::write(&prepared.moves, &mut transaction).await?;
    add_entries(&mut transaction, prepared, &marked.marks, now).await?;
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

/// The statement that takes [`rows`] into a table.
pub(super) fn copy_into(table: &'static str) -> String {
    format!(
        "COPY {table} (account_id, sequence, kind, credits, reservation_id, slot, ends,
         conversation_id, occurred_at, recorded_at, body) FROM STDIN (FORMAT binary)"
    )
}

async fn add_entries(
    connection: &mut PgConnection,
    prepared: &Prepared<'_>,
    marks: &[Mark],
    now: Timestamp,
) -> Result<(), Fault> {
    if prepared.entries.is_empty() {
        return Ok(());
    }
    let conversations = refunded_conversations(connection, &prepared.entries).await?;
    if prepared.lines.len() <= ARRAYS_MAX {
        return add_few(connection, &prepared.lines, marks, &conversations, now).await;
    }
    let mut rows = CopyRows::new(ENTRY_COLUMNS);
    let mut copy = connection.copy_in_raw(&copy_into(ENTRIES)).await?;
    // The server is at work on one part while the next is written out.
    let (lines, marks) = (
        prepared.lines.chunks(ROWS_AT_ONCE),
        marks.chunks(ROWS_AT_ONCE),
    );
    for (lines, marks) in lines.zip(marks) {
        add_rows(&mut rows, lines, marks, &conversations, now)?;
        copy.send(rows.part()).await?;
    }
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}

/// Adds entries by arrays.
async fn add_few(
    connection: &mut PgConnection,
    lines: &[&Line],
    marks: &[Mark],
    conversations: &Conversations<'_>,
    now: Timestamp,
) -> Result<(), Fault> {
    let bodies = lines.iter().map(|line| line.json().map_err(Unfit::Encode));
    let bodies: Vec<String> = bodies.collect::<Result<_, _>>()?;
    let texts = |text: fn(&Entry) -> &str| lines.iter().map(|line| text(line)).collect::<Vec<_>>();
    let ints = |int: fn(&Entry) -> i64| lines.iter().map(|line| int(line)).collect::<Vec<_>>();
    let reservations = lines.iter().map(|line| line.reservation_id.as_ref());
    let reservations = reservations.map(|id| id.map(ReservationId::as_str));
    let slots = marks.iter().map(|mark| mark.slot);
    let ends = lines.iter().map(|line| line.settlement.as_ref());
    let ends = ends.map(|settlement| settlement.map(|settlement| i16::from(settlement.last)));
    let conversations = lines.iter().map(|line| conversation(line, conversations));
    sqlx::query(ADD_FEW)
        .bind(texts(|entry| entry.account_id.as_str()))
        .bind(ints(|entry| int(entry.sequence)))
        .bind(texts(|entry| entry.kind.name()))
        .bind(ints(|entry| entry.credits))
        .bind(reservations.collect::<Vec<Option<&str>>>())
        .bind(slots.collect::<Vec<Option<i64>>>())
        .bind(ends.collect::<Vec<Option<i16>>>())
        .bind(conversations.collect::<Vec<Option<&str>>>())
        .bind(ints(|entry| entry.occurred_at.millis()))
        .bind(now.millis())
        .bind(bodies)
        .execute(connection)
        .await?;
    Ok(())
}

/// The entries as COPY takes them.
pub(super) fn rows(
    lines: &[&Line],
    marks: &[Mark],
    conversations: &Conversations<'_>,
    now: Timestamp,
) -> Result<Vec<u8>, Unfit> {
    let mut rows = CopyRows::new(ENTRY_COLUMNS);
    add_rows(&mut rows, lines, marks, conversations, now)?;
    Ok(rows.finish())
}

fn add_rows(
    rows: &mut CopyRows,
    lines: &[&Line],
    marks: &[Mark],
    conversations: &Conversations<'_>,
    now: Timestamp,
) -> Result<(), Unfit> {
    for (entry, mark) in lines.iter().zip(marks) {
        let settlement = entry.settlement.as_ref();
        let body = entry.json().map_err(Unfit::Encode)?;
        rows.row()
            .text(entry.account_id.as_str())
            .int(int(entry.sequence))
            .text(entry.kind.name())
            .int(entry.credits)
            .maybe_text(entry.reservation_id.as_ref().map(ReservationId::as_str))
            .maybe_int(mark.slot)
            .maybe_flag(settlement.map(|settlement| settlement.last))
            .maybe_text(conversation(entry, conversations))
            .int(entry.occurred_at.millis())
            .int(now.millis())
            .text(&body);
    }
    Ok(())
}

/// The conversation of each reservation that is refunded here.
pub(super) type Conversations<'a> = HashMap<Key<'a>, String>;

fn conversation<'a>(entry: &'a Entry, refunded: &'a Conversations<'_>) -> Option<&'a str> {
    let found = match (&entry.settlement, &entry.reservation_id) {
        (Some(settlement), _) => Some(settlement.action.conversation_id.as_str()),
        (None, Some(id)) => refunded.get(&(&entry.account_id, id)).map(String::as_str),
        (None, None) => None,
    };
    found.filter(|id| !id.is_empty())
}

/// Refunds are rare, so they are looked up one by one: among the new entries, then in the ledger.
async fn refunded_conversations<'a>(
    connection: &mut PgConnection,
    entries: &[&'a Entry],
) -> Result<Conversations<'a>, Fault> {
    let mut found = Conversations::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Refund)
    {
        let Some(reservation_id) = &entry.reservation_id else {
            continue;
        };
        let settled = entries.iter().find(|settled| {
            settled.account_id == entry.account_id
                && settled.reservation_id.as_ref() == Some(reservation_id)
                && settled.settlement.is_some()
        });
        let conversation = match settled.and_then(|settled| settled.settlement.as_ref()) {
            Some(settlement) => Some(settlement.action.conversation_id.clone()),
            None => {
                sqlx::query_scalar(
                    "SELECT conversation_id FROM reservation_entries
                     WHERE reservation_id = $1 AND account_id = $2
                       AND conversation_id IS NOT NULL
                     LIMIT 1",
                )
                .bind(reservation_id.as_str())
                .bind(entry.account_id.as_str())
                .fetch_optional(&mut *connection)
                .await?
            }
        };
        found.insert(
            (&entry.account_id, reservation_id),
            conversation.unwrap_or_default(),
        );
    }
    Ok(found)
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
