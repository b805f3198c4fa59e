//! Reads entries, newest first or by conversation.

use sqlx::{PgPool, Postgres, QueryBuilder, postgres::PgRow};

use super::{
    Fault,
    rows::{self, int, limit},
};
use crate::ledger::{EntryFilter, EntryPage, PageToken};

/// Entries that meet every condition of the filter, newest first: an account's by sequence,
/// others by the time at which they occurred.
pub(super) async fn page(
    pool: &PgPool,
    filter: &EntryFilter,
    page: Option<PageToken>,
    max: usize,
) -> Result<EntryPage, Fault> {
    let mut query = select(filter, page, max.saturating_add(1));
    let found = query.build().fetch_all(pool).await?;
    cut(&found, max)
}

fn cut(found: &[PgRow], max: usize) -> Result<EntryPage, Fault> {
    let numbered = |row| {
        let number = rows::count(row, 0, "entry's number")?;
        Ok((number, rows::recorded(row, 1, 2)?))
    };
    let found = found.iter().map(numbered);
    Ok(EntryPage::cut(found.collect::<Result<_, Fault>>()?, max))
}

fn select(filter: &EntryFilter, page: Option<PageToken>, rows: usize) -> QueryBuilder<Postgres> {
    let from = match filter.reservation_id {
        Some(_) => "reservation_entries",
        None => "entries",
    };
    let mut query = QueryBuilder::new(format!(
        "SELECT id, body, recorded_at FROM {from} WHERE TRUE"
    ));
    if let Some(account_id) = &filter.account_id {
        query
            .push(" AND account_id = ")
            .push_bind(account_id.as_str().to_owned());
    }
    if let Some(reservation_id) = &filter.reservation_id {
        query
            .push(" AND reservation_id = ")
            .push_bind(reservation_id.as_str().to_owned());
    }
    if let Some(conversation_id) = &filter.conversation_id {
        query
            .push(" AND conversation_id = ")
            .push_bind(conversation_id.clone());
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

fn push_place(query: &mut QueryBuilder<Postgres>, filter: &EntryFilter, page: PageToken) {
    if filter.account_id.is_some() {
        query.push(" AND sequence < ").push_bind(int(page.sequence));
        return;
    }
    query
        .push(" AND (occurred_at, id) < (")
        .push_bind(page.occurred_at.millis())
        .push(", ")
        .push_bind(int(page.number))
        // Says the same once more, for the months after it: they are not even looked at.
        .push(") AND occurred_at <= ")
        .push_bind(page.occurred_at.millis());
}

/// Adding zero keeps Postgres from walking an index for the order's sake, where the conversation
/// or the reservation leaves few entries to sort.
fn order(filter: &EntryFilter) -> &'static str {
    let few = filter.conversation_id.is_some() || filter.reservation_id.is_some();
    match (filter.account_id.is_some(), few) {
        (true, true) => "sequence + 0 DESC",
        (true, false) => "sequence DESC",
        (false, true) => "occurred_at + 0 DESC, id DESC",
        (false, false) => "occurred_at DESC, id DESC",
    }
}

/// Usage and refunds of one conversation, oldest first.
pub(super) async fn conversation(
    pool: &PgPool,
    conversation_id: &str,
    page: Option<PageToken>,
    max: usize,
) -> Result<EntryPage, Fault> {
    let (occurred_at, number) = PageToken::forward(page);
    let found = sqlx::query(
        "SELECT id, body, recorded_at FROM entries
         WHERE conversation_id = $1 AND (occurred_at + 0, id) > ($2, $3)
         ORDER BY occurred_at + 0, id LIMIT $4",
    )
    .bind(conversation_id)
    .bind(occurred_at)
    .bind(int(number))
    .bind(limit(max.saturating_add(1)))
    .fetch_all(pool)
    .await?;
    cut(&found, max)
}
