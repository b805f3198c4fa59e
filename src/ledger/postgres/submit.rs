//! Takes administrative changes: each key once, checked against everything that is settled or
//! waits to be applied, and written with the account's next number.
//!
//! The account's row is locked first, so whoever else submits for it, in whichever process, waits
//! and then sees what this one has written. A creation has no row to lock: of two at once one
//! inserts it, and the other waits for that and looks again.

use sqlx::{Connection, PgConnection, PgPool};

use super::{
    Fault, TRIES_MAX, accounts, calls,
    changes::{self, Submission},
    refunds,
    rows::int,
};
use crate::{
    domain::{
        change::{ChangeBody, Create, Refund},
        credits::MAX_CREDITS,
        ids::AccountId,
        timestamp::Timestamp,
    },
    ledger::{
        ChangeRequest, SubmitRefusal, Submitted, Wanted,
        standing::{Facts, Resolved, Standing, first_difference, key, repeats},
    },
};

/// Takes one change, in a transaction of its own.
pub(super) async fn submit(
    pool: &PgPool,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<Submitted, Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        match once(pool, request, now).await {
            Err(fault) if tries < TRIES_MAX && fault.is_transient() => {}
            submitted => return submitted,
        }
    }
}

async fn once(pool: &PgPool, request: &ChangeRequest, now: Timestamp) -> Result<Submitted, Fault> {
    let mut connection = pool.acquire().await?;
    // A retry is answered without waiting for whoever has the account.
    if let Some(submitted) = known(&mut connection, request).await? {
        return Ok(submitted);
    }
    let mut transaction = connection.begin().await?;
    let submitted = take(&mut transaction, request, now).await?;
    match submitted {
        Submitted::New(_) => {
            calls::add(&mut transaction, request.call.as_slice()).await?;
            transaction.commit().await?;
        }
        Submitted::Known(_) | Submitted::Conflict { .. } | Submitted::Refused(_) => {
            transaction.rollback().await?;
        }
    }
    Ok(submitted)
}

/// What was submitted under the request's key already.
async fn known(
    connection: &mut PgConnection,
    request: &ChangeRequest,
) -> Result<Option<Submitted>, Fault> {
    let Some(key) = key(request) else {
        return Ok(None);
    };
    let found = changes::by_key(connection, &request.account_id, key).await?;
    Ok(found.map(
        |(change, payload)| match first_difference(&request.payload, &payload) {
            Some(field) => Submitted::Conflict {
                field: field.to_owned(),
            },
            None => Submitted::Known(change),
        },
    ))
}

async fn take(
    connection: &mut PgConnection,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<Submitted, Fault> {
    let id = &request.account_id;
    let account = accounts::lock(connection, id).await?;
    if let Some(submitted) = known(connection, request).await? {
        return Ok(submitted);
    }
    let body = match (&request.wanted, account) {
        (Wanted::Create(create), None) => make_account(connection, id, create).await?,
        (Wanted::Create(_), Some(_)) => {
            return Ok(Submitted::Conflict {
                field: "account_id".to_owned(),
            });
        }
        (_, None) => Err(SubmitRefusal::AccountNotFound),
        (_, Some(account)) => {
            let last = changes::last(connection, id).await?;
            if let Some(change) = last.filter(|last| repeats(&request.wanted, last)) {
                return Ok(Submitted::Known(change));
            }
            let standing = Standing {
                account,
                pending: changes::pending(connection, id).await?,
                now,
            };
            let facts = facts(connection, id, &request.wanted, now).await?;
            match standing.resolve(&request.wanted, facts) {
                Resolved::Body(body) => Ok(body),
                Resolved::Refused(refusal) => Err(refusal),
                Resolved::Taken => {
                    return Ok(Submitted::Conflict {
                        field: "grant_id".to_owned(),
                    });
                }
            }
        }
    };
    match body {
        Ok(body) => {
            let submission = Submission {
                key: key(request),
                payload: &request.payload,
                at: now,
            };
            let change = changes::add(connection, id, body, &submission).await?;
            Ok(Submitted::New(change))
        }
        Err(refusal) => Ok(Submitted::Refused(refusal)),
    }
}

/// Puts a new account in, as it is before its first change.
async fn make_account(
    connection: &mut PgConnection,
    id: &AccountId,
    create: &Create,
) -> Result<Result<ChangeBody, SubmitRefusal>, Fault> {
    if create.plan.allowance > MAX_CREDITS {
        return Ok(Err(SubmitRefusal::OutOfRange));
    }
    let head = create.blank_account(id).head;
    let made = sqlx::query(
        "INSERT INTO accounts
             (account_id, sequence, debt, last_change, applied_change, status, overage, plan_id,
              allowance, anchor, cycle_index, cycle_start, cycle_end)
         VALUES ($1, 0, 0, 0, 0, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (account_id) DO NOTHING",
    )
    .bind(id.as_str())
    .bind(head.status.name())
    .bind(head.overage.name())
    .bind(head.plan.id.as_str())
    .bind(int(head.plan.allowance))
    .bind(head.anchor.millis())
    .bind(i64::from(head.cycle.index))
    .bind(head.cycle.start.millis())
    .bind(head.cycle.end.millis())
    .execute(connection)
    .await?;
    match made.rows_affected() {
        0 => Err(Fault::Raced),
        _ => Ok(Ok(ChangeBody::Create(create.clone()))),
    }
}

/// What the ledger says about what a request names.
async fn facts(
    connection: &mut PgConnection,
    id: &AccountId,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Facts, Fault> {
    let mut facts = Facts::default();
    match wanted {
        Wanted::Grant { grant, .. } => {
            let known = accounts::grant_of(connection, id, &grant.id).await?;
            facts.knows_grant = known.is_some();
        }
        Wanted::Void { grant_id, .. } => {
            let known = accounts::grant_of(connection, id, grant_id).await?;
            facts.knows_grant = known.is_some();
        }
        Wanted::Refund {
            reservation_id,
            credits,
            reason,
            actor,
        } => {
            let spread = refunds::spread(connection, id, reservation_id, *credits).await?;
            facts.refund = match spread {
                Ok((spread, refunded)) => Ok(Refund {
                    reservation_id: reservation_id.clone(),
                    parts: refunds::parts(connection, id, &spread, now).await?,
                    of_debt: spread.of_debt,
                    refunded: Some(refunded),
                    reason: reason.clone(),
                    actor: actor.clone(),
                }),
                Err(refusal) => Err(refusal),
            };
        }
        Wanted::Create(_)
        | Wanted::SetStatus { .. }
        | Wanted::ChangePlan { .. }
        | Wanted::Again => {}
    }
    Ok(facts)
}
