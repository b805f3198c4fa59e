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

static MOVE_BALANCES: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        4,
        "UPDATE balances SET sequence = moved.column3, debt = moved.column4 FROM",
        "AS moved WHERE account_id = moved.column1 AND sequence = moved.column2",
    )
});
static MOVE_TERMS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        12,
        "UPDATE account_terms SET
             applied_change = moved.column2, status = moved.column3, overage = moved.column4,
             plan_id = moved.column5, allowance = moved.column6, next_plan_id = moved.column7,
             next_allowance = moved.column8, anchor = moved.column9,
             cycle_index = moved.column10, cycle_start = moved.column11,
             cycle_end = moved.column12
         FROM",
        "AS moved WHERE account_id = moved.column1",
    )
});
static ADD_GRANTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        10,
        "INSERT INTO grant_terms
             (account_id, grant_id, kind, amount, expired, priority, effective_at, expires_at,
              due_at, voided_at, source)
         SELECT column1, column2, column3, column4, column5, column6, column7, column8, column8,
                column9, column10
         FROM",
        "WHERE column1 IS NOT NULL",
    )
});
static ADD_USES: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        3,
        "INSERT INTO grant_uses (account_id, grant_id, used)
         SELECT column1, column2, column3 FROM",
        "WHERE column1 IS NOT NULL",
    )
});
static MOVE_USES: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        3,
        "UPDATE grant_uses SET used = used + moved.column3 FROM",
        "AS moved WHERE account_id = moved.column1 AND grant_id = moved.column2",
    )
});
static MOVE_GRANTS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        5,
        "UPDATE grant_terms SET
             amount = amount + moved.column3,
             expired = expired + moved.column4,
             voided_at = coalesce(moved.column5, voided_at)
         FROM",
        "AS moved WHERE account_id = moved.column1 AND grant_id = moved.column2",
    )
});
/// What has ended with nothing left is never due again.
static FORGET_DUE: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::new(
        2,
        "UPDATE grant_terms SET due_at = NULL FROM",
        "AS ended JOIN grant_uses AS moved ON moved.account_id = ended.column1
         WHERE grant_terms.account_id = moved.account_id
           AND grant_terms.grant_id = moved.grant_id
           AND +due_at <= ended.column2 AND amount - used - expired = 0",
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
    let all: Vec<&AccountMove<'_>> = moves.accounts.values().collect();
    let (_, whole) = moves.slim_and_whole();
    let mut moved = MOVE_BALANCES
        .execute(connection, &all, |account, arguments| {
            bind_balance(account, arguments)
        })
        .await?;
    moved += MOVE_TERMS
        .execute(connection, &whole, |account, arguments| {
            bind_terms(account, arguments)
        })
        .await?;
    if moved == (all.len() + whole.len()) as u64 {
        return Ok(());
    }
    Err(find_gap(moves, connection).await?)
}

/// Which account did not move, and why. Those that did are one behind their last entry no more,
/// so the first that is not at its last entry is the one.
async fn find_gap(moves: &Moves<'_>, connection: &mut SqliteConnection) -> Result<Fault, Fault> {
    for (id, account) in &moves.accounts {
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT sequence FROM balances WHERE account_id = ?")
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
    ADD_USES.execute(connection, made, bind_use).await?;
    let mut found = MOVE_USES.execute(connection, used, bind_use).await?;
    found += MOVE_USES.execute(connection, moved, bind_use).await?;
    found += MOVE_GRANTS
        .execute(connection, moved, bind_moved_grant)
        .await?;
    // One that is moved has a row in both tables.
    if found == (used.len() + 2 * moved.len()) as u64 {
        return Ok(());
    }
    Err(find_unknown(connection, used.iter().chain(moved)).await?)
}

fn bind_balance(account: &AccountMove<'_>, arguments: &mut SqliteArguments) -> Binding {
    let AccountMove { first, last, .. } = account;
    bind_all!(
        arguments,
        first.account_id.as_str(),
        int(first.sequence) - 1,
        int(last.sequence),
        int(last.head.debt),
    )
}

fn bind_terms(account: &AccountMove<'_>, arguments: &mut SqliteArguments) -> Binding {
    let head = &account.last.head;
    bind_all!(
        arguments,
        account.last.account_id.as_str(),
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

fn bind_use((account_id, id, sum): &GrantLine<'_>, arguments: &mut SqliteArguments) -> Binding {
    bind_all!(arguments, account_id.as_str(), id.as_str(), sum.used)
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
