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
        account::Account,
        change::{Change, ChangeBody, Create, Refund},
        credits::MAX_CREDITS,
        grant::{GRANTS_MAX, Grant},
        ids::{AccountId, GrantId},
        timestamp::Timestamp,
    },
    ledger::{ChangeRequest, SubmitRefusal, Submitted, Wanted},
};

/// The key of a creation whose caller gave none: an account is created once.
const CREATE_KEY: &str = "create";

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
            let pending = changes::pending(connection, id).await?;
            let standing = Standing {
                account,
                pending,
                now,
            };
            match standing.resolve(connection, &request.wanted).await? {
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

fn key(request: &ChangeRequest) -> Option<&str> {
    let create = matches!(request.wanted, Wanted::Create(_)).then_some(CREATE_KEY);
    request.key.as_deref().or(create)
}

/// The first field of the request that was another one, or was not there, before; else the first
/// one that the request lacks.
fn first_difference<'a>(
    given: &'a [(String, String)],
    before: &'a [(String, String)],
) -> Option<&'a str> {
    let differs = |one: &'a [(String, String)], other: &[(String, String)]| {
        let changed = one.iter().find(|field| !other.contains(field));
        changed.map(|(name, _)| name.as_str())
    };
    differs(given, before).or_else(|| differs(before, given))
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

/// An account as it is settled, and what waits to be applied to it.
struct Standing {
    account: Account,
    pending: Vec<Change>,
    now: Timestamp,
}

/// What a request comes down to.
enum Resolved {
    Body(ChangeBody),
    Refused(SubmitRefusal),
    /// Another key has made the grant of this name.
    Taken,
}

impl Standing {
    async fn resolve(
        &self,
        connection: &mut SqliteConnection,
        wanted: &Wanted,
    ) -> Result<Resolved, Fault> {
        let body = match wanted {
            Wanted::Create(create) => ChangeBody::Create(create.clone()),
            Wanted::SetStatus { status, reason } => ChangeBody::SetStatus {
                status: *status,
                reason: reason.clone(),
            },
            Wanted::ChangePlan { plan, at_renewal } => {
                if !self.has_room(0, plan.allowance) {
                    return Ok(Resolved::Refused(SubmitRefusal::OutOfRange));
                }
                ChangeBody::ChangePlan {
                    plan: plan.clone(),
                    at_renewal: *at_renewal,
                }
            }
            Wanted::Grant { grant, reason } => {
                return self.resolve_grant(connection, grant, reason).await;
            }
            Wanted::Void { grant_id, reason } => {
                if !self.has_grant(connection, grant_id).await? {
                    return Ok(Resolved::Refused(SubmitRefusal::GrantNotFound));
                }
                ChangeBody::Void {
                    grant_id: grant_id.clone(),
                    reason: reason.clone(),
                }
            }
            Wanted::Refund { .. } => return self.resolve_refund(connection, wanted).await,
        };
        Ok(Resolved::Body(body))
    }

    async fn resolve_grant(
        &self,
        connection: &mut SqliteConnection,
        grant: &Grant,
        reason: &str,
    ) -> Result<Resolved, Fault> {
        if self.has_grant(connection, &grant.id).await? {
            return Ok(Resolved::Taken);
        }
        if self.live_grants() >= GRANTS_MAX {
            return Ok(Resolved::Refused(SubmitRefusal::TooManyGrants {
                max: GRANTS_MAX,
            }));
        }
        if !self.has_room(grant.amount, 0) {
            return Ok(Resolved::Refused(SubmitRefusal::OutOfRange));
        }
        let grant = Box::new(grant.clone());
        Ok(Resolved::Body(ChangeBody::Grant {
            grant,
            reason: reason.to_owned(),
        }))
    }

    async fn resolve_refund(
        &self,
        connection: &mut SqliteConnection,
        wanted: &Wanted,
    ) -> Result<Resolved, Fault> {
        let Wanted::Refund {
            reservation_id,
            credits,
            reason,
            actor,
        } = wanted
        else {
            return Ok(Resolved::Refused(SubmitRefusal::NothingSettled));
        };
        let id = &self.account.id;
        let spread = match refunds::spread(connection, id, reservation_id, *credits).await? {
            Ok(spread) => spread,
            Err(refusal) => return Ok(Resolved::Refused(refusal)),
        };
        let refund = Refund {
            reservation_id: reservation_id.clone(),
            parts: refunds::parts(connection, id, &spread).await?,
            of_debt: spread.of_debt,
            reason: reason.clone(),
            actor: actor.clone(),
        };
        let beside_plan = refund
            .parts
            .iter()
            .filter(|part| part.grant.id != self.plan_grant());
        let more = refund.of_debt + beside_plan.map(|part| part.credits).sum::<u64>();
        if !self.has_room(more, 0) {
            return Ok(Resolved::Refused(SubmitRefusal::OutOfRange));
        }
        Ok(Resolved::Body(ChangeBody::Refund(refund)))
    }

    /// Whether the account may get `credits` more, or a plan of this `allowance`, and all that it
    /// could have at once stays in range. The plan counts with the greatest allowance that it has
    /// or may get, whatever is left of it now.
    fn has_room(&self, credits: u64, allowance: u64) -> bool {
        let head = &self.account.head;
        let mut allowance = allowance.max(head.plan.allowance);
        allowance = allowance.max(head.next_plan.as_ref().map_or(0, |plan| plan.allowance));
        let plan_grant = self.plan_grant();
        let others = self
            .account
            .grants
            .iter()
            .filter(|grant| grant.id != plan_grant);
        let mut sum = u128::from(credits);
        sum += others
            .map(|grant| u128::from(grant.remaining()))
            .sum::<u128>();
        for change in &self.pending {
            match &change.body {
                ChangeBody::Grant { grant, .. } => sum += u128::from(grant.amount),
                ChangeBody::Refund(refund) => sum += u128::from(refund.credits()),
                ChangeBody::ChangePlan { plan, .. } => allowance = allowance.max(plan.allowance),
                ChangeBody::Create(_) | ChangeBody::SetStatus { .. } | ChangeBody::Void { .. } => {}
            }
        }
        sum + u128::from(allowance) <= u128::from(MAX_CREDITS)
    }

    /// The present cycle's plan grant.
    fn plan_grant(&self) -> GrantId {
        GrantId::plan(self.account.head.cycle.index)
    }

    /// Grants that are live now or will be, once everything that waits is applied.
    fn live_grants(&self) -> usize {
        let live = self
            .account
            .grants
            .iter()
            .filter(|grant| !grant.has_ended(self.now));
        let coming = self
            .pending
            .iter()
            .filter(|change| made_by(change).is_some());
        live.count() + coming.count()
    }

    async fn has_grant(
        &self,
        connection: &mut SqliteConnection,
        id: &GrantId,
    ) -> Result<bool, Fault> {
        if self
            .pending
            .iter()
            .any(|change| made_by(change).as_ref() == Some(id))
        {
            return Ok(true);
        }
        let known = accounts::grant_of(connection, &self.account.id, id).await?;
        Ok(known.is_some())
    }
}

/// The grant that a change makes.
fn made_by(change: &Change) -> Option<GrantId> {
    match &change.body {
        ChangeBody::Create(create) => Some(GrantId::plan(create.cycle.index)),
        ChangeBody::Grant { grant, .. } => Some(grant.id.clone()),
        ChangeBody::SetStatus { .. }
        | ChangeBody::ChangePlan { .. }
        | ChangeBody::Void { .. }
        | ChangeBody::Refund(_) => None,
    }
}
