//! Reads entries, newest first or by conversation.

use sqlx::{QueryBuilder, Sqlite, SqlitePool, sqlite::SqliteRow};

use super::{
    Fault,
    rows::{self, entry_column, int, limit},
};
use crate::ledger::{EntryFilter, EntryPage, PageToken};

/// Entries that meet every condition of the filter, newest first: an account's by sequence,
/// others by the time at which they occurred.
pub(super) async fn page(
    readers: &SqlitePool,
    filter: &EntryFilter,
    page: Option<PageToken>,
    max: usize,
) -> Result<EntryPage, Fault> {
    let mut query = select(filter, page, max.saturating_add(1));
    let found = query.build().fetch_all(readers).await?;
    cut(&found, max)
}

fn cut(found: &[SqliteRow], max: usize) -> Result<EntryPage, Fault> {
    let numbered = |row| {
        let number = rows::count(row, 0, "entry's number")?;
        Ok((number, rows::recorded(row, 1, 2)?))
    };
    let found = found.iter().map(numbered);
    Ok(EntryPage::cut(found.collect::<Result<_, Fault>>()?, max))
}

fn select(filter: &EntryFilter, page: Option<PageToken>, rows: usize) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT id, ",
        entry_column!("entries"),
        ", recorded_at FROM entries WHERE TRUE"
    ));
    if let Some(account_id) = &filter.account_id {
        query
            .push(" AND account_id = ")
            .push_bind(account_id.as_str());
    }
    if let Some(reservation_id) = &filter.reservation_id {
        query
            .push(" AND reservation_id = ")
            .push_bind(reservation_id.as_str());
    }
    if let Some(conversation_id) = &filter.conversation_id {
        query
            .push(" AND conversation_id = ")
            .push_bind(conversation_id.as_str());
    }
    if let Some(from) = filter.from {
        query.push(" AND occurred_at >= ").push_bind(from.millis());
    }
    if let Some(until) = filter.until {
        query.push(" AND occurred_at < ").push_bind(until.millis());
    }
    if !filter.kinds.is_empty() {
        query.push(" AND kind IN (");
        let mut kinds = query.separated(", ");
        for kind in &filter.kinds {
            kinds.push_bind(kind.name());
        }
        query.push(")");
    }
    if let Some(page) = page {
        push_place(&mut query, filter, page);
    }
    query
        .push(" ORDER BY ")
        .push(order(filter))
        .push(" LIMIT ")
        .push_bind(limit(rows));
    query
}

fn push_place(query: &mut QueryBuilder<Sqlite>, filter: &EntryFilter, page: PageToken) {
    if filter.account_id.is_some() {
        query.push(" AND sequence < ").push_bind(int(page.sequence));
        return;
    }
    query
        .push(" AND (occurred_at, id) < (")
        .push_bind(page.occurred_at.millis())
        .push(", ")
        .push_bind(int(page.number))
        .push(")");
}

/// A plus keeps SQLite from walking an index for the order's sake, where the conversation or the
/// reservation leaves few entries to sort.
fn order(filter: &EntryFilter) -> &'static str {
    let few = filter.conversation_id.is_some() || filter.reservation_id.is_some();
    match (filter.account_id.is_some(), few) {
        (true, true) => "+sequence DESC",
        (true, false) => "sequence DESC",
        (false, true) => "+occurred_at DESC, id DESC",
        (false, false) => "occurred_at DESC, id DESC",
    }
}

/// Usage and refunds of one conversation, oldest first.
pub(super) async fn conversation(
    readers: &SqlitePool,
    conversation_id: &str,
    page: Option<PageToken>,
    max: usize,
) -> Result<EntryPage, Fault> {
    let (occurred_at, number) = PageToken::forward(page);
    let found = sqlx::query(concat!(
        "SELECT id, ",
        entry_column!("entries"),
        ", recorded_at FROM entries
         WHERE conversation_id = ? AND (+occurred_at, id) > (?, ?)
         ORDER BY +occurred_at, id LIMIT ?"
    ))
    .bind(conversation_id)
    .bind(occurred_at)
    .bind(int(number))
    .bind(limit(max.saturating_add(1)))
    .fetch_all(readers)
    .await?;
    cut(&found, max)
}
