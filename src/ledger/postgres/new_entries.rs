//! Puts new entries into their table: many by COPY, a few by arrays.

use sqlx::PgConnection;

use super::{
    Fault,
    copy::{CopyRows, copy},
    rows::int,
};
use crate::{
    domain::{entry::Entry, ids::ReservationId, timestamp::Timestamp},
    hot::Line,
    ledger::{
        batch::{Conversations, Prepared, Unfit, conversation, refunded},
        eras::Mark,
    },
};

/// Up to so many entries go by arrays. A COPY ends with a message that waits until the server has
/// acknowledged the rows (Nagle's algorithm, which the client can't turn off), and a server that has
/// nothing to say takes 40 ms for that: too long for a commit that somebody waits for.
pub(super) const ARRAYS_MAX: usize = 512;
/// The columns, in the order of both ways.
macro_rules! columns {
    () => {
        "(account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
          occurred_at, recorded_at, body, is_first)"
    };
}
const COLUMNS: &str = columns!();
const COLUMN_COUNT: i16 = 12;
const ADD_FEW: &str = concat!(
    "INSERT INTO entries ",
    columns!(),
    " SELECT account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
             occurred_at, $10, body, is_first
      FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[],
                  $7::smallint[], $8::text[], $9::bigint[], $11::text[], $12::boolean[])
          AS e (account_id, sequence, kind, credits, reservation_id, slot, ends, conversation_id,
                occurred_at, body, is_first)"
);
/// How many entries are written out before whatever else is to be done has its turn.
const ROWS_AT_ONCE: usize = 64;

/// Entries with all that their rows have.
pub(super) struct NewEntries<'a> {
    lines: &'a [&'a Line],
    marks: &'a [Mark],
    conversations: Conversations<'a>,
    now: Timestamp,
}

impl<'a> NewEntries<'a> {
    /// Looks up what is not in the entries themselves.
    pub(super) async fn new(
        connection: &mut PgConnection,
        prepared: &'a Prepared<'_>,
        marks: &'a [Mark],
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let conversations = refunded_conversations(connection, &prepared.entries).await?;
        Ok(NewEntries {
            conversations,
            ..NewEntries::without_refunds(prepared, marks, now)
        })
    }

    /// Entries of which none is a refund.
    pub(super) fn without_refunds(
        prepared: &'a Prepared<'_>,
        marks: &'a [Mark],
        now: Timestamp,
    ) -> Self {
        NewEntries {
            lines: &prepared.lines,
            marks,
            conversations: Conversations::default(),
            now,
        }
    }

    /// The rows as COPY takes them, for [`NewEntries::add`]. Nothing where they do not go by COPY.
    pub(super) async fn parts(&self) -> Result<Vec<Vec<u8>>, Unfit> {
        if self.lines.len() <= ARRAYS_MAX {
            return Ok(Vec::new());
        }
        let mut rows = CopyRows::new(COLUMN_COUNT);
        let mut parts = Vec::with_capacity(self.lines.len() / ROWS_AT_ONCE + 1);
        let (lines, marks) = (
            self.lines.chunks(ROWS_AT_ONCE),
            self.marks.chunks(ROWS_AT_ONCE),
        );
        for (lines, marks) in lines.zip(marks) {
            self.write_out(&mut rows, lines, marks)?;
            parts.push(rows.part());
            tokio::task::yield_now().await;
        }
        parts.push(rows.finish());
        Ok(parts)
    }

    /// All of them as one COPY takes them.
    pub(super) fn whole(&self) -> Result<Vec<u8>, Unfit> {
        let mut rows = CopyRows::new(COLUMN_COUNT);
        self.write_out(&mut rows, self.lines, self.marks)?;
        Ok(rows.finish())
    }

    fn write_out(&self, rows: &mut CopyRows, lines: &[&Line], marks: &[Mark]) -> Result<(), Unfit> {
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
                .maybe_text(conversation(entry, &self.conversations))
                .int(entry.occurred_at.millis())
                .int(self.now.millis())
                .text(&body)
                .maybe_true(mark.is_first());
        }
        Ok(())
    }

    /// Adds them. `parts` is what [`NewEntries::parts`] has made of them.
    pub(super) async fn add(
        &self,
        connection: &mut PgConnection,
        parts: Vec<Vec<u8>>,
    ) -> Result<(), Fault> {
        if !parts.is_empty() {
            copy(connection, &copy_into("entries"), parts).await?;
        } else if !self.lines.is_empty() {
            self.add_few(connection).await?;
        }
        Ok(())
    }

    async fn add_few(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        let lines = self.lines;
        let bodies = lines.iter().map(|line| line.json().map_err(Unfit::Encode));
        let bodies: Vec<String> = bodies.collect::<Result<_, _>>()?;
        let texts =
            |text: fn(&Entry) -> &str| lines.iter().map(|line| text(line)).collect::<Vec<_>>();
        let ints = |int: fn(&Entry) -> i64| lines.iter().map(|line| int(line)).collect::<Vec<_>>();
        let reservations = lines.iter().map(|line| line.reservation_id.as_ref());
        let reservations = reservations.map(|id| id.map(ReservationId::as_str));
        let firsts = self
            .marks
            .iter()
            .map(|mark| mark.is_first().then_some(true));
        let slots = self.marks.iter().map(|mark| mark.slot);
        let ends = lines.iter().map(|line| line.settlement.as_ref());
        let ends = ends.map(|settlement| settlement.map(|settlement| i16::from(settlement.last)));
        let conversations = lines
            .iter()
            .map(|line| conversation(line, &self.conversations));
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
            .bind(self.now.millis())
            .bind(bodies)
            .bind(firsts.collect::<Vec<Option<bool>>>())
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The statement that takes entries into a table.
pub(super) fn copy_into(table: &'static str) -> String {
    format!("COPY {table} {COLUMNS} FROM STDIN (FORMAT binary)")
}

/// What is not settled with them is looked up in the ledger.
async fn refunded_conversations<'a>(
    connection: &mut PgConnection,
    entries: &[&'a Entry],
) -> Result<Conversations<'a>, Fault> {
    let mut found = Conversations::default();
    for ((account_id, id), known) in refunded(entries) {
        let conversation = match known {
            Some(known) => Some(known.to_owned()),
            None => {
                sqlx::query_scalar(
                    "SELECT conversation_id FROM reservation_entries
                     WHERE reservation_id = $1 AND account_id = $2
                       AND conversation_id IS NOT NULL
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
