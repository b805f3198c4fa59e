//! Reads accounts with their live grants, grants, and the reservations that were flushed. What
//! belongs together is read by one statement, so it is of one moment.

use sqlx::{PgConnection, PgPool, postgres::PgRow};

use super::{
    Fault,
    rows::{self, account_columns, grant_columns, limit},
};
use crate::{
    domain::{
        account::Account,
        grant::Grant,
        ids::{AccountId, GrantId, ReservationId},
        packed::Packed,
        reservation::Reservation,
        timestamp::Timestamp,
    },
    hot::KeptReservation,
    ledger::names::is_live,
};

/// How many columns an account has; those of a grant follow them.
const ACCOUNT_COLUMNS: usize = 14;

/// Something may still move these: what has nothing left does not come back by itself, but a
/// correction may give it back for as long as its time is not over. The plan's grant of the present
/// cycle is picked out of the plan grants afterwards.
macro_rules! live {
    () => {
        "(amount - used - expired > 0 OR kind = 'plan' OR due_at IS NOT NULL AND voided_at IS NULL)"
    };
}

/// One account with its live grants.
pub(super) async fn one(pool: &PgPool, account_id: &AccountId) -> Result<Option<Account>, Fault> {
    let found = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        ", ",
        grant_columns!(),
        " FROM accounts LEFT JOIN (SELECT * FROM grants WHERE ",
        live!(),
        ") AS live USING (account_id) WHERE account_id = $1"
    ))
    .bind(account_id.as_str())
    .fetch_all(pool)
    .await?;
    Ok(merge(&found)?.pop())
}

/// Some accounts with their live grants.
pub(super) async fn some(pool: &PgPool, account_ids: &[AccountId]) -> Result<Vec<Account>, Fault> {
    let ids: Vec<&str> = account_ids.iter().map(AccountId::as_str).collect();
    let found = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        ", ",
        grant_columns!(),
        " FROM (SELECT * FROM accounts WHERE account_id = ANY($1)) AS page
          LEFT JOIN (SELECT * FROM grants WHERE account_id = ANY($1) AND ",
        live!(),
        ") AS live USING (account_id) ORDER BY account_id"
    ))
    .bind(ids)
    .fetch_all(pool)
    .await?;
    merge(&found)
}

/// One account with its live grants, locked until the transaction ends. The grants are read after
/// the lock was waited for.
pub(super) async fn lock(
    connection: &mut PgConnection,
    account_id: &AccountId,
) -> Result<Option<Account>, Fault> {
    let row = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE"
    ))
    .bind(account_id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut account = rows::account(&row)?;
    let grants = sqlx::query(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE account_id = $1 AND ",
        live!()
    ))
    .bind(account_id.as_str())
    .fetch_all(connection)
    .await?;
    for row in &grants {
        add_if_live(&mut account, rows::grant(row, 0)?);
    }
    account.make_room();
    Ok(Some(account))
}

/// Accounts after one, by id, with their live grants.
pub(super) async fn page(
    pool: &PgPool,
    after: Option<&AccountId>,
    max: usize,
) -> Result<Vec<Account>, Fault> {
    let found = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        ", ",
        grant_columns!(),
        " FROM (SELECT * FROM accounts WHERE account_id > $1 ORDER BY account_id LIMIT $2)
               AS page
          LEFT JOIN (SELECT * FROM grants WHERE ",
        live!(),
        ") AS live USING (account_id) ORDER BY account_id"
    ))
    .bind(after.map_or("", AccountId::as_str))
    .bind(limit(max))
    .fetch_all(pool)
    .await?;
    merge(&found)
}

/// Accounts from rows of an account and one of its grants each, if it has any; the rows of an
/// account follow each other.
fn merge(found: &[PgRow]) -> Result<Vec<Account>, Fault> {
    let mut accounts: Vec<Account> = Vec::new();
    for row in found {
        let id = rows::text(row, 0)?;
        if accounts.last().is_none_or(|last| last.id.as_str() != id) {
            accounts.push(rows::account(row)?);
        }
        if let Some(account) = accounts.last_mut()
            && rows::maybe_text(row, ACCOUNT_COLUMNS)?.is_some()
        {
            add_if_live(account, rows::grant(row, ACCOUNT_COLUMNS)?);
        }
    }
    accounts.iter_mut().for_each(Account::make_room);
    Ok(accounts)
}

fn add_if_live(account: &mut Account, grant: Grant) {
    if is_live(&grant, account.head.cycle.index) {
        account.insert_grant(grant);
    }
}

/// One grant, live or not.
pub(super) async fn grant(
    pool: &PgPool,
    account_id: &AccountId,
    grant_id: &GrantId,
) -> Result<Option<Grant>, Fault> {
    let mut connection = pool.acquire().await?;
    grant_of(&mut connection, account_id, grant_id).await
}

/// As [`grant`], within a transaction.
pub(super) async fn grant_of(
    connection: &mut PgConnection,
    account_id: &AccountId,
    grant_id: &GrantId,
) -> Result<Option<Grant>, Fault> {
    let row = sqlx::query(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE account_id = $1 AND grant_id = $2"
    ))
    .bind(account_id.as_str())
    .bind(grant_id.as_str())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(|row| rows::grant(row, 0)).transpose()
}

/// Accounts on which time has something to do. One that waits for its creation to be applied is
/// not among them.
pub(super) async fn due(
    pool: &PgPool,
    now: Timestamp,
    max: usize,
) -> Result<Vec<AccountId>, Fault> {
    let found = sqlx::query(
        "SELECT account_id FROM (
             SELECT account_id FROM accounts
             WHERE status <> 'closed' AND cycle_end <= $1 AND sequence > 0
             ORDER BY cycle_end LIMIT $2) AS renewing
         UNION
         SELECT account_id FROM (
             SELECT account_id FROM grants
             WHERE due_at <= $1 AND voided_at IS NULL AND amount - used - expired > 0
             ORDER BY due_at LIMIT $2) AS expiring
         LIMIT $2",
    )
    .bind(now.millis())
    .bind(limit(max))
    .fetch_all(pool)
    .await?;
    found
        .iter()
        .map(|row| rows::id(row, 0, "account id", AccountId::new))
        .collect()
}

/// Flushed reservations after one, by account and id.
pub(super) async fn reservations(
    pool: &PgPool,
    after: Option<&(AccountId, ReservationId)>,
    max: usize,
) -> Result<Vec<KeptReservation>, Fault> {
    let (account_id, reservation_id) = after.map_or(("", ""), |(account, reservation)| {
        (account.as_str(), reservation.as_str())
    });
    let found = sqlx::query(
        "SELECT body FROM reservations WHERE (account_id, reservation_id) > ($1, $2)
         ORDER BY account_id, reservation_id LIMIT $3",
    )
    .bind(account_id)
    .bind(reservation_id)
    .bind(limit(max))
    .fetch_all(pool)
    .await?;
    found
        .iter()
        .map(|row| {
            let kept: Reservation = rows::json(row, 0, "reservation")?;
            let packed = Packed::new(&kept);
            Ok(((kept.account_id, kept.id), packed))
        })
        .collect()
}
