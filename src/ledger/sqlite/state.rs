//! The state that entries add up to: each account after its last entry, each grant moved by the
//! sum of its moves.
//!
//! An account moves only from the sequence before its first new entry. Where the ledger has
//! another one, an entry is missing or comes twice, and nothing is written.

use std::sync::LazyLock;

use sqlx::{SqliteConnection, sqlite::SqliteArguments};

use super::{
    Fault,
    bulk::{Binding, Bulk, bind_all},
    rows::int,
};
use crate::{
    domain::timestamp::Timestamp,
    ledger::{
        moves::{AccountMove, GrantLine, GrantLines, Moves, unknown_grant},
        names::kind_name,
    },
};

static MOVE_DEBTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        4,
        "UPDATE accounts SET sequence = moved.column3, debt = moved.column4 FROM",
        "AS moved WHERE account_id = moved.column1 AND sequence = moved.column2",
    )
});
static MOVE_HEADS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        15,
        "UPDATE accounts SET
             sequence = moved.column3, debt = moved.column4, applied_change = moved.column5,
             status = moved.column6, overage = moved.column7, plan_id = moved.column8,
             allowance = moved.column9, next_plan_id = moved.column10,
             next_allowance = moved.column11, anchor = moved.column12,
             cycle_index = moved.column13, cycle_start = moved.column14,
             cycle_end = moved.column15
         FROM",
        "AS moved WHERE account_id = moved.column1 AND sequence = moved.column2",
    )
});
static ADD_GRANTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        11,
        "INSERT INTO grants
             (account_id, grant_id, kind, amount, used, expired, priority, effective_at,
              expires_at, due_at, voided_at, source)
         SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9,
                column9, column10, column11
         FROM",
        "WHERE column1 IS NOT NULL",
    )
});
static USE_GRANTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        3,
        "UPDATE grants SET used = used + moved.column3 FROM",
        "AS moved WHERE account_id = moved.column1 AND grant_id = moved.column2",
    )
});
static MOVE_GRANTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        6,
        "UPDATE grants SET
             amount = amount + moved.column3,
             used = used + moved.column4,
             expired = expired + moved.column5,
             voided_at = coalesce(moved.column6, voided_at)
         FROM",
        "AS moved WHERE account_id = moved.column1 AND grant_id = moved.column2",
    )
});
/// What has ended with nothing left is never due again.
static FORGET_DUE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        2,
        "UPDATE grants SET due_at = NULL FROM",
        "AS ended WHERE account_id = ended.column1 AND +due_at <= ended.column2
         AND amount - used - expired = 0",
    )
});

/// Writes the new state.
pub(super) async fn write(
    moves: &Moves<'_>,
    connection: &mut SqliteConnection,
) -> Result<(), Fault> {
    write_accounts(moves, connection).await?;
    write_grants(&moves.grant_lines(), connection).await?;
    FORGET_DUE
        .execute(connection, &moves.ended(), |(id, at), arguments| {
            bind_all!(arguments, id.as_str(), at.millis())
        })
        .await?;
    Ok(())
}

async fn write_accounts(moves: &Moves<'_>, connection: &mut SqliteConnection) -> Result<(), Fault> {
    let (slim, whole) = moves.slim_and_whole();
    let mut moved = MOVE_DEBTS
        .execute(connection, &slim, |account, arguments| {
            bind_debt(account, arguments)
        })
        .await?;
    moved += MOVE_HEADS
        .execute(connection, &whole, |account, arguments| {
            bind_head(account, arguments)
        })
        .await?;
    if moved == moves.accounts.len() as u64 {
        return Ok(());
    }
    Err(find_gap(moves, connection).await?)
}

/// Which account did not move, and why. Those that did are one behind their last entry no more,
/// so the first that is not at its last entry is the one.
async fn find_gap(moves: &Moves<'_>, connection: &mut SqliteConnection) -> Result<Fault, Fault> {
    for (id, account) in &moves.accounts {
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT sequence FROM accounts WHERE account_id = ?")
                .bind(id.as_str())
                .fetch_optional(&mut *connection)
                .await?;
        if let Some(gap) = account.gap(stored.map(i64::unsigned_abs)) {
            return Ok(gap.into());
        }
    }
    Err(Fault::Sql(sqlx::Error::RowNotFound))
}

async fn write_grants(
    lines: &GrantLines<'_>,
    connection: &mut SqliteConnection,
) -> Result<(), Fault> {
    let GrantLines { made, used, moved } = lines;
    ADD_GRANTS.execute(connection, made, bind_new_grant).await?;
    let mut found = USE_GRANTS
        .execute(connection, used, |(account_id, id, sum), arguments| {
            bind_all!(arguments, account_id.as_str(), id.as_str(), sum.used)
        })
        .await?;
    found += MOVE_GRANTS
        .execute(connection, moved, bind_moved_grant)
        .await?;
    if found == (used.len() + moved.len()) as u64 {
        return Ok(());
    }
    Err(find_unknown(connection, used.iter().chain(moved)).await?)
}

fn bind_debt(account: &AccountMove<'_>, arguments: &mut SqliteArguments) -> Binding {
    let AccountMove { first, last, .. } = account;
    bind_all!(
        arguments,
        first.account_id.as_str(),
        int(first.sequence) - 1,
        int(last.sequence),
        int(last.head.debt),
    )
}

fn bind_head(account: &AccountMove<'_>, arguments: &mut SqliteArguments) -> Binding {
    bind_debt(account, arguments)?;
    let head = &account.last.head;
    bind_all!(
        arguments,
        int(head.applied_change),
        head.status.name(),
        head.overage.name(),
        head.plan.id.as_str(),
        int(head.plan.allowance),
        head.next_plan.as_ref().map(|plan| plan.id.as_str()),
        head.next_plan.as_ref().map(|plan| int(plan.allowance)),
        head.anchor.millis(),
        i64::from(head.cycle.index),
        head.cycle.start.millis(),
        head.cycle.end.millis(),
    )
}

fn bind_new_grant(
    (account_id, id, sum): &GrantLine<'_>,
    arguments: &mut SqliteArguments,
) -> Binding {
    let Some(made) = sum.made else {
        return Err("a grant that is not new".into());
    };
    bind_all!(
        arguments,
        account_id.as_str(),
        id.as_str(),
        kind_name(made.kind),
        sum.amount,
        sum.used,
        sum.expired,
        i64::from(made.priority),
        made.effective_at.millis(),
        made.expires_at.map(Timestamp::millis),
        sum.voided_at.map(Timestamp::millis),
        made.source.as_str(),
    )
}

fn bind_moved_grant(
    (account_id, id, sum): &GrantLine<'_>,
    arguments: &mut SqliteArguments,
) -> Binding {
    bind_all!(
        arguments,
        account_id.as_str(),
        id.as_str(),
        sum.amount,
        sum.used,
        sum.expired,
        sum.voided_at.map(Timestamp::millis),
    )
}

/// Which grant is moved that was never made.
async fn find_unknown<'a>(
    connection: &mut SqliteConnection,
    lines: impl Iterator<Item = &'a GrantLine<'a>>,
) -> Result<Fault, Fault> {
    for (account_id, id, _) in lines {
        if super::accounts::grant_of(connection, account_id, id)
            .await?
            .is_none()
        {
            return Ok(unknown_grant(account_id, id).into());
        }
    }
    Err(Fault::Sql(sqlx::Error::RowNotFound))
}
