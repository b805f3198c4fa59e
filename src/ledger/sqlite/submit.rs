//! Takes administrative changes: each key once, checked against everything that is settled or
//! waits to be applied, and written with the account's next number.

use sqlx::{Connection, SqliteConnection};

use super::{
    Fault, accounts, calls,
    changes::{self, Submission},
    create, refunds,
};
use crate::{
    domain::{change::Refund, ids::AccountId, timestamp::Timestamp},
    ledger::{
        AdminCall, ChangeRequest, SubmitRefusal, Submitted, Wanted,
        standing::{Facts, Resolved, Standing, first_difference, key, repeats},
    },
};

/// A change that is asked for, and when.
pub(super) type Asked<'a> = (&'a ChangeRequest, Timestamp);

/// Takes some changes in one transaction, in order but for new accounts, which come first. The
/// callers do not know of each other, so none can tell.
pub(super) async fn submit(
    connection: &mut SqliteConnection,
    asked: &[Asked<'_>],
) -> Result<Vec<Submitted>, Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut created = create::create(&mut transaction, asked).await?;
    let mut all = Vec::with_capacity(asked.len());
    for (place, (request, now)) in asked.iter().enumerate() {
        all.push(match created.remove(&place) {
            Some(change) => Submitted::New(change),
            None => take(&mut transaction, request, *now).await?,
        });
    }
    let is_new = |one: &Submitted| matches!(one, Submitted::New(_));
    let new = asked.iter().zip(&all).filter(|(_, one)| is_new(one));
    let lines: Vec<&AdminCall> = new
        .filter_map(|((request, _), _)| request.call.as_ref())
        .collect();
    calls::add(&mut transaction, &lines).await?;
    // Whatever is not new has written nothing.
    if all.iter().any(is_new) {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(all)
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
        // Every other new account is made already.
        (Wanted::Create(_), None) => Err(SubmitRefusal::OutOfRange),
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

/// What the ledger says about what a request names.
async fn facts(
    connection: &mut SqliteConnection,
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
