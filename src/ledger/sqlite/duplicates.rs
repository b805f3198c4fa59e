//! Settlements that the ledger has already: found by their key, written all the same, since
//! sequences have no gaps, and reversed by a change of their own.
//!
//! What a duplicate is, and how much of it goes back, is in `eras`.
//!
//! Duplicates are rare, so nearly every settlement that is its reservation's first is taken for
//! new without a look: where it is not, the ledger's own index refuses its slot, and everything is
//! marked again with a look at every settlement.

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::RandomState;
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    Fault,
    bulk::{Bulk, bind_all},
    changes::{self, Submission},
    refunds, rows,
};
use crate::{
    domain::{
        change::{Change, ChangeBody, Refund},
        entry::Entry,
        ids::{AccountId, ReservationId},
        timestamp::Timestamp,
    },
    hot::Commits,
    ledger::eras::{self, Known, Look, Mark, Reversal, settled},
};

/// The newest settlement of each reservation that has any, and its lowest slot, which is negative
/// where it has duplicates already.
static NEWEST: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        2,
        "SELECT e.account_id, e.reservation_id, e.slot, e.ends,
                (SELECT min(o.slot) FROM entries AS o
                 WHERE o.reservation_id = e.reservation_id AND o.account_id = e.account_id) < 0
         FROM",
        "AS asked JOIN entries AS e ON e.id =
             (SELECT n.id FROM entries AS n
              WHERE n.reservation_id = asked.column2 AND n.account_id = asked.column1
                AND n.slot > 0
              ORDER BY n.slot DESC LIMIT 1)",
    )
});

type Key<'a> = (&'a str, &'a str);

/// What there is of some reservations of one account.
pub(super) async fn commits(
    readers: &SqlitePool,
    account_id: &AccountId,
    reservation_ids: &[ReservationId],
) -> Result<Vec<(ReservationId, Commits)>, Fault> {
    let mut connection = readers.acquire().await?;
    let found = NEWEST
        .fetch(&mut connection, reservation_ids, |id, arguments| {
            bind_all!(arguments, account_id.as_str(), id.as_str())
        })
        .await?;
    let read = |row: &SqliteRow| {
        let id: &str = row.try_get(1)?;
        let id = ReservationId::new(id).map_err(|error| rows::unreadable("reservation", error))?;
        let last: i64 = row.try_get(2)?;
        let (is_last, is_forgotten): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
        let commits = Commits {
            last: last.unsigned_abs(),
            ended: is_last || is_forgotten,
        };
        Ok((id, commits))
    };
    found.iter().map(read).collect()
}

/// Whether a slot that was to be new is taken.
pub(super) fn is_taken(fault: &Fault) -> bool {
    match fault {
        Fault::Sql(sqlx::Error::Database(error)) => {
            error.is_unique_violation() && error.message().contains("entries.slot")
        }
        Fault::Sql(_)
        | Fault::Decode { .. }
        | Fault::Pack(_)
        | Fault::Unfit(_)
        | Fault::ReadOnly
        | Fault::Unanswered => false,
    }
}

/// Marks each entry: a settlement is a duplicate where its key is taken, where its reservation
/// has ended, or where it continues an era of duplicates.
pub(super) async fn mark(
    connection: &mut SqliteConnection,
    entries: &[&Entry],
    look: Look,
) -> Result<Vec<Mark>, Fault> {
    let mut asked: Vec<Key<'_>> = entries
        .iter()
        .filter_map(|entry| settled(entry))
        .filter(|(_, _, settlement)| look.asks(settlement))
        .map(|(account_id, reservation_id, _)| (account_id.as_str(), reservation_id.as_str()))
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let rows = NEWEST
        .fetch(
            connection,
            &asked,
            |(account_id, reservation_id), arguments| {
                bind_all!(arguments, *account_id, *reservation_id)
            },
        )
        .await?;
    let mut known: HashMap<Key<'_>, Known, RandomState> =
        HashMap::with_capacity_and_hasher(asked.len(), RandomState::default());
    for row in &rows {
        let state = Known {
            slot: row.try_get(2)?,
            ended: row.try_get(3)?,
            forgotten: row.try_get(4)?,
        };
        known.insert((row.try_get(0)?, row.try_get(1)?), state);
    }
    let marks = entries.iter().map(|entry| match settled(entry) {
        Some((account_id, reservation_id, settlement)) => {
            let key = (account_id.as_str(), reservation_id.as_str());
            known
                .entry(key)
                .or_default()
                .mark(settlement, rows::int(entry.sequence))
        }
        None => Mark::default(),
    });
    Ok(marks.collect())
}

/// Adds a change for each duplicate by which more is charged than was used. The entries must be in
/// the ledger.
pub(super) async fn reverse(
    connection: &mut SqliteConnection,
    entries: &[&Entry],
    marks: &[Mark],
    now: Timestamp,
) -> Result<Vec<Change>, Fault> {
    let mut reversals = Vec::new();
    let duplicates = entries
        .iter()
        .zip(marks)
        .filter(|(_, mark)| mark.is_duplicate());
    for (entry, _) in duplicates {
        let Some((account_id, reservation_id, _)) = settled(entry) else {
            continue;
        };
        let Reversal { spread, refunded } = reversal(connection, entry, reservation_id).await?;
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
    connection: &mut SqliteConnection,
    entry: &Entry,
    reservation_id: &ReservationId,
) -> Result<Reversal, Fault> {
    let usage = refunds::usage(connection, &entry.account_id, reservation_id).await?;
    let up_to = usage.partition_point(|known| known.sequence <= entry.sequence);
    let given_back = changes::refunds(connection, &entry.account_id, reservation_id).await?;
    Ok(eras::reversal(entry, &usage[..up_to], &given_back))
}
