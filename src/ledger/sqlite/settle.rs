//! Settles outbox batches: cursors, entries, state and reservations in one transaction, in a
//! handful of statements whatever the number of entries.
//!
//! The cursors go first: where one is not where its batch starts, another settler was here, and
//! nothing is written.

use std::{collections::BTreeMap, sync::LazyLock};

use sqlx::{Connection, SqliteConnection};

use super::{
    Fault,
    bulk::{Bulk, bind_all},
    duplicates,
    kept::Kept,
    rows::int,
    state,
};
use crate::{
    domain::{entry::Entry, ids::ReservationId, timestamp::Timestamp},
    hot::Line,
    ledger::{
        Settled,
        batch::{Conversations, CursorMove, Prepared, conversation, refunded},
        eras::{self, Look, Mark},
        raw::{Mention, mention},
    },
};

static START_CURSORS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        1,
        "INSERT INTO cursors (shard, position) SELECT column1, 0 FROM",
        "WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING",
    )
});
static MOVE_CURSORS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        4,
        "UPDATE cursors SET position = moved.column4 FROM",
        "AS moved WHERE shard = moved.column1 AND epoch = moved.column2
             AND position = moved.column3",
    )
});
/// What fails is rolled back whole, so no statement need be able to undo what it did itself.
static ADD_ENTRIES: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        13,
        "INSERT OR FAIL INTO entries
             (account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
              occurred_at, recorded_at, body, packed, charged, change)
         SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9,
                column10, '{}', column11, column12, column13 FROM",
        "WHERE column1 IS NOT NULL",
    )
});

/// Writes everything, or nothing where a cursor is elsewhere.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    kept: &mut Kept,
    prepared: &Prepared<'_>,
    now: Timestamp,
) -> Result<Settled, Fault> {
    if prepared.cursors.is_empty() {
        return Ok(Settled::default());
    }
    match attempt(connection, kept, prepared, now, Look::AtLater).await {
        Err(fault) if duplicates::is_taken(&fault) => {
            attempt(connection, kept, prepared, now, Look::AtAll).await
        }
        settled => settled,
    }
}

/// One transaction, rolled back where it fails.
async fn attempt(
    connection: &mut SqliteConnection,
    kept: &mut Kept,
    prepared: &Prepared<'_>,
    now: Timestamp,
    look: Look,
) -> Result<Settled, Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !move_cursors(&mut transaction, &prepared.cursors).await? {
        transaction.rollback().await?;
        return Ok(Settled {
            cursor_conflict: true,
            ..Settled::default()
        });
    }
    let marks = duplicates::mark(&mut transaction, &prepared.entries, look).await?;
    add_entries(&mut transaction, prepared, &marks, now).await?;
    state::write(&prepared.moves, &mut transaction).await?;
    let kept_now = prepared.reservations.iter();
    let mentions: Vec<Mention<'_>> = kept_now
        .map(|(key, packed)| mention(*key, *packed))
        .collect();
    let changed = kept.write(&mut transaction, &mentions).await?;
    let reversals = duplicates::reverse(&mut transaction, &prepared.entries, &marks, now).await?;
    transaction.commit().await?;
    kept.apply(changed);
    Ok(Settled {
        entries: prepared.entries.len(),
        cursor_conflict: false,
        reversals,
    })
}

/// Moves every cursor by compare-and-set; `false` where one of them is elsewhere. A shard that
/// the ledger has never seen stands at zero.
async fn move_cursors(
    connection: &mut SqliteConnection,
    cursors: &BTreeMap<u32, CursorMove>,
) -> Result<bool, Fault> {
    let steps: Vec<(u32, CursorMove)> = cursors.iter().map(|(shard, to)| (*shard, *to)).collect();
    let first: Vec<u32> = steps
        .iter()
        .filter(|(_, moved)| moved.from == 0)
        .map(|(shard, _)| *shard)
        .collect();
    START_CURSORS
        .execute(connection, &first, |shard, arguments| {
            bind_all!(arguments, i64::from(*shard))
        })
        .await?;
    let moved = MOVE_CURSORS
        .execute(connection, &steps, |(shard, moved), arguments| {
            bind_all!(
                arguments,
                i64::from(*shard),
                int(moved.epoch),
                int(moved.from),
                int(moved.to)
            )
        })
        .await?;
    Ok(moved == steps.len() as u64)
}

async fn add_entries(
    connection: &mut SqliteConnection,
    prepared: &Prepared<'_>,
    marks: &[Mark],
    now: Timestamp,
) -> Result<(), Fault> {
    let conversations = refunded_conversations(connection, &prepared.entries).await?;
    let lines: Vec<(&Line, &Mark)> = prepared.lines.iter().copied().zip(marks).collect();
    ADD_ENTRIES
        .execute(connection, &lines, |(entry, mark), arguments| {
            bind_all!(
                arguments,
                entry.account_id.as_str(),
                int(entry.sequence),
                entry.kind.name(),
                entry.credits,
                entry.reservation_id.as_ref().map(ReservationId::as_str),
                mark.slot,
                entry.settlement.as_ref().map(|settlement| settlement.last),
                conversation(entry, &conversations),
                entry.occurred_at.millis(),
                now.millis(),
                entry.packed(),
                entry.settlement.as_deref().map(eras::added),
                entry.change.map(int),
            )
        })
        .await?;
    Ok(())
}

/// What is not settled with them is looked up in the ledger.
async fn refunded_conversations<'a>(
    connection: &mut SqliteConnection,
    entries: &[&'a Entry],
) -> Result<Conversations<'a>, Fault> {
    let mut found = Conversations::default();
    for ((account_id, id), known) in refunded(entries) {
        let conversation = match known {
            Some(known) => Some(known.to_owned()),
            None => {
                sqlx::query_scalar(
                    "SELECT conversation_id FROM entries
                 WHERE reservation_id = ? AND account_id = ? AND conversation_id IS NOT NULL
                 LIMIT 1",
                )
                .bind(id.as_str())
                .bind(account_id.as_str())
                .fetch_optional(&mut *connection)
                .await?
            }
        };
        found.insert((account_id, id), conversation.unwrap_or_default());
    }
    Ok(found)
}
