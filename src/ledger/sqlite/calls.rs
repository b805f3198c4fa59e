//! The audit log: written in one transaction, read newest first.

use sqlx::{
    Connection, QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow,
};

use super::{
    Fault,
    rows::{int, limit},
};
use crate::{
    domain::timestamp::Timestamp,
    ledger::{AdminCall, CallFilter, CallPage},
};

/// The most rows of one statement: each has nine values, and a statement has a few tens of
/// thousands of them at most.
const ROWS_MAX: usize = 500;

/// Writes calls, all or none.
pub(super) async fn log(
    connection: &mut SqliteConnection,
    calls: &[AdminCall],
) -> Result<(), Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    add(&mut transaction, &calls.iter().collect::<Vec<_>>()).await?;
    transaction.commit().await?;
    Ok(())
}

/// Writes calls within somebody's transaction.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    calls: &[&AdminCall],
) -> Result<(), Fault> {
    for some in calls.chunks(ROWS_MAX) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO admin_calls
             (at, principal, peer, method, account_id, key, outcome, reason, request_id) ",
        );
        query.push_values(some, |mut row, call| {
            row.push_bind(call.at.millis())
                .push_bind(call.principal.clone())
                .push_bind(call.peer.clone())
                .push_bind(call.method.clone())
                .push_bind(call.account_id.clone())
                .push_bind(call.key.clone())
                .push_bind(call.outcome.clone())
                .push_bind(call.reason.clone())
                .push_bind(call.request_id.clone());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Calls that meet every condition of the filter, newest first.
pub(super) async fn page(
    readers: &SqlitePool,
    filter: &CallFilter,
    after: Option<u64>,
    max: usize,
) -> Result<CallPage, Fault> {
    let mut query = select(filter, after, max.saturating_add(1));
    let found = query.build().fetch_all(readers).await?;
    let mut page = CallPage::default();
    let mut last = 0;
    for row in found.iter().take(max) {
        last = row.try_get::<i64, _>(0)?;
        page.calls.push(read(row)?);
    }
    let more = found.len() > max && !page.calls.is_empty();
    page.next = u64::try_from(last).ok().filter(|_| more);
    Ok(page)
}

fn select(filter: &CallFilter, after: Option<u64>, rows: usize) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(
        "SELECT id, at, principal, peer, method, account_id, key, outcome, reason, request_id
         FROM admin_calls WHERE TRUE",
    );
    if let Some(account_id) = &filter.account_id {
        // The second condition says that the index of named accounts will do.
        query
            .push(" AND account_id = ")
            .push_bind(account_id.as_str().to_owned())
            .push(" AND account_id <> ''");
    }
    if let Some(principal) = &filter.principal {
        query.push(" AND principal = ").push_bind(principal.clone());
    }
    if let Some(method) = &filter.method {
        query.push(" AND method = ").push_bind(method.clone());
    }
    if let Some(from) = filter.from {
        query.push(" AND at >= ").push_bind(from.millis());
    }
    if let Some(until) = filter.until {
        query.push(" AND at < ").push_bind(until.millis());
    }
    if let Some(after) = after {
        query
            .push(" AND (at, id) < (SELECT at, id FROM admin_calls WHERE id = ")
            .push_bind(int(after))
            .push(")");
    }
    query
        .push(" ORDER BY at DESC, id DESC LIMIT ")
        .push_bind(limit(rows));
    query
}

fn read(row: &SqliteRow) -> Result<AdminCall, Fault> {
    Ok(AdminCall {
        at: Timestamp::from_millis(row.try_get(1)?),
        principal: row.try_get(2)?,
        peer: row.try_get(3)?,
        method: row.try_get(4)?,
        account_id: row.try_get(5)?,
        key: row.try_get(6)?,
        outcome: row.try_get(7)?,
        reason: row.try_get(8)?,
        request_id: row.try_get(9)?,
    })
}
