//! The state that entries add up to: each account after its last entry, each grant moved by the
//! sum of its moves.
//!
//! An account moves only from the sequence before its first new entry. Where the ledger has
//! another one, an entry is missing or comes twice, and nothing is written.

use sqlx::{PgConnection, postgres::PgQueryResult};

use super::{Fault, accounts, rows::int};
use crate::{
    domain::{account::PlanTerm, ids::AccountId, timestamp::Timestamp},
    ledger::{
        moves::{AccountMove, GrantLine, GrantLines, Moves, unknown_grant},
        names::kind_name,
    },
};

/// Writes the new state: accounts by id, then grants.
pub(super) async fn write(moves: &Moves<'_>, connection: &mut PgConnection) -> Result<(), Fault> {
    let (slim, whole) = moves.slim_and_whole();
    let mut moved = move_debts(connection, &slim).await?;
    moved += move_heads(connection, &whole).await?;
    if moved != moves.accounts.len() as u64 {
        return Err(find_gap(moves, connection).await?);
    }
    let lines = moves.grant_lines();
    add_grants(connection, &lines.made).await?;
    let mut found = use_grants(connection, &lines.used).await?;
    found += move_grants(connection, &lines.moved).await?;
    if found != (lines.used.len() + lines.moved.len()) as u64 {
        return Err(find_unknown(connection, &lines).await?);
    }
    forget_due(connection, &moves.ended()).await
}

/// One column of an array for UNNEST.
fn column<T, V>(rows: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

async fn move_debts(
    connection: &mut PgConnection,
    accounts: &[&AccountMove<'_>],
) -> Result<u64, Fault> {
    if accounts.is_empty() {
        return Ok(0);
    }
    let moved = sqlx::query(
        "UPDATE accounts AS a SET sequence = m.upto, debt = m.debt
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
             AS m (account_id, since, upto, debt)
         WHERE a.account_id = m.account_id AND a.sequence = m.since",
    )
    .bind(column(accounts, |a| a.first.account_id.as_str()))
    .bind(column(accounts, |a| int(a.first.sequence) - 1))
    .bind(column(accounts, |a| int(a.last.sequence)))
    .bind(column(accounts, |a| int(a.last.head.debt)))
    .execute(connection)
    .await?;
    Ok(moved.rows_affected())
}

async fn move_heads(
    connection: &mut PgConnection,
    accounts: &[&AccountMove<'_>],
) -> Result<u64, Fault> {
    if accounts.is_empty() {
        return Ok(0);
    }
    let next = |a: &&AccountMove<'_>| a.last.head.next_plan.clone();
    let next_plans: Vec<Option<PlanTerm>> = column(accounts, next);
    let moved = sqlx::query(
        "UPDATE accounts AS a SET
             sequence = m.upto, debt = m.debt, applied_change = m.applied_change,
             status = m.status, overage = m.overage, plan_id = m.plan_id,
             allowance = m.allowance, next_plan_id = m.next_plan_id,
             next_allowance = m.next_allowance, anchor = m.anchor,
             cycle_index = m.cycle_index, cycle_start = m.cycle_start, cycle_end = m.cycle_end
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                     $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[],
                     $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
             AS m (account_id, since, upto, debt, applied_change, status, overage, plan_id,
                   allowance, next_plan_id, next_allowance, anchor, cycle_index, cycle_start,
                   cycle_end)
         WHERE a.account_id = m.account_id AND a.sequence = m.since",
    )
    .bind(column(accounts, |a| a.first.account_id.as_str()))
    .bind(column(accounts, |a| int(a.first.sequence) - 1))
    .bind(column(accounts, |a| int(a.last.sequence)))
    .bind(column(accounts, |a| int(a.last.head.debt)))
    .bind(column(accounts, |a| int(a.last.head.applied_change)))
    .bind(column(accounts, |a| a.last.head.status.name()))
    .bind(column(accounts, |a| a.last.head.overage.name()))
    .bind(column(accounts, |a| a.last.head.plan.id.as_str()))
    .bind(column(accounts, |a| int(a.last.head.plan.allowance)))
    .bind(column(&next_plans, |plan| {
        plan.as_ref().map(|plan| plan.id.as_str().to_owned())
    }))
    .bind(column(&next_plans, |plan| {
        plan.as_ref().map(|plan| int(plan.allowance))
    }))
    .bind(column(accounts, |a| a.last.head.anchor.millis()))
    .bind(column(accounts, |a| i64::from(a.last.head.cycle.index)))
    .bind(column(accounts, |a| a.last.head.cycle.start.millis()))
    .bind(column(accounts, |a| a.last.head.cycle.end.millis()))
    .execute(connection)
    .await?;
    Ok(moved.rows_affected())
}

/// Which account did not move, and why. Those that did are one behind their last entry no more,
/// so the first that is not at its last entry is the one.
async fn find_gap(moves: &Moves<'_>, connection: &mut PgConnection) -> Result<Fault, Fault> {
    for (id, account) in &moves.accounts {
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT sequence FROM accounts WHERE account_id = $1")
                .bind(id.as_str())
                .fetch_optional(&mut *connection)
                .await?;
        if let Some(gap) = account.gap(stored.map(i64::unsigned_abs)) {
            return Ok(gap.into());
        }
    }
    Err(Fault::Sql(sqlx::Error::RowNotFound))
}

async fn add_grants(connection: &mut PgConnection, lines: &[GrantLine<'_>]) -> Result<(), Fault> {
    let made: Vec<_> = lines
        .iter()
        .filter_map(|(account_id, id, sum)| Some((*account_id, *id, *sum, sum.made?)))
        .collect();
    if made.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO grants
             (account_id, grant_id, kind, amount, used, expired, priority, effective_at,
              expires_at, due_at, voided_at, source)
         SELECT account_id, grant_id, kind, amount, used, expired, priority, effective_at,
                expires_at, expires_at, voided_at, source
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
                     $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
                     $11::text[])
             AS m (account_id, grant_id, kind, amount, used, expired, priority, effective_at,
                   expires_at, voided_at, source)",
    )
    .bind(column(&made, |(account_id, ..)| account_id.as_str()))
    .bind(column(&made, |(_, id, ..)| id.as_str()))
    .bind(column(&made, |(.., grant)| kind_name(grant.kind)))
    .bind(column(&made, |(_, _, sum, _)| sum.amount))
    .bind(column(&made, |(_, _, sum, _)| sum.used))
    .bind(column(&made, |(_, _, sum, _)| sum.expired))
    .bind(column(&made, |(.., grant)| i64::from(grant.priority)))
    .bind(column(&made, |(.., grant)| grant.effective_at.millis()))
    .bind(column(&made, |(.., grant)| {
        grant.expires_at.map(Timestamp::millis)
    }))
    .bind(column(&made, |(_, _, sum, _)| {
        sum.voided_at.map(Timestamp::millis)
    }))
    .bind(column(&made, |(.., grant)| grant.source.as_str()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn use_grants(connection: &mut PgConnection, lines: &[GrantLine<'_>]) -> Result<u64, Fault> {
    if lines.is_empty() {
        return Ok(0);
    }
    let used: PgQueryResult = sqlx::query(
        "UPDATE grants AS g SET used = g.used + m.used
         FROM unnest($1::text[], $2::text[], $3::bigint[]) AS m (account_id, grant_id, used)
         WHERE g.account_id = m.account_id AND g.grant_id = m.grant_id",
    )
    .bind(column(lines, |(account_id, ..)| account_id.as_str()))
    .bind(column(lines, |(_, id, _)| id.as_str()))
    .bind(column(lines, |(.., sum)| sum.used))
    .execute(connection)
    .await?;
    Ok(used.rows_affected())
}

async fn move_grants(connection: &mut PgConnection, lines: &[GrantLine<'_>]) -> Result<u64, Fault> {
    if lines.is_empty() {
        return Ok(0);
    }
    let moved = sqlx::query(
        "UPDATE grants AS g SET
             amount = g.amount + m.amount, used = g.used + m.used,
             expired = g.expired + m.expired, voided_at = coalesce(m.voided_at, g.voided_at)
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
                     $6::bigint[])
             AS m (account_id, grant_id, amount, used, expired, voided_at)
         WHERE g.account_id = m.account_id AND g.grant_id = m.grant_id",
    )
    .bind(column(lines, |(account_id, ..)| account_id.as_str()))
    .bind(column(lines, |(_, id, _)| id.as_str()))
    .bind(column(lines, |(.., sum)| sum.amount))
    .bind(column(lines, |(.., sum)| sum.used))
    .bind(column(lines, |(.., sum)| sum.expired))
    .bind(column(lines, |(.., sum)| {
        sum.voided_at.map(Timestamp::millis)
    }))
    .execute(connection)
    .await?;
    Ok(moved.rows_affected())
}

/// Which grant is moved that was never made.
async fn find_unknown(
    connection: &mut PgConnection,
    lines: &GrantLines<'_>,
) -> Result<Fault, Fault> {
    for (account_id, id, _) in lines.used.iter().chain(&lines.moved) {
        let known = accounts::grant_of(connection, account_id, id).await?;
        if known.is_none() {
            return Ok(unknown_grant(account_id, id).into());
        }
    }
    Err(Fault::Sql(sqlx::Error::RowNotFound))
}

/// What has ended with nothing left is never due again.
async fn forget_due(
    connection: &mut PgConnection,
    ended: &[(&AccountId, Timestamp)],
) -> Result<(), Fault> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE grants AS g SET due_at = NULL
         FROM unnest($1::text[], $2::bigint[]) AS e (account_id, ended_at)
         WHERE g.account_id = e.account_id AND g.due_at <= e.ended_at
           AND g.amount - g.used - g.expired = 0",
    )
    .bind(column(ended, |(id, _)| id.as_str()))
    .bind(column(ended, |(_, at)| at.millis()))
    .execute(connection)
    .await?;
    Ok(())
}
