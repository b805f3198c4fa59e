//! Takes administrative changes: each key once, checked against everything that is settled or
//! waits to be applied, and written with the account's next number.

use sqlx::{Connection, SqliteConnection};

use super::{
    Fault, accounts,
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
    connection: &mut SqliteConnection,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<Submitted, Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let submitted = take(&mut transaction, request, now).await?;
    match submitted {
        Submitted::New(_) => transaction.commit().await?,
        Submitted::Known(_) | Submitted::Conflict { .. } | Submitted::Refused(_) => {
            transaction.rollback().await?;
        }
    }
    Ok(submitted)
}

async fn take(
    connection: &mut SqliteConnection,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<Submitted, Fault> {
    let id = &request.account_id;
    let key = key(request);
    if let Some(key) = key
        && let Some((change, payload)) = changes::by_key(connection, id, key).await?
    {
        return Ok(match first_difference(&request.payload, &payload) {
            Some(field) => Submitted::Conflict {
                field: field.to_owned(),
            },
            None => Submitted::Known(change),
        });
    }
    let account = accounts::with_grants(connection, id).await?;
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
            let pending = changes::pending(connection, id).await?;
            let standing = Standing {
                account,
                pending,
                now,
            };
            let facts = facts(connection, id, &request.wanted).await?;
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
                key,
                payload: &request.payload,
                at: now,
            };
            Ok(Submitted::New(
                changes::add(connection, id, body, &submission).await?,
            ))
        }
        Err(refusal) => Ok(Submitted::Refused(refusal)),
    }
}

/// Puts a new account in, as it is before its first change.
async fn make_account(
    connection: &mut SqliteConnection,
    id: &AccountId,
    create: &Create,
) -> Result<Result<ChangeBody, SubmitRefusal>, Fault> {
    if create.plan.allowance > MAX_CREDITS {
        return Ok(Err(SubmitRefusal::OutOfRange));
    }
    let head = create.blank_account(id).head;
    sqlx::query(
        "INSERT INTO accounts
             (account_id, sequence, debt, last_change, applied_change, status, overage, plan_id,
              allowance, anchor, cycle_index, cycle_start, cycle_end)
         VALUES (?, 0, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?)",
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
    Ok(Ok(ChangeBody::Create(create.clone())))
}

/// What the ledger says about what a request names.
async fn facts(
    connection: &mut SqliteConnection,
    id: &AccountId,
    wanted: &Wanted,
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
                Ok(spread) => Ok(Refund {
                    reservation_id: reservation_id.clone(),
                    parts: refunds::parts(connection, id, &spread).await?,
                    of_debt: spread.of_debt,
                    reason: reason.clone(),
                    actor: actor.clone(),
                }),
                Err(refusal) => Err(refusal),
            };
        }
        Wanted::Create(_) | Wanted::SetStatus { .. } | Wanted::ChangePlan { .. } => {}
    }
    Ok(facts)
}
