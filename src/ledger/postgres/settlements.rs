//! The settlement key, for ever: one row for each reservation that was ever settled, moved in the
//! transaction that writes its entries. What a duplicate is, and how much of it goes back, is in
//! `eras`.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool, Row};

use super::{
    Fault,
    changes::{self, Submission},
    refunds,
    rows::{self, int},
};
use crate::{
    domain::{
        change::{Change, ChangeBody, Refund},
        entry::{Entry, Settlement},
        ids::{AccountId, ReservationId},
        timestamp::Timestamp,
    },
    hot::Commits,
    ledger::{
        batch::Key,
        eras::{self, Known, Look, Mark, Reversal, settled},
    },
};

/// The columns, in the order in which rows are written.
macro_rules! columns {
    () => {
        "(account_id, reservation_id, last_commit, ended, forgotten, entries, charged,
          first_sequence, first_at)"
    };
}
/// The same as a table.
macro_rules! lines {
    () => {
        "unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], $5::boolean[], $6::bigint[],
                $7::bigint[], $8::bigint[], $9::bigint[])"
    };
}
const INSERT: &str = concat!(
    "INSERT INTO settlements ",
    columns!(),
    " SELECT * FROM ",
    lines!()
);
const UPDATE: &str = concat!(
    "UPDATE settlements AS s SET
         last_commit = m.last_commit, ended = m.ended, forgotten = m.forgotten,
         entries = s.entries + m.entries, charged = s.charged + m.charged,
         first_sequence = coalesce(s.first_sequence, m.first_sequence),
         first_at = coalesce(s.first_at, m.first_at)
     FROM ",
    lines!(),
    " AS m ",
    columns!(),
    " WHERE s.account_id = m.account_id AND s.reservation_id = m.reservation_id"
);

/// The reservations that some entries settle, as they are after them, and a mark for each entry.
pub(super) struct Marked<'a> {
    pub(super) marks: Vec<Mark>,
    reservations: BTreeMap<Key<'a>, Settled<'a>>,
}

/// One reservation.
#[derive(Default)]
struct Settled<'a> {
    known: Known,
    /// Whether the ledger has a row of it.
    is_stored: bool,
    /// How many usage entries it has had before.
    earlier: i64,
    /// How many are added, and what they charge.
    added: i64,
    charged: i64,
    /// The entry that is the first of all, where it is among those.
    first: Option<&'a Entry>,
}

/// Whether a reservation that was to be new is there.
pub(super) fn is_taken(fault: &Fault) -> bool {
    match fault {
        Fault::Sql(sqlx::Error::Database(error)) => {
            error.is_unique_violation() && error.constraint() == Some("settlements_pkey")
        }
        Fault::Sql(_)
        | Fault::Open(_)
        | Fault::Unfit(_)
        | Fault::Decode { .. }
        | Fault::Raced
        | Fault::Silent(_)
        | Fault::Busy(_) => false,
    }
}

/// Marks each entry, by what the ledger knows of its reservation.
pub(super) async fn mark<'a>(
    connection: &mut PgConnection,
    entries: &[&'a Entry],
    look: Look,
) -> Result<Marked<'a>, Fault> {
    let asked = entries
        .iter()
        .filter_map(|entry| settled(entry))
        .filter(|(_, _, settlement)| look.asks(settlement))
        .map(|(account_id, reservation_id, _)| ((account_id, reservation_id), Settled::default()));
    let mut reservations: BTreeMap<Key<'a>, Settled<'a>> = asked.collect();
    look_up(connection, &mut reservations).await?;
    let marks = entries.iter().map(|entry| match settled(entry) {
        Some((account_id, reservation_id, settlement)) => reservations
            .entry((account_id, reservation_id))
            .or_default()
            .add(settlement, entry),
        None => Mark::default(),
    });
    let marks = marks.collect();
    Ok(Marked {
        marks,
        reservations,
    })
}

/// What there is of some reservations of one account.
pub(super) async fn commits(
    pool: &PgPool,
    account_id: &AccountId,
    reservation_ids: &[ReservationId],
) -> Result<Vec<(ReservationId, Commits)>, Fault> {
    let ids: Vec<&str> = reservation_ids.iter().map(ReservationId::as_str).collect();
    let rows = sqlx::query(
        "SELECT reservation_id, last_commit, ended OR forgotten FROM settlements
         WHERE account_id = $1 AND reservation_id = ANY($2)",
    )
    .bind(account_id.as_str())
    .bind(ids)
    .fetch_all(pool)
    .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let id: &str = row.try_get(0)?;
        let id = ReservationId::new(id).map_err(|error| rows::unreadable("reservation", error))?;
        let last: i64 = row.try_get(1)?;
        let commits = Commits {
            last: last.unsigned_abs(),
            ended: row.try_get(2)?,
        };
        Ok((id, commits))
    };
    rows.iter().map(read).collect()
}

async fn look_up(
    connection: &mut PgConnection,
    reservations: &mut BTreeMap<Key<'_>, Settled<'_>>,
) -> Result<(), Fault> {
    if reservations.is_empty() {
        return Ok(());
    }
    let (accounts, ids): (Vec<&str>, Vec<&str>) = reservations
        .keys()
        .map(|(account_id, id)| (account_id.as_str(), id.as_str()))
        .unzip();
    let found = sqlx::query(
        "SELECT asked.number, s.last_commit, s.ended, s.forgotten, s.entries
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY
             AS asked (account_id, reservation_id, number)
         JOIN settlements AS s USING (account_id, reservation_id)
         ORDER BY asked.number",
    )
    .bind(accounts)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut all = reservations.values_mut();
    let mut passed = 0;
    for row in &found {
        let number: i64 = row.try_get(0)?;
        let skipped = usize::try_from(number - passed - 1).unwrap_or(0);
        passed = number;
        let Some(state) = all.nth(skipped) else {
            break;
        };
        state.is_stored = true;
        state.known = Known {
            slot: row.try_get(1)?,
            ended: row.try_get(2)?,
            forgotten: row.try_get(3)?,
        };
        state.earlier = row.try_get(4)?;
    }
    Ok(())
}

impl<'a> Settled<'a> {
    fn add(&mut self, settlement: &Settlement, entry: &'a Entry) -> Mark {
        self.added += 1;
        self.charged += eras::added(settlement);
        let mark = self.known.mark(settlement, int(entry.sequence));
        if mark.is_first() {
            self.first = Some(entry);
        }
        mark
    }
}

/// Writes what the ledger knows from now on. A reservation that another transaction has put in
/// meanwhile violates the primary key, and nothing is written.
pub(super) async fn write(connection: &mut PgConnection, marked: &Marked<'_>) -> Result<(), Fault> {
    let (stored, new): (Vec<_>, Vec<_>) = marked
        .reservations
        .iter()
        .partition(|(_, state)| state.is_stored);
    put(connection, INSERT, &new).await?;
    put(connection, UPDATE, &stored).await
}

async fn put(
    connection: &mut PgConnection,
    sql: &'static str,
    lines: &[(&Key<'_>, &Settled<'_>)],
) -> Result<(), Fault> {
    if lines.is_empty() {
        return Ok(());
    }
    let text = |take: fn(&Key<'_>) -> String| -> Vec<String> {
        lines.iter().map(|(key, _)| take(key)).collect()
    };
    let ints = |take: fn(&Settled<'_>) -> i64| -> Vec<i64> {
        lines.iter().map(|(_, state)| take(state)).collect()
    };
    let flags = |take: fn(&Settled<'_>) -> bool| -> Vec<bool> {
        lines.iter().map(|(_, state)| take(state)).collect()
    };
    let firsts = |take: fn(&Entry) -> i64| -> Vec<Option<i64>> {
        lines
            .iter()
            .map(|(_, state)| state.first.map(take))
            .collect()
    };
    let written = sqlx::query(sql)
        .bind(text(|(account_id, _)| account_id.as_str().to_owned()))
        .bind(text(|(_, id)| id.as_str().to_owned()))
        .bind(ints(|state| state.known.slot))
        .bind(flags(|state| state.known.ended))
        .bind(flags(|state| state.known.forgotten))
        .bind(ints(|state| state.added))
        .bind(ints(|state| state.charged))
        .bind(firsts(|entry| int(entry.sequence)))
        .bind(firsts(|entry| entry.occurred_at.millis()))
        .execute(connection)
        .await?;
    if written.rows_affected() == lines.len() as u64 {
        return Ok(());
    }
    Err(Fault::Raced)
}

/// Adds a change for each duplicate by which more is charged than was used. The entries must be in
/// the ledger.
pub(super) async fn reverse(
    connection: &mut PgConnection,
    entries: &[&Entry],
    marked: &Marked<'_>,
    now: Timestamp,
) -> Result<Vec<Change>, Fault> {
    let mut reversals = Vec::new();
    let duplicates = entries
        .iter()
        .zip(&marked.marks)
        .filter(|(_, mark)| mark.is_duplicate());
    for (entry, _) in duplicates {
        let Some((account_id, reservation_id, _)) = settled(entry) else {
            continue;
        };
        let Reversal { spread, refunded } =
            reversal(connection, entry, reservation_id, marked).await?;
        if spread.is_empty() {
            continue;
        }
        let refund = Refund {
            reservation_id: reservation_id.clone(),
            parts: refunds::parts(connection, account_id, &spread, now).await?,
            of_debt: spread.of_debt,
            refunded,
            reason: eras::reason(reservation_id),
            actor: eras::ACTOR.to_owned(),
        };
        let key = eras::reversal_key(entry);
        let submission = Submission {
            key: Some(&key),
            payload: &[],
            at: now,
        };
        let body = ChangeBody::Refund(refund);
        reversals.push(changes::add(connection, account_id, body, &submission).await?);
    }
    Ok(reversals)
}

async fn reversal(
    connection: &mut PgConnection,
    entry: &Entry,
    reservation_id: &ReservationId,
    marked: &Marked<'_>,
) -> Result<Reversal, Fault> {
    let usage = refunds::usage(connection, &entry.account_id, reservation_id).await?;
    let state = marked
        .reservations
        .get(&(&entry.account_id, reservation_id));
    // What it charged at first may be in a month that is detached. That it had ended is known for
    // ever.
    if let Some(state) = state
        && state.known.ended
        && (usage.len() as i64) < state.earlier + state.added
    {
        return Ok(eras::whole(entry));
    }
    let up_to = usage.partition_point(|known| known.sequence <= entry.sequence);
    let given_back = changes::refunds(connection, &entry.account_id, reservation_id).await?;
    Ok(eras::reversal(entry, &usage[..up_to], &given_back))
}
