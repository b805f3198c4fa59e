//! Reads accounts with their live grants, and grants.

use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    Fault,
    rows::{self, account_columns, grant_columns, limit},
};
use crate::{
    domain::{
        account::Account,
        grant::Grant,
        ids::{AccountId, GrantId},
        timestamp::Timestamp,
    },
    ledger::names::is_live,
};

/// Something may still move these: what has nothing left does not come back by itself, but a
/// correction may give it back for as long as its time is not over. The plan's grant of the present
/// cycle is picked out of the plan grants afterwards.
macro_rules! live {
    () => {
        "(amount - used - expired > 0 OR kind = 'plan' OR due_at IS NOT NULL AND voided_at IS NULL)"
    };
}

/// One account with its live grants.
pub(super) async fn one(
    readers: &SqlitePool,
    account_id: &AccountId,
) -> Result<Option<Account>, Fault> {
    let mut snapshot = readers.begin().await?;
    let found = with_grants(&mut snapshot, account_id).await?;
    snapshot.commit().await?;
    Ok(found)
}

/// Some accounts with their live grants.
pub(super) async fn some(
    readers: &SqlitePool,
    account_ids: &[AccountId],
) -> Result<Vec<Account>, Fault> {
    let mut snapshot = readers.begin().await?;
    let mut found = Vec::with_capacity(account_ids.len());
    for account_id in account_ids {
        found.extend(with_grants(&mut snapshot, account_id).await?);
    }
    snapshot.commit().await?;
    Ok(found)
}

/// As [`one`], within a transaction.
pub(super) async fn with_grants(
    connection: &mut SqliteConnection,
    account_id: &AccountId,
) -> Result<Option<Account>, Fault> {
    let row = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE account_id = ?"
    ))
    .bind(account_id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut account = rows::account(&row)?;
    let grants = sqlx::query(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE account_id = ? AND ",
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

/// Accounts after one, by id, with their live grants: two ordered reads, merged.
pub(super) async fn page(
    readers: &SqlitePool,
    after: Option<&AccountId>,
    max: usize,
) -> Result<Vec<Account>, Fault> {
    let after = after.map_or("", AccountId::as_str);
    let mut snapshot = readers.begin().await?;
    let found = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM accounts WHERE account_id > ? ORDER BY account_id LIMIT ?"
    ))
    .bind(after)
    .bind(limit(max))
    .fetch_all(&mut *snapshot)
    .await?;
    let mut accounts = found
        .iter()
        .map(rows::account)
        .collect::<Result<Vec<_>, _>>()?;
    let Some(last) = accounts.last().map(|account| account.id.clone()) else {
        return Ok(accounts);
    };
    let grants = sqlx::query(concat!(
        "SELECT account_id, ",
        grant_columns!(),
        " FROM grants WHERE account_id > ? AND account_id <= ? AND ",
        live!(),
        " ORDER BY account_id"
    ))
    .bind(after)
    .bind(last.as_str())
    .fetch_all(&mut *snapshot)
    .await?;
    snapshot.commit().await?;
    merge(&mut accounts, &grants)?;
    accounts.iter_mut().for_each(Account::make_room);
    Ok(accounts)
}

/// Gives each account its grants; both come in the order of the account's id.
fn merge(accounts: &mut [Account], grants: &[SqliteRow]) -> Result<(), Fault> {
    let mut accounts = accounts.iter_mut().peekable();
    for row in grants {
        let account_id: &str = row.try_get(0)?;
        while accounts
            .next_if(|account| account.id.as_str() < account_id)
            .is_some()
        {}
        if let Some(account) = accounts
            .peek_mut()
            .filter(|known| known.id.as_str() == account_id)
        {
            add_if_live(account, rows::grant(row, 1)?);
        }
    }
    Ok(())
}

fn add_if_live(account: &mut Account, grant: Grant) {
    if is_live(&grant, account.head.cycle.index) {
        account.insert_grant(grant);
    }
}

/// One grant, live or not.
pub(super) async fn grant(
    readers: &SqlitePool,
    account_id: &AccountId,
    grant_id: &GrantId,
) -> Result<Option<Grant>, Fault> {
    let mut connection = readers.acquire().await?;
    grant_of(&mut connection, account_id, grant_id).await
}

/// As [`grant`], within a transaction.
pub(super) async fn grant_of(
    connection: &mut SqliteConnection,
    account_id: &AccountId,
    grant_id: &GrantId,
) -> Result<Option<Grant>, Fault> {
    let row = sqlx::query(concat!(
        "SELECT ",
        grant_columns!(),
        " FROM grants WHERE account_id = ? AND grant_id = ?"
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
    readers: &SqlitePool,
    now: Timestamp,
    max: usize,
) -> Result<Vec<AccountId>, Fault> {
    let found = sqlx::query(
        "SELECT account_id FROM (
             SELECT account_id FROM accounts
             WHERE status <> 'closed' AND cycle_end <= ?1 AND sequence > 0
             ORDER BY cycle_end LIMIT ?2)
         UNION
         SELECT account_id FROM (
             SELECT account_id FROM grants
             WHERE due_at <= ?1 AND voided_at IS NULL AND amount - used - expired > 0
             ORDER BY due_at LIMIT ?2)
         LIMIT ?2",
    )
    .bind(now.millis())
    .bind(limit(max))
    .fetch_all(readers)
    .await?;
    found
        .iter()
        .map(|row| rows::id(row, 0, "account id", AccountId::new))
        .collect()
}
