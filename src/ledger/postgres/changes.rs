//! Reads and writes the administrative changes: gapless numbers for each account, each key once.

use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};

use super::{
    Fault,
    rows::{self, int, limit},
};
use crate::domain::{
    change::{Change, ChangeBody, Refund},
    ids::{AccountId, ReservationId},
    timestamp::Timestamp,
};

/// What is written about a change beside the change itself.
pub(super) struct Submission<'a> {
    pub key: Option<&'a str>,
    pub payload: &'a [(String, String)],
    pub at: Timestamp,
}

/// Changes from a number on, in order.
pub(super) async fn from_number(
    pool: &PgPool,
    account_id: &AccountId,
    number: u64,
    max: usize,
) -> Result<Vec<Change>, Fault> {
    let found = sqlx::query(
        "SELECT number, body FROM changes WHERE account_id = $1 AND number >= $2
         ORDER BY number LIMIT $3",
    )
    .bind(account_id.as_str())
    .bind(int(number))
    .bind(limit(max))
    .fetch_all(pool)
    .await?;
    found.iter().map(|row| change(account_id, row)).collect()
}

/// Accounts after one with changes that are not applied, by id.
pub(super) async fn unapplied(
    pool: &PgPool,
    after: Option<&AccountId>,
    max: usize,
) -> Result<Vec<AccountId>, Fault> {
    let found = sqlx::query(
        "SELECT account_id FROM accounts WHERE applied_change < last_change AND account_id > $1
         ORDER BY account_id LIMIT $2",
    )
    .bind(after.map_or("", AccountId::as_str))
    .bind(limit(max))
    .fetch_all(pool)
    .await?;
    found
        .iter()
        .map(|row| rows::id(row, 0, "account id", AccountId::new))
        .collect()
}

/// Changes of one account that are not applied, in order.
pub(super) async fn pending(
    connection: &mut PgConnection,
    account_id: &AccountId,
) -> Result<Vec<Change>, Fault> {
    let found = sqlx::query(
        "SELECT number, body FROM changes WHERE account_id = $1
         AND number > (SELECT applied_change FROM accounts WHERE account_id = $1)
         ORDER BY number",
    )
    .bind(account_id.as_str())
    .fetch_all(connection)
    .await?;
    found.iter().map(|row| change(account_id, row)).collect()
}

/// The last change of an account, applied or not.
pub(super) async fn last(
    connection: &mut PgConnection,
    account_id: &AccountId,
) -> Result<Option<Change>, Fault> {
    let found = sqlx::query(
        "SELECT number, body FROM changes WHERE account_id = $1 ORDER BY number DESC LIMIT 1",
    )
    .bind(account_id.as_str())
    .fetch_optional(connection)
    .await?;
    found.map(|row| change(account_id, &row)).transpose()
}

/// The change that was submitted under a key, and its payload.
pub(super) async fn by_key(
    connection: &mut PgConnection,
    account_id: &AccountId,
    key: &str,
) -> Result<Option<(Change, Vec<(String, String)>)>, Fault> {
    let found =
        sqlx::query("SELECT number, body, payload FROM changes WHERE account_id = $1 AND key = $2")
            .bind(account_id.as_str())
            .bind(key)
            .fetch_optional(connection)
            .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some((
        change(account_id, &row)?,
        rows::json(&row, 2, "payload")?,
    )))
}

/// Every refund of a reservation, applied or not, in the order in which they were submitted.
pub(super) async fn refunds(
    connection: &mut PgConnection,
    account_id: &AccountId,
    reservation_id: &ReservationId,
) -> Result<Vec<Refund>, Fault> {
    let found = sqlx::query(
        "SELECT number, body FROM changes WHERE reservation_id = $1 AND account_id = $2
         ORDER BY number",
    )
    .bind(reservation_id.as_str())
    .bind(account_id.as_str())
    .fetch_all(connection)
    .await?;
    let mut refunds = Vec::with_capacity(found.len());
    for row in &found {
        if let ChangeBody::Refund(refund) = change(account_id, row)?.body {
            refunds.push(refund);
        }
    }
    Ok(refunds)
}

/// Writes a change with the account's next number, and locks the account until the transaction
/// ends.
pub(super) async fn add(
    connection: &mut PgConnection,
    account_id: &AccountId,
    body: ChangeBody,
    submission: &Submission<'_>,
) -> Result<Change, Fault> {
    let row = sqlx::query(
        "UPDATE accounts SET last_change = last_change + 1 WHERE account_id = $1
         RETURNING last_change",
    )
    .bind(account_id.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let number = row.try_get::<i64, _>(0)?;
    let reservation_id = match &body {
        ChangeBody::Refund(refund) => Some(refund.reservation_id.as_str()),
        ChangeBody::Create(_)
        | ChangeBody::SetStatus { .. }
        | ChangeBody::ChangePlan { .. }
        | ChangeBody::Grant { .. }
        | ChangeBody::Void { .. } => None,
    };
    sqlx::query(
        "INSERT INTO changes
             (account_id, number, key, reservation_id, payload, body, submitted_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(account_id.as_str())
    .bind(number)
    .bind(submission.key)
    .bind(reservation_id)
    .bind(rows::to_json(submission.payload)?)
    .bind(rows::to_json(&body)?)
    .bind(submission.at.millis())
    .execute(connection)
    .await?;
    Ok(Change {
        account_id: account_id.clone(),
        number: number.unsigned_abs(),
        body,
    })
}

fn change(account_id: &AccountId, row: &PgRow) -> Result<Change, Fault> {
    Ok(Change {
        account_id: account_id.clone(),
        number: row.try_get::<i64, _>(0)?.unsigned_abs(),
        body: rows::json(row, 1, "change")?,
    })
}
