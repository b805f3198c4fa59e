//! Between rows and the domain's types. What a row says is checked while it is read: a value that
//! can't be is a fault that names it, never a guess.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use super::Fault;
use crate::{
    domain::{
        account::{Account, AccountHead, OveragePolicy, PlanTerm, Status},
        cycle::Cycle,
        entry::Entry,
        grant::Grant,
        ids::{AccountId, GrantId, IdError, PlanId},
        packed::Unreadable,
        timestamp::Timestamp,
    },
    ledger::{
        Recorded,
        batch::Unfit,
        kept_entry::kept_entry,
        names::{KINDS, OVERAGES, STATUSES, kind_name},
    },
};

/// The columns that [`account`] reads, in order.
macro_rules! account_columns {
    () => {
        "account_id, sequence, debt, applied_change, status, overage, plan_id, allowance,
         next_plan_id, next_allowance, anchor, cycle_index, cycle_start, cycle_end"
    };
}
pub(super) use account_columns;
/// How many those are.
pub(super) const ACCOUNT_COLUMNS: usize = 14;

/// The columns that [`grant`] reads, in order, of the table `grants`.
macro_rules! grant_columns {
    () => {
        "grant_id, kind, amount, used, expired, priority, effective_at, expires_at, voided_at,
         source"
    };
}
pub(super) use grant_columns;

/// A count or an amount as SQLite keeps it. Everything stored is far below what an `i64` holds.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A bound on the number of rows.
pub(super) fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

/// A value that does not fit.
pub(super) fn unreadable(
    what: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Fault {
    Fault::Decode {
        what,
        source: source.into(),
    }
}

pub(super) fn count<T: TryFrom<i64>>(
    row: &SqliteRow,
    index: usize,
    what: &'static str,
) -> Result<T, Fault> {
    let number: i64 = row.try_get(index)?;
    T::try_from(number).map_err(|_| unreadable(what, format!("{number} is out of range")))
}

fn instant(row: &SqliteRow, index: usize) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_millis(row.try_get(index)?))
}

fn maybe_instant(row: &SqliteRow, index: usize) -> Result<Option<Timestamp>, Fault> {
    let millis: Option<i64> = row.try_get(index)?;
    Ok(millis.map(Timestamp::from_millis))
}

fn named<T: Copy>(
    row: &SqliteRow,
    index: usize,
    what: &'static str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Fault> {
    let stored: &str = row.try_get(index)?;
    let found = all.iter().copied().find(|value| name(*value) == stored);
    found.ok_or_else(|| unreadable(what, format!("{stored:?} is not known")))
}

/// An identifier.
pub(super) fn id<T>(
    row: &SqliteRow,
    index: usize,
    what: &'static str,
    new: impl Fn(&str) -> Result<T, IdError>,
) -> Result<T, Fault> {
    new(row.try_get(index)?).map_err(|error| unreadable(what, error))
}

/// An account without its grants; its version starts anew in every hot store.
pub(super) fn account(row: &SqliteRow) -> Result<Account, Fault> {
    let next_plan = match row.try_get::<Option<&str>, _>(8)? {
        Some(_) => Some(PlanTerm {
            id: id(row, 8, "next plan", PlanId::new)?,
            allowance: count(row, 9, "next allowance")?,
        }),
        None => None,
    };
    Ok(Account {
        id: id(row, 0, "account id", AccountId::new)?,
        sequence: count(row, 1, "sequence")?,
        head: AccountHead {
            debt: count(row, 2, "debt")?,
            applied_change: count(row, 3, "change number")?,
            status: named(row, 4, "status", &STATUSES, Status::name)?,
            overage: named(row, 5, "overage policy", &OVERAGES, OveragePolicy::name)?,
            plan: PlanTerm {
                id: id(row, 6, "plan", PlanId::new)?,
                allowance: count(row, 7, "allowance")?,
            },
            next_plan,
            anchor: instant(row, 10)?,
            cycle: Cycle {
                index: count(row, 11, "cycle")?,
                start: instant(row, 12)?,
                end: instant(row, 13)?,
            },
        },
        grants: Vec::new(),
        version: 0,
    })
}

/// A grant, without what is held of it; its columns start at `first`.
pub(super) fn grant(row: &SqliteRow, first: usize) -> Result<Grant, Fault> {
    Ok(Grant {
        id: id(row, first, "grant id", GrantId::new)?,
        kind: named(row, first + 1, "grant kind", &KINDS, kind_name)?,
        amount: count(row, first + 2, "amount")?,
        used: count(row, first + 3, "used amount")?,
        held: 0,
        expired: count(row, first + 4, "expired amount")?,
        priority: count(row, first + 5, "priority")?,
        effective_at: instant(row, first + 6)?,
        expires_at: maybe_instant(row, first + 7)?,
        voided_at: maybe_instant(row, first + 8)?,
        source: row.try_get(first + 9)?,
    })
}

/// What [`entry`] reads, of the table `entries` by this name.
macro_rules! entry_column {
    ($entries:literal) => {
        concat!(
            "CAST(coalesce(",
            $entries,
            ".packed, ",
            $entries,
            ".body) AS BLOB)"
        )
    };
}
pub(super) use entry_column;

/// An entry.
pub(super) fn entry(row: &SqliteRow, index: usize) -> Result<Entry, Fault> {
    kept_entry(row.try_get(index)?).map_err(|error| unreadable("entry", error))
}

/// An entry and the time at which it was recorded.
pub(super) fn recorded(row: &SqliteRow, index: usize, at: usize) -> Result<Recorded, Fault> {
    Ok(Recorded {
        entry: entry(row, index)?,
        recorded_at: instant(row, at)?,
    })
}

/// A reservation that is not what its row says.
pub(super) fn unreadable_reservation(error: Unreadable) -> Fault {
    unreadable("reservation", error)
}

/// A value that is kept as JSON.
pub(super) fn json<T: DeserializeOwned>(
    row: &SqliteRow,
    index: usize,
    what: &'static str,
) -> Result<T, Fault> {
    let text: &str = row.try_get(index)?;
    serde_json::from_str(text).map_err(|error| unreadable(what, error))
}

/// A value as the JSON that is kept of it.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Unfit::Encode(error).into())
}
